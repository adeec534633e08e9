"""What credentials have used: counted with the mail, kept across restarts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.queueing import make_directory, make_submission, subject_of
from mailwright.accounts.directory import Credential, Directory
from mailwright.accounts.quota import Excess, Limits, Reason, hour_of, start_of
from mailwright.accounts.quotas import Booking, Quotas, purge_unit
from mailwright.accounts.tables import quota_used
from mailwright.bounce import suppression
from mailwright.clock import ManualClock, from_micros
from mailwright.events.tables import events_of
from mailwright.ids import CredentialId, StreamId, TenantId
from mailwright.queue.book import LineBook
from mailwright.queue.content import Contents
from mailwright.queue.intake import IntakeSettings, QueueIntake
from mailwright.queue.statements import queue_statements
from mailwright.queue.tables import deliveries, finished_of
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import Query, unit
from mailwright.store.store import Store
from mailwright.submission import NotAcceptedError, Submission

CRM = CredentialId(1)
START = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)
_USED = Query("used", quota_used.select())
_ROWS = Query("rows", deliveries.select().order_by(deliveries.c.id))


def directory_with(limits: Limits) -> Directory:
    crm = Credential(
        CRM, TenantId(1), "crm", None, frozenset(), StreamId(1), limits=limits
    )
    return replace(
        make_directory(), credentials={"crm": crm}, credentials_by_id={CRM: crm}
    )


class Rig:
    """A store, quotas on it and the door into the queue; no scheduler."""

    def __init__(self, store: Store, limits: Limits, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.limits = limits
        self.quotas = Quotas(lambda: directory_with(self.limits))
        self.book = LineBook(store.ids.take)

        def write_file(_day: date, _number: int, _body: bytes) -> str:
            raise AssertionError("bodies here are small")

        minute = timedelta(minutes=1)
        self.intake = QueueIntake(
            store=store,
            next_id=store.ids.take,
            statements=queue_statements(suppression),
            book=self.book,
            contents=Contents(store, lambda _name: b""),
            subject_of=subject_of,
            write_file=write_file,
            settings=IntakeSettings(minute, 60 * minute, 60 * minute),
            on_queued=lambda _line: None,
            quotas=self.quotas,
        )

    def submission(self, count: int, **changes: Any) -> Submission:
        recipients = [f"r{number}@example.org" for number in range(count)]
        return make_submission(*recipients, at=self.clock.now(), **changes)

    async def due(self) -> list[datetime]:
        [rows] = await self.store.read(_ROWS())
        place = list(deliveries.c.keys()).index("due_at")
        return sorted(from_micros(row[place]) for row in rows)

    def book_quota(self, count: int) -> Booking | Excess | None:
        return self.quotas.book(CRM, count, now=self.clock.now())

    async def count_backlogs(self) -> None:
        await self.quotas.count_backlogs(
            lambda: ((line.key.credential, line.count) for line in self.book)
        )


def drive(
    folder: Path,
    limits: Limits,
    test: Callable[[Rig], Awaitable[None]],
    clock: ManualClock | None = None,
) -> None:
    clock = clock or ManualClock(START)

    async def run() -> None:
        settings = StoreSettings(folder / "test.db", folder, "n1", readers=1)
        days = (finished_of, events_of)
        async with asyncio.timeout(120):
            store = await Store.open(settings, clock=clock, day_tables=days)
            try:
                rig = Rig(store, limits, clock)
                await rig.quotas.load(store, clock.now())
                await test(rig)
            finally:
                await store.close()

    asyncio.run(run())


def test_what_is_over_the_hour_is_accepted_and_leaves_in_the_next_ones(
    tmp_path: Path,
) -> None:
    async def test(rig: Rig) -> None:
        accepted = await rig.intake.accept(rig.submission(7))
        assert len(accepted.recipients) == 7
        hour = hour_of(START)
        assert await rig.due() == [
            START,
            START,
            START,
            start_of(hour + 1),
            start_of(hour + 1) + timedelta(minutes=20),
            start_of(hour + 1) + timedelta(minutes=40),
            start_of(hour + 2),
        ]

        rig.clock.advance(3600)
        await rig.intake.accept(rig.submission(1))
        # The next hour is full with what waits; nobody overtakes.
        due = await rig.due()
        assert due[-1] == start_of(hour + 2) + timedelta(minutes=20)

    drive(tmp_path, Limits(hourly=3), test)


@pytest.mark.parametrize("has_guards", [False, True])
def test_a_restart_decides_as_if_there_had_been_none(
    tmp_path: Path, has_guards: bool
) -> None:
    guards = (lambda _accepted: ()) if has_guards else None

    async def first(rig: Rig) -> None:
        await rig.intake.accept(rig.submission(4), guards)
        await rig.intake.accept(rig.submission(1), guards)

    async def later(rig: Rig) -> None:
        await rig.intake.accept(rig.submission(1), guards)
        assert (await rig.due())[-1] == start_of(hour_of(START) + 2) + HALF_AN_HOUR
        # 6 of 8 are used, and as many as that are stored.
        with pytest.raises(NotAcceptedError) as caught:
            await rig.intake.accept(rig.submission(3), guards)
        assert (caught.value.reply.code, caught.value.reply.enhanced) == (452, "4.7.1")
        until_midnight = (11 * 60 + 39) * 60
        assert caught.value.retry_after_s == until_midnight
        await rig.intake.accept(rig.submission(2), guards)

    limits = Limits(hourly=2, daily=8)
    clock = ManualClock(START)
    drive(tmp_path, limits, first, clock)
    clock.advance(60)
    drive(tmp_path, limits, later, clock)


def test_a_new_day_has_a_new_quota(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.intake.accept(rig.submission(5))
        with pytest.raises(NotAcceptedError, match="daily quota"):
            await rig.intake.accept(rig.submission(1))
        rig.clock.advance(12 * 3600)
        await rig.store.ensure_day(rig.clock.now().date())
        await rig.intake.accept(rig.submission(5))

    drive(tmp_path, Limits(daily=5), test)


def test_more_than_is_ever_allowed_is_refused_for_good(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        with pytest.raises(NotAcceptedError) as caught:
            await rig.intake.accept(rig.submission(6))
        assert caught.value.reply.is_permanent
        assert caught.value.retry_after_s is None

    drive(tmp_path, Limits(daily=5), test)


def test_a_backlog_counts_what_waits_and_what_is_on_its_way(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.intake.accept(rig.submission(3))
        with pytest.raises(NotAcceptedError, match="queued"):
            await rig.intake.accept(rig.submission(3))
        [line] = rig.book
        line.count -= 2  # two were delivered
        await rig.count_backlogs()
        await rig.intake.accept(rig.submission(3))
        assert isinstance(rig.book_quota(2), Excess)
        pending = rig.book_quota(1)
        assert isinstance(pending, Booking)
        assert isinstance(rig.book_quota(1), Excess), "what is not stored yet counts"
        rig.quotas.end(pending, is_stored=False)
        assert isinstance(rig.book_quota(1), Booking)

    drive(tmp_path, Limits(backlog=5), test)


def test_mail_that_could_not_be_stored_uses_nothing(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        submission = rig.submission(5)
        assert rig.book_quota(1) is not None

        def failing(_accepted: object) -> Any:
            raise ValueError("a guard that cannot be made")

        for _ in range(3):
            with pytest.raises(ValueError, match="guard"):
                await rig.intake.accept(submission, failing)
        [used] = await rig.store.read(_USED())
        assert used == []
        found = rig.book_quota(5)
        assert isinstance(found, Booking), "six were granted at most"
        assert isinstance(rig.book_quota(1), Excess)

    drive(tmp_path, Limits(daily=6), test)


def test_a_raised_limit_acts_on_the_next_message(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.intake.accept(rig.submission(9))
        rig.limits = Limits(hourly=100)
        await rig.intake.accept(rig.submission(1))
        assert (await rig.due()).count(START) == 4
        rig.limits = Limits()
        assert rig.book_quota(1_000_000) is None

    drive(tmp_path, Limits(hourly=3), test)


def test_mail_for_later_takes_its_own_hour(tmp_path: Path) -> None:
    later = START + timedelta(hours=5)

    async def test(rig: Rig) -> None:
        await rig.intake.accept(rig.submission(4, not_before=later))
        await rig.intake.accept(rig.submission(3))
        assert await rig.due() == [
            *[START] * 3,
            *[later] * 3,
            start_of(hour_of(later) + 1),
        ]

    drive(tmp_path, Limits(hourly=3), test)


def test_mail_that_would_expire_before_its_turn_is_deferred(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        soon = START + timedelta(hours=2)
        with pytest.raises(NotAcceptedError) as caught:
            await rig.intake.accept(rig.submission(20, expires_at=soon))
        assert caught.value.reply.text == Reason.HORIZON.value

    drive(tmp_path, Limits(hourly=3), test)


def test_counts_that_are_over_are_forgotten(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.intake.accept(rig.submission(5))
        rig.clock.advance(3 * 86_400)
        found = rig.book_quota(2)
        assert isinstance(found, Booking)
        await rig.store.run(unit(*found.statements))

        [gone] = await rig.store.run(purge_unit(rig.clock.now()))

        assert len(gone) == 4
        [used] = await rig.store.read(_USED())
        assert {row[-1] for row in used} == {2}

    drive(tmp_path, Limits(hourly=2, daily=9), test)
