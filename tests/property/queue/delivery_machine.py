"""The queue's own code on a stepped store, driven at random beside a model.

What must hold after every step is in :mod:`property.queue.delivery_checks`. Any step may
be cut short by a crash before any statement, and the next life recovers.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import insert, update

from fakes.campaigns import new_campaign
from fakes.queueing import make_submission, subject_of
from fakes.stepped_store import Died, SteppedStore
from mailwright.accounts.directory import StreamClass
from mailwright.attempt import Attempt, End
from mailwright.bounce import suppression, verdict
from mailwright.bounce.tables import suppressions
from mailwright.clock import ManualClock, to_micros
from mailwright.events.tables import events_of
from mailwright.ids import (
    CampaignId,
    CredentialId,
    PoolId,
    SendingDomainId,
    SourceId,
    StreamId,
    TenantId,
)
from mailwright.queue import acceptance, intake, recovery
from mailwright.queue.book import LineBook
from mailwright.queue.campaign.slices import Placed, SeedRow, Slice, slice_unit
from mailwright.queue.campaign.stored import campaign_of, draft_row, insert_campaign
from mailwright.queue.campaign.tables import campaigns
from mailwright.queue.claimed import Claimed, empty_parcel
from mailwright.queue.claims import Claims
from mailwright.queue.content import Contents
from mailwright.queue.delivery import State
from mailwright.queue.in_flight import InFlight
from mailwright.queue.intake import IntakeSettings, QueueIntake
from mailwright.queue.line import NOTHING_DUE, Line, LineKey
from mailwright.queue.recovery import discard_incomplete, load_lines, recover_sending
from mailwright.queue.settle import Move, unit_of
from mailwright.queue.settlement import Settlement, SettlementSettings
from mailwright.queue.statements import QueueStatements, queue_statements
from mailwright.queue.tables import finished_of
from mailwright.reply import Phase, Reply
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import Query, Unit, UnitResult, unit
from mailwright.store.store import Store
from property.queue.delivery_checks import (
    DAYS,
    check_campaign,
    check_deliveries,
    check_events,
    check_lines,
    check_messages,
    from_all_days,
)
from property.queue.delivery_model import AMBIGUOUS_RETRY, RETRY, Known

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(hours=2)
#: Steps within this stay within the days that have tables.
LAST = START + timedelta(days=4)
RECIPIENTS = [f"{who}@{domain}.example" for who in "xyz" for domain in "ab"]
SOURCES = [SourceId(1), SourceId(2)]
REPLIES = [
    (End.REPLIED, 250),
    (End.REPLIED, 450),
    (End.REPLIED, 550),
    (End.AMBIGUOUS, 451),
    (End.ORPHANED, 421),
    (End.NOT_OFFERED, 450),
    (End.UNSIGNABLE, 451),
    (End.UNRENDERED, 554),
]
#: Mostly a step runs to its end.
FUSES = st.integers(0, 149).map(lambda n: n - 125 if n >= 125 else None)
FOR_EVER = NOTHING_DUE
#: Takes slices for ever.
CAMPAIGN = insert_campaign(CampaignId(1), 1, new_campaign(), at=START)
SEALING = Query("sealing", update(campaigns).values(state="sealing"))
SUPPRESS = Query("suppress", insert(suppressions))


@lru_cache(maxsize=1)
def template() -> bytes:
    """Return a migrated database with the tables of all days."""

    async def make(folder: Path) -> bytes:
        path = folder / "q.db"
        store = await Store.open(
            StoreSettings(path, folder, "n1"),
            clock=ManualClock(START),
            day_tables=[events_of, finished_of],
        )
        for day in DAYS:
            await store.ensure_day(day)
        await store.run(unit(CAMPAIGN, SEALING()))
        await store.close()
        return path.read_bytes()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(make(Path(folder)))


@lru_cache(maxsize=4)
def statements_for(suppressions: Any) -> QueueStatements:
    """Return the statements; compiling them takes longer than a run."""
    return queue_statements(suppressions)


class DeliveryMachine(RuleBasedStateMachine):
    """Attributes of a subclass make a control of it.

    Attributes:
        is_atomic: whether a turn commits whole.
        suppressions: what the statements ask who is suppressed.
    """

    is_atomic = True
    suppressions: Any = suppression

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="deliveries"))
        self.path = self.folder / "q.db"
        self.path.write_bytes(template())
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        # Small, so that few deliveries already take several units.
        self.patch.setattr(acceptance, "UNIT_RECIPIENTS", 2)
        self.patch.setattr(intake, "UNIT_RECIPIENTS", 2)
        self.patch.setattr(recovery, "_SLICE", 2)
        self.mutate(self.patch)
        self.clock = ManualClock(START)
        self.known: dict[int, Known] = {}
        self.suppressed: set[str] = set()
        self.held: list[Claimed] = []
        self.ghosts: list[tuple[int, Claimed]] = []
        self.epochs: list[int] = []
        self.live(None)

    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        """Break something, in a control."""

    def teardown(self) -> None:
        self.store.die()
        self.patch.undo()
        self.loop.close()
        shutil.rmtree(self.folder)

    # -- one life ---------------------------------------------------------------------

    def live(self, fuse: int | None) -> None:
        """Start as a node does; a start that dies is followed by another one."""
        self.store = store = SteppedStore(
            self.path, self.clock, is_atomic=self.is_atomic
        )
        assert store.epoch > max(self.epochs, default=0)
        self.epochs.append(store.epoch)
        self.held.clear()
        self.age = 0  # in steps
        statements = statements_for(self.suppressions)
        self.book = LineBook(store.take_id)
        in_flight = InFlight(self.clock, lambda: 1000)
        self.settlement = Settlement(
            store=store,
            clock=self.clock,
            verdicts=verdict,
            draw=lambda: 0.5,
            settings=SettlementSettings(AMBIGUOUS_RETRY),
            on_due=lambda line: None,
            in_flight=in_flight,
        )
        self.claims = Claims(
            store, statements, self.clock, self.settlement.release, in_flight
        )
        self.intake = QueueIntake(
            store=store,
            next_id=store.take_id,
            statements=statements,
            book=self.book,
            contents=Contents(store, lambda name: b""),
            subject_of=subject_of,
            write_file=lambda day, number, body: "",
            settings=IntakeSettings(timedelta(minutes=1), LIFETIME, LIFETIME),
            on_queued=lambda line: None,
        )
        self.store.on_commit = self._on_recovery
        self.act(fuse, self._recover())

    async def _recover(self) -> None:
        await discard_incomplete(self.store)
        await recover_sending(self.store, self.clock, AMBIGUOUS_RETRY)
        await load_lines(self.store, self.book)

    def act(self, fuse: int | None, action: Coroutine[Any, Any, T]) -> T | None:
        """Do ``action`` and all that it handed in; ``None`` when it died amid it."""
        self.store.arm(fuse)
        task = self.loop.create_task(action)
        try:
            while not (task.done() and self.store.is_idle):
                self.loop.call_soon(self.loop.stop)
                self.loop.run_forever()
                self.store.turn()
            result = task.result()
        except Died:
            self.store.die()
            self.ghosts += [(self.store.epoch, each) for each in self.held]
            self.live(None)
            return None
        finally:
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
        self.store.arm(None)
        return result

    # -- what was committed -----------------------------------------------------------

    def _on_recovery(self, unit: Unit, result: UnitResult) -> None:
        for step, rows in zip(unit.steps, result, strict=True):
            for row in rows if step.guard else ():
                assert self.known[row[0]].epoch not in {None, self.store.epoch}
                self.known[row[0]].recover(self.clock.now())

    def _on_claims(self, unit: Unit, result: UnitResult) -> None:
        (step,), (rows,) = unit.steps, result
        if step.guard is None:
            (only,) = step.then
            assert only.query.name == "set next due"
            return
        now = self.clock.now()
        if step.guard.query.name == "claim":
            for row in rows:
                known = self.known[row[0]]
                assert known.recipient not in self.suppressed
                source = step.guard.params["my_source"]
                known.claim(self.store.epoch, source, now)
        elif rows:
            known = self.known[rows[0][0]]
            known.doom(now, is_suppressed=known.recipient in self.suppressed)

    # -- rules ------------------------------------------------------------------------

    @rule(
        recipients=st.lists(st.sampled_from(RECIPIENTS), min_size=1, max_size=5),
        wait_h=st.sampled_from([0, 0, 0, 1]),
        fuse=FUSES,
    )
    def accept(self, recipients: list[str], wait_h: int, fuse: int | None) -> None:
        now = self.clock.now()
        start = now + timedelta(hours=wait_h)
        submission = make_submission(
            *recipients, at=now, not_before=start if wait_h else None
        )
        units = 1 if len(recipients) <= 2 else (len(recipients) + 1) // 2 + 1
        committed: list[Unit] = []

        def on_commit(unit: Unit, result: UnitResult) -> None:
            committed.append(unit)
            if len(committed) == units:
                self._accepted(recipients, start)

        before = len(self.known)
        self.store.on_commit = on_commit
        accepted = self.act(fuse, self.intake.accept(submission))
        if accepted is None:
            return
        # What was acknowledged is stored, and the answer says what became of it.
        assert len(self.known) == before + len(recipients)
        assert [each.is_suppressed for each in accepted.recipients] == [
            each in self.suppressed for each in recipients
        ]

    def _accepted(self, recipients: list[str], start: datetime) -> None:
        ids = sorted(
            row[0]
            for table in ("deliveries", "finished")
            for row in self._ids(table)
            if row[0] not in self.known
        )
        for number, recipient in zip(ids, recipients, strict=True):
            known = Known(recipient, start, start + LIFETIME)
            known.accept(is_suppressed=recipient in self.suppressed)
            self.known[number] = known

    def _ids(self, table: str) -> list[tuple[Any, ...]]:
        if table == "deliveries":
            return self.store.rows("SELECT id FROM deliveries")
        return self.store.rows(from_all_days("finished", "id"))

    @rule(
        recipients=st.lists(st.sampled_from(RECIPIENTS), min_size=1, max_size=4),
        fuse=FUSES,
    )
    def seal(self, recipients: list[str], fuse: int | None) -> None:
        """Write another slice of a campaign."""
        ((after,),) = self.store.rows("SELECT sealed_rows FROM campaigns")
        placed = [self._placed(each) for each in recipients]
        now = self.clock.now()
        part = Slice(
            *(campaign_of(draft_row(CAMPAIGN)), after, after + 1, placed),
            *("example.com", 1, self.store.node, self.store.epoch, now, now),
        )

        def on_commit(unit: Unit, result: UnitResult) -> None:
            assert result[0]
            for each in placed:
                known = Known(each.row.address, now, FOR_EVER, is_of_campaign=True)
                known.accept(is_suppressed=False)
                self.known[each.delivery] = known
                each.line.gained(now)

        self.store.on_commit = on_commit
        self.act(fuse, self.store.run(slice_unit(part)))

    def _placed(self, address: str) -> Placed:
        domain = address.partition("@")[2]
        row = SeedRow(0, address, domain, subject_of(address), b"{}")
        key = LineKey(
            *(TenantId(1), CampaignId(1), StreamId(1), SendingDomainId(1)),
            *(CredentialId(1), StreamClass.BULK, domain, PoolId(1)),
        )
        line = self.book.line_for(key, self.clock.now())
        return Placed(row, self.store.take_id(), self.store.take_id(), line, False)

    @precondition(lambda self: self.clock.now() < LAST)
    @rule(minutes=st.sampled_from([1, 4, 4, 11, 61]))
    def pass_time(self, minutes: int) -> None:
        self.clock.advance(60 * minutes)

    @precondition(lambda self: self._feeding())
    @rule(
        which=st.integers(0, 9),
        want=st.integers(1, 4),
        source=st.sampled_from(SOURCES),
        fuse=FUSES,
    )
    def claim(self, which: int, want: int, source: SourceId, fuse: int | None) -> None:
        lines = self._feeding()
        self._claim(lines[which % len(lines)], want, source, fuse)

    def _claim(self, line: Line, want: int, source: SourceId, fuse: int | None) -> None:
        due = self._due(line)
        doomed = [each for each in due if self._is_doomed(each)]
        want = min(want, line.available)
        self.store.on_commit = self._on_claims
        claimed = self.act(fuse, self.claims.claim(line, want, source))
        if claimed is None:
            return
        self.held += claimed
        if not doomed:
            assert len(claimed) == min(want, len(due))
        elif len(claimed) < want:
            assert all(each.state is not State.QUEUED for each in doomed)

    def _feeding(self) -> list[Line]:
        """Return the lines that a lane would ask."""
        lines = [line for line in self.book if line.ready_at() <= self.clock.now()]
        return sorted(lines, key=lambda line: line.id)

    def _due(self, line: Line) -> list[Known]:
        return [
            known
            for known in self.known.values()
            if known.state is State.QUEUED
            and known.is_of_campaign == (line.key.campaign is not None)
            and known.due_at <= self.clock.now()
            and known.recipient.endswith(f"@{line.key.domain}")
        ]

    def _is_doomed(self, known: Known) -> bool:
        is_late = known.expires_at <= self.clock.now()
        return is_late or known.recipient in self.suppressed

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), end=st.sampled_from(REPLIES))
    def settle_one(self, which: int, end: tuple[End, int]) -> None:
        self._settle_all([self.held.pop(which % len(self.held))], [end], None)

    @precondition(lambda self: len(self.held) > 1)
    @rule(
        ends=st.lists(st.sampled_from(REPLIES), min_size=2, max_size=4),
        fuse=FUSES,
    )
    def settle_some(self, ends: list[tuple[End, int]], fuse: int | None) -> None:
        """End some attempts in one turn."""
        some = self.held[: len(ends)]
        del self.held[: len(ends)]
        self._settle_all(some, ends, fuse)

    def _settle_all(
        self, some: list[Claimed], ends: list[tuple[End, int]], fuse: int | None
    ) -> None:
        async def settle_all() -> None:
            for claimed, end in zip(some, ends, strict=False):
                self._settle(claimed, *end)
                if _counts(end):
                    self.ghosts.append((self.store.epoch, claimed))

        self.act(fuse, settle_all())

    def _settle(self, claimed: Claimed, end: End, code: int) -> None:
        known, now = self.known[claimed.id], self.clock.now()

        def on_commit(unit: Unit, result: UnitResult) -> None:
            assert result[0], "the row was taken away"
            known.settle(end, code, now)

        self.store.on_commit = on_commit
        self.settlement.settle(
            claimed,
            _attempt(claimed, end, code),
            source=claimed.source,
            ladder=[RETRY.total_seconds()],
        )

    @precondition(lambda self: self.ghosts)
    @rule(which=st.integers(0, 9), is_delivered=st.booleans())
    def settle_too_late(self, which: int, is_delivered: bool) -> None:
        """End an attempt that is nobody's any more: of a dead start, or over already."""
        ghosts = [
            ghost
            for ghost in self.ghosts
            # Most of all, while the delivery is under way again.
            if self.known[ghost[1].id].state is State.SENDING
        ] or self.ghosts
        epoch, claimed = ghost = ghosts[which % len(ghosts)]
        self.ghosts.remove(ghost)
        now = self.clock.now()
        move = Move(State.DELIVERED) if is_delivered else Move(State.QUEUED, due_at=now)
        late = unit_of(
            claimed,
            _attempt(claimed, End.REPLIED, 250 if is_delivered else 450),
            move,
            source=claimed.source,
            node=self.store.node,
            epoch=epoch,
            now=now,
        )

        def on_commit(unit: Unit, result: UnitResult) -> None:
            self.known[claimed.id].events.append("possible_duplicate")

        self.store.on_commit = on_commit
        self.act(None, self.store.run(late))

    @precondition(lambda self: self.age > 3 and len(self.suppressed) < 2)
    @rule(recipient=st.sampled_from(RECIPIENTS), fuse=FUSES)
    def suppress(self, recipient: str, fuse: int | None) -> None:
        if recipient in self.suppressed:
            return
        row = SUPPRESS(
            subject=subject_of(recipient),
            tenant=1,
            stream=0,
            reason="manual",
            evidence="",
            author="test",
            is_provisional=0,
            created_at=to_micros(self.clock.now()),
            ends_at=None,
        )

        def on_commit(unit: Unit, result: UnitResult) -> None:
            self.suppressed.add(recipient)

        self.store.on_commit = on_commit
        self.act(fuse, self.store.run(unit(row)))

    @precondition(lambda self: self.held and self.age > 5)
    @rule(again=FUSES)
    def crash(self, again: int | None) -> None:
        """Die between two steps; ``again``: and once more amid the start."""
        self._crash(again)

    @precondition(lambda self: self.held and self.clock.now() < LAST)
    @rule(source=st.sampled_from(SOURCES))
    def crash_and_go_on(self, source: SourceId) -> None:
        """Die amid attempts, and let the next life make them again."""
        self._crash(None)
        self.clock.advance(AMBIGUOUS_RETRY.total_seconds())
        for line in self._feeding():
            self._claim(line, line.available, source, None)

    def _crash(self, again: int | None) -> None:
        self.ghosts += [(self.store.epoch, each) for each in self.held]
        self.store.die()
        self.live(again)

    @invariant()
    def all_is_well(self) -> None:
        self.age += 1
        check_deliveries(self.store, self.known)
        check_events(self.store, self.known)
        check_lines(self.store, self.book)
        check_messages(self.store)
        check_campaign(self.store, self.known)


def _counts(end: tuple[End, int]) -> bool:
    return end[0] in {End.REPLIED, End.AMBIGUOUS, End.ORPHANED}


def _attempt(claimed: Claimed, end: End, code: int) -> Attempt:
    phase = Phase.RCPT if end is End.REPLIED else Phase.DOT
    return Attempt(empty_parcel(claimed), end, Reply(code, "", "", phase))
