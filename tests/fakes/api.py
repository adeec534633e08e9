"""The HTTP API over real admission and real keys, on a fake queue.

With a folder, the store is real too; without one there is none, and using it fails.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from itertools import count
from pathlib import Path

import httpx
from fastapi import FastAPI
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from mailwright.accounts.authentication import Authenticator, make_secret
from mailwright.accounts.directory import (
    Credential,
    Directory,
    DkimKey,
    Pool,
    Proof,
    Scope,
    SendingDomain,
    Stream,
    StreamClass,
    Tenant,
)
from mailwright.accounts.guesses import GuessLimiter
from mailwright.accounts.logins import Logins
from mailwright.api.app import create_app
from mailwright.api.ports import (
    ApiLimits,
    ApiPorts,
    EventFilter,
    EventPage,
    EventRecord,
    MessageRecord,
    MetricsDoor,
)
from mailwright.clock import ManualClock
from mailwright.events.position import CursorError
from mailwright.ids import (
    CredentialId,
    Kind,
    PoolId,
    PublicId,
    SendingDomainId,
    StreamId,
    TenantId,
    format_public,
)
from mailwright.mta.admission import Admission, AdmissionLimits, Offer, Refusal
from mailwright.mta.ports import Guards
from mailwright.mta.submission.budget import ByteBudget
from mailwright.store.ports import Done, Pending, UnitStore
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import Bound, Row, Unit, UnitResult, unit
from mailwright.store.store import Store
from mailwright.submission import Accepted, AcceptedRecipient, Submission

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS, THEIRS = TenantId(1), TenantId(2)
RECEIPTS = Stream(StreamId(1), OURS, "receipts", StreamClass.TRANSACTIONAL, PoolId(1))
NEWS = Stream(StreamId(2), OURS, "news", StreamClass.BULK, PoolId(1))
FOREIGN = Stream(StreamId(3), THEIRS, "foreign", StreamClass.BULK, PoolId(1))
SUPPRESSED = "gone@example.org"

#: Name of each credential, its tenant, its scopes.
_CREDENTIALS = {
    "crm": (OURS, frozenset({Scope.SEND, Scope.CONTROL, Scope.READ})),
    "sender": (OURS, frozenset({Scope.SEND})),
    "reader": (OURS, frozenset({Scope.READ})),
    "neighbour": (THEIRS, frozenset({Scope.SEND, Scope.CONTROL, Scope.READ})),
}


class FakeIntake:
    """Keeps submissions in memory; their guards really commit."""

    def __init__(self, store: UnitStore) -> None:
        self._store = store
        self._numbers = count(1)
        self.submissions: list[Submission] = []
        #: Raised instead of accepting, before or after the guards have committed.
        self.error: Exception | None = None
        self.error_after: Exception | None = None
        #: Waited for before the commit, once ``reached`` was set.
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def accept(
        self, submission: Submission, guards: Guards | None = None
    ) -> Accepted:
        if self.error is not None:
            raise self.error
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        at = submission.accepted_at
        accepted = Accepted(
            format_public(Kind.MESSAGE, at, next(self._numbers)),
            [
                AcceptedRecipient(
                    format_public(Kind.DELIVERY, at, next(self._numbers)),
                    recipient.address.canonical,
                    recipient.address.canonical == SUPPRESSED,
                )
                for recipient in submission.envelope.recipients
            ],
        )
        if guards is not None:
            await self._store.run(unit(*guards(accepted)))
        self.submissions.append(submission)
        if self.error_after is not None:
            raise self.error_after
        return accepted


class OneMetric(Collector):
    """A metric that says in which thread it was collected; its label is awkward."""

    @override
    def collect(self) -> Iterator[Metric]:
        main = threading.current_thread() is threading.main_thread()
        family = GaugeMetricFamily("on_the_loop", "Its thread", labels=["name"])
        family.add_metric(['a"b\\c\nd'], int(main))
        yield family


class WatchedAdmission(Admission):
    """Says of each offer whether it was judged on the event loop's thread."""

    def __init__(self, directory: Callable[[], Directory]) -> None:
        super().__init__(directory, AdmissionLimits(1_000_000, 100_000))
        self.were_inline: list[bool] = []

    @override
    def judge(
        self, offer: Offer, *, now: datetime, fresh_id: Callable[[], str]
    ) -> Submission | Refusal:
        is_inline = threading.current_thread() is threading.main_thread()
        self.were_inline.append(is_inline)
        return super().judge(offer, now=now, fresh_id=fresh_id)


@dataclass
class FakeReading:
    """Shows what tests put in. A cursor is the number of events already shown."""

    messages: dict[tuple[TenantId, int], MessageRecord] = field(default_factory=dict)
    log: dict[TenantId, list[EventRecord]] = field(default_factory=dict)

    async def message(self, tenant: TenantId, ident: PublicId) -> MessageRecord | None:
        return self.messages.get((tenant, ident.number))

    async def events(
        self, tenant: TenantId, wanted: EventFilter, *, after: str, limit: int
    ) -> EventPage:
        types, message = wanted.types, wanted.message
        if after and not after.isdigit():
            raise CursorError
        chosen = [
            (place, event)
            for place, event in enumerate(self.log.get(tenant, []), 1)
            if place > int(after or 0)
            and (not types or event.type in types)
            and (
                message is None
                or event.message == format_public(Kind.MESSAGE, START, message.number)
            )
        ][:limit]
        cursor = str(chosen[-1][0]) if chosen else after or "0"
        return EventPage([event for _, event in chosen], cursor)


