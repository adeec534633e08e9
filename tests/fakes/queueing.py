"""A whole queue on a real store, with a courier that answers from a script."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mailwright.accounts.directory import Directory, Pool, Source
from mailwright.address import parse_address
from mailwright.attempt import Attempt, End, Parcel
from mailwright.bounce import dsn, suppression, verdict
from mailwright.clock import Clock, ClockTrust, SystemClock
from mailwright.envelope import Envelope, Recipient
from mailwright.events.tables import events_of
from mailwright.ids import (
    CredentialId,
    PoolId,
    SendingDomainId,
    SourceId,
    StreamId,
    Subject,
    TenantId,
)
from mailwright.queue.book import LineBook
from mailwright.queue.bounds import SchedulerSettings
from mailwright.queue.claims import Claims
from mailwright.queue.content import Contents
from mailwright.queue.expiry import Expiry
from mailwright.queue.holds import Holds
from mailwright.queue.in_flight import InFlight
from mailwright.queue.intake import IntakeSettings, QueueIntake
from mailwright.queue.operations import Operations
from mailwright.queue.recovery import discard_incomplete, load_lines, recover_sending
from mailwright.queue.reporting import Reporter, ReportSettings
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.settlement import Settlement, SettlementSettings
from mailwright.queue.statements import queue_statements
from mailwright.queue.tables import finished_of
from mailwright.queue.tally import Tally
from mailwright.queue.terms import NoTerms, Terms
from mailwright.queue.tools import Tools
from mailwright.reply import Phase, Reply
from mailwright.reputation.limits import LimitBook
from mailwright.reputation.permits import Permits
from mailwright.reputation.stored import StoredLimits
from mailwright.site import Hop, Pipelining, Profile, Site, TlsDemand
from mailwright.store.bodies import BodyStore
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store
from mailwright.submission import Submission

POOL = PoolId(1)
SOURCE = Source(SourceId(1), "main", "", "mta.example.com")
OTHER_SOURCE = Source(SourceId(2), "other", "", "mta2.example.com")
PROFILE = Profile(
    "default", 3, 100, Pipelining.COMMANDS, TlsDemand.NONE, retry=(0.05, 0.1)
)

OK = Reply(250, "2.0.0", "ok", Phase.DOT)
LATER = Reply(450, "4.2.0", "later", Phase.RCPT)
NO = Reply(550, "5.1.1", "no such user", Phase.RCPT)

#: Decides how an attempt ends, from the parcel and the source.
Script = Callable[[Parcel, Source], tuple[End, Reply]]


def subject_of(address: str) -> Subject:
    return Subject(address.encode().ljust(16, b".")[:16])


def make_directory(*sources: Source) -> Directory:
    pool = Pool(POOL, "default", tuple((each, 1) for each in sources or (SOURCE,)))
    return Directory(
        version=1,
        tenants={},
        credentials={},
        credentials_by_id={},
        sending_domains={},
        sending_domains_by_id={},
        streams={},
        streams_by_name={},
        pools={POOL: pool},
        pools_by_name={"default": pool},
        sources={each.id: each for each in sources or (SOURCE,)},
        routes={},
    )


def make_submission(
    *recipients: str, at: datetime | None = None, **changes: object
) -> Submission:
    values: dict[str, object] = {
        "tenant": TenantId(1),
        "credential": CredentialId(1),
        "stream": StreamId(1),
        "is_bulk": False,
        "sending_domain": SendingDomainId(1),
        "pool": POOL,
        "envelope": Envelope(
            parse_address("sender@example.com"),
            tuple(Recipient(parse_address(each)) for each in recipients),
        ),
        "header": b"From: sender@example.com\r\nSubject: hi\r\n\r\n",
        "body": b"Hello\r\n",
        "message_id": "<1@example.com>",
        "selector": "s1",
        "accepted_at": at or datetime.now(UTC),
    }
    return Submission(**(values | changes))


class ScriptedRouter:
    """Every domain is a site of its own, but for what ``answers`` says."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.answers: dict[str, Site | Reply] = {}

    async def site_of(self, domain: str) -> Site | Reply:
        answer = self.answers.get(domain)
        if answer is not None:
            return answer
        return Site(domain, (Hop(f"mx.{domain}", 25),), (10,), self.profile, until=1e12)

    def forget(self) -> None:
        pass


@dataclass
class ScriptedCourier:
    """Carries everything at once and ends attempts as ``script`` says."""

    script: Script = lambda _parcel, _source: (End.REPLIED, OK)
    #: Sites that cannot be reached, with what is said there.
    unreachable: dict[str, Reply] = field(default_factory=dict)
    carried: Counter[str] = field(default_factory=Counter)
    sources: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    octets: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    connections: Counter[str] = field(default_factory=Counter)

    async def carry(self, site, source, feed):
        self.connections[site.key] += 1
        if site.key in self.unreachable:
            return self.unreachable[site.key]
        while parcels := await feed.take(8):
            for parcel in parcels:
                self.carried[parcel.recipient] += 1
                self.sources[parcel.recipient].append(source.name)
                self.octets[parcel.recipient].add(parcel.header + parcel.body)
                end, reply = self.script(parcel, source)
                feed.settle(Attempt(parcel, end, reply))
        return None


class NoBudget:
    """Enough for everyone."""

    def try_acquire(self, octets: int) -> bool:
        return True

    async def acquire(self, octets: int, *, within_s: float) -> bool:
        return True

    def release(self, octets: int) -> None:
        pass


@dataclass
class Queue:
    """The parts of a queue that runs."""

    store: Store
    intake: QueueIntake
    scheduler: Scheduler
    settlement: Settlement
    courier: ScriptedCourier
    router: ScriptedRouter
    book: LineBook
    clock: Clock
    tally: Tally
    permits: Permits
    stored_limits: StoredLimits
    operations: Operations
    expiry: Expiry

    async def finished(self) -> dict[str, int]:
        """Return the final state of each recipient that has one."""
        states = {}
        for day in self.store.days():
            table = finished_of(day)
            for row in await rows_of(self.store, table):
                states[row[table.c.keys().index("recipient")]] = row[
                    table.c.keys().index("state")
                ]
        return states

    async def events(self) -> list[tuple]:
        """Return (type, data) of every event in commit order."""
        found = []
        for day in self.store.days():
            found += [
                (row[1], row[3], row[-1])
                for row in await rows_of(self.store, events_of(day))
            ]
        return [(kind, data) for _, kind, data in sorted(found)]


async def rows_of(store: Store, table) -> list:
    from sqlalchemy import select

    from mailwright.store.statements import Query

    (rows,) = await store.read(Query("all", select(table))())
    return rows


def days_tables() -> list[Callable[[date], object]]:
    return [events_of, finished_of]


@asynccontextmanager
async def open_queue(  # noqa: PLR0913 - one knob for each thing a test turns
    folder: Path,
    *,
    courier: ScriptedCourier | None = None,
    directory: Directory | None = None,
    profile: Profile = PROFILE,
    clock: Clock | None = None,
    ambiguous_retry: timedelta = timedelta(milliseconds=50),
    expires: timedelta = timedelta(days=1),
    connections: int = 20,
    trust: ClockTrust | None = None,
    limits: LimitBook | None = None,
    terms: Terms | None = None,
) -> AsyncIterator[Queue]:
    """Open a store in ``folder``, recover, and put a queue together (not running)."""
    clock = clock or SystemClock()
    store = await Store.open(
        StoreSettings(folder / "q.db", folder, "n1"),
        clock=clock,
        day_tables=days_tables(),
    )
    try:
        yield await _assemble(
            store,
            folder,
            courier or ScriptedCourier(),
            directory or make_directory(),
            profile,
            clock,
            (ambiguous_retry, expires),
            connections,
            trust or ClockTrust(),
            (limits, terms or NoTerms()),
        )
    finally:
        await store.close()


async def _assemble(
    store,
    folder,
    courier,
    directory,
    profile,
    clock,
    times,
    connections,
    trust,
    rules,
) -> Queue:
    ambiguous_retry, expires = times
    limits, terms = rules
    (folder / "bodies").mkdir(exist_ok=True)
    bodies = BodyStore(folder / "bodies")
    statements = queue_statements(suppression)
    book = LineBook(store.ids.take)
    contents = Contents(store, bodies.read)
    lazily: list[Scheduler] = []
    tally = Tally()

    def on_due(line):
        lazily[0].on_due(line)

    reporter = Reporter(
        store=store,
        next_id=store.ids.take,
        book=book,
        contents=contents,
        directory=lambda: directory,
        subject_of=subject_of,
        composer=dsn,
        settings=ReportSettings("mta.example.com", expires),
        on_queued=on_due,
        tally=tally,
    )
    in_flight = InFlight(clock, lambda: lazily[0].connections)
    settlement = Settlement(
        store=store,
        clock=clock,
        verdicts=verdict,
        draw=lambda: 0.5,
        settings=SettlementSettings(ambiguous_retry),
        on_due=on_due,
        in_flight=in_flight,
        tally=tally,
        trust=trust,
        reporter=reporter,
    )
    claims = Claims(
        store,
        statements,
        clock,
        lambda claimed: None,
        in_flight,
        tally,
        trust,
        reporter,
        terms,
    )
    stored = StoredLimits(store, clock, trust)
    await stored.load()
    permits = Permits(
        lambda: directory.pools,
        stored.state,
        limits,
        lambda: trust.is_suspect,
    )
    tools = Tools(
        clock,
        claims,
        contents,
        settlement,
        permits,
        NoBudget(),
        in_flight,
        tally,
        terms,
    )
    router = ScriptedRouter(profile)
    holds = Holds()
    scheduler = Scheduler(
        tools=tools,
        router=router,
        courier=courier,
        directory=lambda: directory,
        settings=SchedulerSettings(connections, 1000, profile.retry, idle_s=0.2),
        stops=holds.stops,
        stops_everything=holds.stops_everything,
    )
    lazily.append(scheduler)
    intake = QueueIntake(
        store=store,
        next_id=store.ids.take,
        statements=statements,
        book=book,
        contents=contents,
        subject_of=subject_of,
        write_file=lambda day, number, body: bodies.write(day, number, [body]),
        settings=IntakeSettings(timedelta(seconds=30), expires, expires),
        on_queued=scheduler.on_due,
        tally=tally,
        reporter=reporter,
    )
    await discard_incomplete(store)
    await recover_sending(store, clock, ambiguous_retry)
    await load_lines(store, book)
    operations = Operations(
        store=store,
        book=book,
        scheduler=scheduler,
        holds=holds,
        router=router,
        clock=clock,
        next_id=store.ids.take,
        tally=tally,
        look_s=0.02,
    )
    await operations.load()
    for line in book:
        scheduler.park(line)
    return Queue(
        store,
        intake,
        scheduler,
        settlement,
        courier,
        router,
        book,
        clock,
        tally,
        permits,
        stored,
        operations,
        Expiry(
            store=store,
            book=book,
            clock=clock,
            trust=trust,
            tally=tally,
            reporter=reporter,
            terms=terms,
        ),
    )