@dataclass
class Rig:
    """An API and everything around it."""

    app: FastAPI
    client: httpx.AsyncClient
    clock: ManualClock
    store: UnitStore
    admission: WatchedAdmission
    intake: FakeIntake
    reading: FakeReading
    budget: ByteBudget
    keys: dict[str, str]
    unready: list[str]

    def auth(self, name: str = "crm") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[name]}"}

    async def post(
        self, body: object, *, by: str = "crm", **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            "/v1/messages", json=body, headers={**self.auth(by), **named}
        )

    async def post_raw(
        self,
        body: bytes,
        *,
        media_type: str = "message/rfc822",
        query: str = "",
        by: str = "crm",
        **headers: str,
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            f"/v1/messages{query}",
            content=body,
            headers={**self.auth(by), "Content-Type": media_type, **named},
        )

    async def get(self, path: str, *, by: str = "crm") -> httpx.Response:
        return await self.client.get(path, headers=self.auth(by))


class NoStore:
    """Fails whoever uses it."""

    epoch = 1
    node = 1

    def submit(self, unit: Unit, done: Done) -> Pending:
        raise AssertionError("this test has no store")

    async def run(self, unit: Unit) -> UnitResult:
        raise AssertionError("this test has no store")

    async def read(self, *bounds: Bound) -> list[list[Row]]:
        raise AssertionError("this test has no store")


def drive(
    test: Callable[[Rig], Awaitable[None]],
    folder: Path | None = None,
    limits: ApiLimits | None = None,
    budget_octets: int = 64_000_000,
) -> None:
    """Run ``test`` with an API; its database is in ``folder``, if it has one."""

    async def run() -> None:
        clock = ManualClock(START)
        chosen = limits or ApiLimits()
        async with (
            asyncio.timeout(120),
            _store(folder, clock) as store,
            _rig(store, clock, chosen, budget_octets) as rig,
        ):
            await test(rig)

    asyncio.run(run())


@asynccontextmanager
async def _store(folder: Path | None, clock: ManualClock) -> AsyncIterator[UnitStore]:
    if folder is None:
        yield NoStore()
        return
    settings = StoreSettings(folder / "test.db", folder, "test")
    store = await Store.open(settings, clock=clock)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _rig(
    store: UnitStore, clock: ManualClock, limits: ApiLimits, octets: int
) -> AsyncIterator[Rig]:
    secrets = {name: make_secret(name) for name in _CREDENTIALS}
    shared = directory({name: digest for name, (_, digest) in secrets.items()})
    keys = {name: text for name, (text, _) in secrets.items()}
    intake, reading, budget = FakeIntake(store), FakeReading(), ByteBudget(octets)
    admission = WatchedAdmission(lambda: shared)
    numbers = count(1)
    unready: list[str] = []
    ports = ApiPorts(
        keys=Logins(Authenticator(lambda: shared), GuessLimiter()),
        admission=admission,
        intake=intake,
        reading=reading,
        store=store,
        budget=budget,
        clock=clock,
        hostname="mta.example.com",
        fresh_id=lambda: f"id{next(numbers)}",
        unready=lambda: unready,
        metrics=MetricsDoor(OneMetric, (ip_network("127.0.0.0/8"),)),
        limits=lambda: limits,
    )
    app = create_app(ports)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://node.test"
    ) as client:
        yield Rig(
            app=app,
            client=client,
            clock=clock,
            store=store,
            admission=admission,
            intake=intake,
            reading=reading,
            budget=budget,
            keys=keys,
            unready=unready,
        )
    # Whatever became of a request, the memory that it held is given back.
    assert budget.free == octets


def directory(hashes: dict[str, bytes]) -> Directory:
    """Settings with two tenants that share nothing."""
    key = DkimKey("s1", "rsa-sha256", True, False, False, 1)
    domains = [
        SendingDomain(
            SendingDomainId(number),
            tenant,
            domain,
            f"bounce.{domain}",
            Proof.OPERATOR,
            is_proven=True,
            keys=keys,
        )
        for number, (tenant, domain, keys) in enumerate(
            [
                (OURS, "example.com", (key,)),
                (OURS, "keyless.example", ()),
                (THEIRS, "theirs.example", (key,)),
            ],
            1,
        )
    ]
    streams = (RECEIPTS, NEWS, FOREIGN)
    credentials = [
        Credential(
            CredentialId(number),
            tenant,
            name,
            hashes[name],
            scopes,
            (RECEIPTS if tenant == OURS else FOREIGN).id,
        )
        for number, (name, (tenant, scopes)) in enumerate(_CREDENTIALS.items(), 1)
    ]
    pool = Pool(PoolId(1), "main", ())
    return Directory(
        version=1,
        tenants={OURS: Tenant(OURS, "ours"), THEIRS: Tenant(THEIRS, "theirs")},
        credentials={each.name: each for each in credentials},
        credentials_by_id={each.id: each for each in credentials},
        sending_domains={each.domain: each for each in domains},
        sending_domains_by_id={each.id: each for each in domains},
        streams={each.id: each for each in streams},
        streams_by_name={(each.tenant, each.name): each for each in streams},
        pools={pool.id: pool},
        pools_by_name={pool.name: pool},
        sources={},
        routes={},
    )
