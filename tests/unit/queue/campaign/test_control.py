"""What is said of a campaign while it runs acts within two seconds, and on it alone.

The couriers here take a message only when the test lets them, so what has been seen to
leave is known at any moment.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from fakes.campaigns import TENANT
from fakes.controlled import AUTHOR, Controlled, drive, until
from fakes.operated_queue import OTHER_POOL, two_pools
from fakes.queueing import OK, POOL, ScriptedCourier, make_submission
from mailwright.attempt import Attempt, End, Parcel
from mailwright.clock import ManualClock
from mailwright.ids import DeliveryId
from mailwright.queue.campaign.book import load_campaigns
from mailwright.queue.campaign.control import LINES_AT_ONCE
from mailwright.queue.campaign.job import Change, JobState
from mailwright.queue.campaign.statements import change_campaign
from mailwright.queue.campaign.stored import campaign_of
from mailwright.queue.delivery import State
from mailwright.queue.explain import Block, block_of
from mailwright.queue.selection import Selection
from mailwright.store.statements import Step, Unit

#: What the contract gives a change to act in.
AT_ONCE_S = 2.0


@dataclass
class Gate(ScriptedCourier):
    """Carries one at a time, and each only when it is let through."""

    permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    is_open: bool = False

    async def carry(self, site, source, feed):
        while parcels := await feed.take(1):
            for parcel in parcels:
                if not self.is_open:
                    await self.permits.acquire()
                self.carried[parcel.recipient] += 1
                self.sources[parcel.recipient].append(source.name)
                end, reply = self.script(parcel, source)
                feed.settle(Attempt(parcel, end, reply))

    def let(self, count: int) -> None:
        for _ in range(count):
            self.permits.release()

    def open(self) -> None:
        self.is_open = True
        self.let(10_000)

    def to(self, domains: Iterable[str]) -> int:
        wanted = tuple(f"@{each}" for each in domains)
        return sum(n for each, n in self.carried.items() if each.endswith(wanted))


def opened() -> Gate:
    gate = Gate()
    gate.open()
    return gate


def people(domain: str, count: int) -> list[str]:
    return [f"u{number}@{domain}" for number in range(count)]


async def settled(controlled: Controlled) -> None:
    """Wait until nothing is under way any more."""
    await until(lambda: not any(line.sending for line in controlled.queue.book))


def test_a_paused_campaign_sends_nothing_more_and_others_go_on(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        courier, jobs = controlled.queue.courier, controlled.campaigns.jobs
        mine = await controlled.campaign(*people("mine.example", 200), name="mine")
        await controlled.campaign(*people("theirs.example", 200), name="theirs")
        courier.let(20)
        await until(lambda: courier.carried.total() == 20)
        await jobs.pause(TENANT, mine, AUTHOR)
        lines = [each for each in controlled.queue.book if each.key.campaign == mine]
        assert await until(lambda: all(each.is_held for each in lines)) < AT_ONCE_S
        on_the_wire = 3  # connections of one site, each with one message in hand
        before = courier.to(["mine.example"])
        courier.open()
        await until(lambda: courier.to(["theirs.example"]) == 200)
        await settled(controlled)
        assert courier.to(["mine.example"]) <= before + on_the_wire
        rest = controlled.terms.rests(lines[0], controlled.queue.clock.now())
        assert rest is not None
        assert rest.until is None
        assert rest.reason.startswith(f"campaign mine is paused by {AUTHOR} since 20")
        await jobs.resume(TENANT, mine, AUTHOR)
        await until(lambda: courier.to(["mine.example"]) == 200)
        assert set(courier.carried.values()) == {1}

    drive(tmp_path, test, courier=Gate())


def test_without_control_a_pause_is_not_felt_by_what_is_active(tmp_path: Path) -> None:
    # The control of the test above: terms that do not change stop nothing.
    async def test(controlled: Controlled) -> None:
        courier, jobs = controlled.queue.courier, controlled.campaigns.jobs
        mine = await controlled.campaign(*people("mine.example", 50))
        courier.let(5)
        await until(lambda: courier.carried.total() == 5)
        controlled.terms.rests = lambda line, now: None
        await jobs.pause(TENANT, mine, AUTHOR)
        courier.open()
        await until(lambda: courier.carried.total() == 50)

    drive(tmp_path, test, courier=Gate())


def test_what_is_not_started_waits_and_goes_at_the_start(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        courier = controlled.queue.courier
        number = await controlled.sealed(*people("a.example", 20))
        await controlled.queue.intake.accept(make_submission("else@b.example"))
        await until(lambda: courier.to(["b.example"]) == 1)
        (line,) = (each for each in controlled.queue.book if each.key.campaign)
        assert controlled.terms.rests(line, controlled.queue.clock.now()) == (
            None,
            "campaign spring has not been started",
        )
        assert not courier.to(["a.example"])
        await controlled.campaigns.jobs.start(TENANT, number, AUTHOR)
        await until(lambda: courier.to(["a.example"]) == 20)

    drive(tmp_path, test, courier=opened())


def test_a_campaign_waits_for_its_time_and_then_goes_by_itself(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        courier, clock = controlled.queue.courier, controlled.queue.clock
        send_at = clock.now() + timedelta(seconds=1.5)
        await controlled.campaign(*people("a.example", 20), send_at=send_at)
        await until(lambda: courier.carried.total() > 0)
        assert clock.now() >= send_at
        await until(lambda: courier.carried.total() == 20)

    drive(tmp_path, test, courier=opened())


def window(opens: datetime, closes: datetime) -> dict[str, object]:
    """Return a window of some minutes around, every day, in UTC."""
    return {
        "timezone": "UTC",
        "ranges": [{"from": f"{opens:%H:%M}", "to": f"{closes:%H:%M}"}],
    }


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
OPEN = window(NOON - timedelta(hours=1), NOON + timedelta(hours=1))
SHUT = window(NOON + timedelta(hours=1), NOON + timedelta(hours=2))


def test_a_window_that_is_changed_shuts_and_opens_at_once(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        courier, jobs = controlled.queue.courier, controlled.campaigns.jobs
        number = await controlled.campaign(*people("a.example", 50), window=OPEN)
        courier.let(10)
        await until(lambda: courier.carried.total() == 10)
        await jobs.change(TENANT, number, Change(window=SHUT))
        (line,) = controlled.queue.book
        assert await until(lambda: line.wait_until is not None) < AT_ONCE_S
        assert line.wait_until == NOON + timedelta(hours=1)
        assert line.wait_reason == "its window opens at 2026-06-01T13:00:00Z"
        courier.open()
        await settled(controlled)
        assert courier.carried.total() <= 13
        await jobs.change(TENANT, number, Change(window=None))
        await until(lambda: courier.carried.total() == 50)

    drive(tmp_path, test, courier=Gate(), clock=ManualClock(NOON))


def test_a_window_shuts_while_mail_leaves_and_opens_by_the_recipients_clocks(
    tmp_path: Path,
) -> None:
    async def test(controlled: Controlled) -> None:
        queue, courier = controlled.queue, controlled.queue.courier
        own = OPEN | {"recipient_timezone": True}
        number = await controlled.campaign(*people("a.example", 50), window=own)
        await controlled.accept(
            number, *people("tokyo.example", 5), timezone="Asia/Tokyo"
        )
        courier.let(10)
        await until(lambda: courier.carried.total() == 10)
        queue.clock.advance(3600.0)
        courier.open()
        await until(lambda: all(line.wait_until for line in queue.book))
        await settled(controlled)
        assert courier.to(["a.example"]) <= 13
        assert not courier.to(["tokyo.example"])
        opens = {line.key.domain: line.wait_until for line in queue.book}
        assert opens == {
            "a.example": NOON + timedelta(hours=23),
            "tokyo.example": NOON + timedelta(hours=14),
        }
        queue.clock.advance(13 * 3600.0)
        queue.scheduler.wake()
        await until(lambda: courier.to(["tokyo.example"]) == 5)
        assert courier.to(["a.example"]) <= 13

    drive(tmp_path, test, courier=Gate(), clock=ManualClock(NOON))


def test_what_sessions_hold_is_taken_back_when_a_window_shuts(tmp_path: Path) -> None:
    @dataclass
    class Holding(Gate):
        held: list[Parcel] = field(default_factory=list)

        async def carry(self, site, source, feed):
            self.held += await feed.take(1)
            await self.permits.acquire()
            for parcel in self.held:
                feed.settle(Attempt(parcel, End.NOT_OFFERED, OK))
            self.held.clear()

    courier = Holding()

    async def test(controlled: Controlled) -> None:
        await controlled.campaign("u@a.example", window=OPEN)
        await until(lambda: courier.held)
        assert not controlled.recalled
        controlled.queue.clock.advance(3600.0)
        await until(lambda: controlled.recalled)
        (parcel,) = courier.held
        assert controlled.recalled[-1](parcel)
        assert not controlled.recalled[-1](replace(parcel, delivery=DeliveryId(1)))
        courier.let(1)
        (line,) = controlled.queue.book
        await until(lambda: not line.sending and line.wait_until is not None)

    drive(tmp_path, test, courier=courier, clock=ManualClock(NOON))


def test_a_pace_acts_at_once_in_both_directions(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        courier, jobs = controlled.queue.courier, controlled.campaigns.jobs
        number = await controlled.campaign(
            *people("a.example", 100), *people("b.example", 100), pace_per_hour=1
        )
        await controlled.campaign(*people("c.example", 100), name="other")
        await until(lambda: courier.to(["c.example"]) == 100)
        await settled(controlled)
        assert courier.to(["a.example", "b.example"]) == 1
        waiting = [each for each in controlled.queue.book if each.waits_for_limit]
        assert {each.wait_reason for each in waiting} == {"pacing 1/h of this campaign"}
        await jobs.change(TENANT, number, Change(pace_per_hour=36_000))
        took = await until(lambda: courier.to(["a.example", "b.example"]) >= 2)
        assert took < AT_ONCE_S
        await jobs.change(TENANT, number, Change(pace_per_hour=None))
        await until(lambda: courier.to(["a.example", "b.example"]) == 200)

    drive(tmp_path, test, courier=opened())


def test_another_pool_carries_what_waits(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        courier, jobs = controlled.queue.courier, controlled.campaigns.jobs
        number = await controlled.campaign(*people("a.example", 60))
        courier.let(10)
        await until(lambda: courier.carried.total() == 10)
        await jobs.change(TENANT, number, Change(pool=OTHER_POOL))
        took = await until(
            lambda: {each.key.pool for each in controlled.queue.book} == {OTHER_POOL}
        )
        assert took < AT_ONCE_S
        courier.open()
        await until(lambda: courier.carried.total() == 60)
        sources = Counter(name for each in courier.sources.values() for name in each)
        assert sources["other"] >= 60 - 13

    drive(tmp_path, test, courier=Gate(), directory=two_pools())


def test_a_move_that_a_kill_cut_short_goes_on_after_it(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        courier, queue = controlled.queue.courier, controlled.queue
        number = await controlled.campaign(*people("a.example", 5))
        other = await controlled.campaign(*people("b.example", 5), name="other")
        # What a kill leaves: the campaign's row is written, its lines are not.
        moved = change_campaign(number, TENANT, Change(pool=OTHER_POOL))
        (rows,) = await queue.store.run(Unit((Step(moved),)))
        assert campaign_of(rows[0]).is_moving
        assert {each.key.pool for each in queue.book} == {POOL}
        # What a start does: it reads every campaign and looks at it.
        await load_campaigns(queue.store, controlled.campaigns.book)
        await until(lambda: pools(controlled) == {number: OTHER_POOL, other: POOL})
        await until(lambda: not controlled.campaigns.book.get(number).is_moving)
        courier.open()
        await until(lambda: courier.carried.total() == 10)

    drive(tmp_path, test, courier=Gate(), directory=two_pools())


def pools(controlled: Controlled) -> dict[int, int]:
    """Return where the mail of each campaign goes."""
    return {each.key.campaign: each.key.pool for each in controlled.queue.book}


def test_an_earlier_expiry_ends_what_waits_and_a_later_one_does_not(
    tmp_path: Path,
) -> None:
    async def test(controlled: Controlled) -> None:
        queue, jobs = controlled.queue, controlled.campaigns.jobs
        number = await controlled.campaign(*people("a.example", 60))
        stays = await controlled.campaign(*people("b.example", 20), name="stays")
        for each in (number, stays):
            await jobs.pause(TENANT, each, AUTHOR)
        later = queue.clock.now() + timedelta(days=1)
        await jobs.change(TENANT, stays, Change(expires_at=later))
        await jobs.change(TENANT, number, Change(expires_at=queue.clock.now()))
        queue.courier.open()
        lines = [each for each in queue.book if each.key.campaign == number]
        await until(lambda: not any(each.count for each in lines))
        finished = await queue.finished()
        assert {*finished.values()} <= {State.EXPIRED, State.DELIVERED}
        assert sum(state == State.EXPIRED for state in finished.values()) >= 60 - 3
        assert sum(each.count for each in queue.book) >= 20 - 3

    drive(tmp_path, test, courier=Gate())


def test_what_is_claimed_after_the_expiry_is_ended_and_not_sent(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        queue, jobs = controlled.queue, controlled.campaigns.jobs
        number = await controlled.sealed(*people("a.example", 10))
        await jobs.change(TENANT, number, Change(expires_at=queue.clock.now()))
        await jobs.start(TENANT, number, AUTHOR)
        await until(lambda: not any(each.count for each in queue.book))
        assert not queue.courier.carried
        assert set((await queue.finished()).values()) == {State.EXPIRED}

    drive(tmp_path, test, courier=opened())


def test_a_cancelled_campaign_ends_with_events_and_others_do_not(
    tmp_path: Path,
) -> None:
    async def test(controlled: Controlled) -> None:
        queue, courier = controlled.queue, controlled.queue.courier
        domains = [f"d{number}.example" for number in range(40)]
        mine = await controlled.campaign(
            *(each for domain in domains for each in people(domain, 5))
        )
        await controlled.campaign(*people("theirs.example", 20), name="theirs")
        courier.let(10)
        await until(lambda: courier.carried.total() == 10)
        before = courier.to(domains)
        await controlled.campaigns.jobs.cancel(TENANT, mine, AUTHOR)
        lines = [each for each in queue.book if each.key.campaign == mine]
        assert await until(lambda: all(each.is_held for each in lines)) < AT_ONCE_S
        courier.open()
        await until(lambda: not any(each.count for each in queue.book))
        on_the_wire = 20  # connections that the node may have
        assert courier.to(domains) <= before + on_the_wire
        assert courier.to(["theirs.example"]) == 20
        states = Counter((await queue.finished()).values())
        assert states[State.CANCELLED] == 200 - courier.to(domains)
        await until(lambda: not len(queue.operations.holds))

    drive(tmp_path, test, courier=Gate())


def test_a_cancellation_goes_on_after_a_crash(tmp_path: Path) -> None:
    """Also one of which nothing but the campaign's state was written."""

    async def first(controlled: Controlled) -> None:
        number = await controlled.sealed(*people("a.example", 120))
        controlled.campaigns.book.on_change = lambda campaign: None
        await controlled.campaigns.jobs.cancel(TENANT, number, AUTHOR)
        known = controlled.campaigns.book.get(number)
        assert known is not None
        assert known.state is JobState.CANCELLED

    async def second(controlled: Controlled) -> None:
        queue = controlled.queue
        await until(lambda: not any(each.count for each in queue.book))
        assert not queue.courier.carried
        assert Counter((await queue.finished()).values()) == {State.CANCELLED: 120}

    drive(tmp_path, first, courier=opened())
    drive(tmp_path, second, courier=opened())


def test_a_pause_outlives_the_node(tmp_path: Path) -> None:
    async def first(controlled: Controlled) -> None:
        number = await controlled.sealed(*people("a.example", 20))
        await controlled.campaigns.jobs.start(TENANT, number, AUTHOR)
        await controlled.campaigns.jobs.pause(TENANT, number, AUTHOR)
        controlled.queue.courier.open()

    async def second(controlled: Controlled) -> None:
        queue = controlled.queue
        await queue.intake.accept(make_submission("else@b.example"))
        await until(lambda: queue.courier.to(["b.example"]) == 1)
        assert queue.courier.to(["a.example"]) <= 3
        left = sum(each.count for each in queue.book)
        assert left >= 17
        (campaign,) = controlled.campaigns.book
        await controlled.campaigns.jobs.resume(TENANT, campaign.id, AUTHOR)
        await until(lambda: not any(each.count for each in queue.book))

    drive(tmp_path, first, courier=Gate())
    drive(tmp_path, second, courier=opened())


def test_a_hold_of_an_operator_is_not_ended_by_a_resume(tmp_path: Path) -> None:
    async def test(controlled: Controlled) -> None:
        queue, jobs = controlled.queue, controlled.campaigns.jobs
        number = await controlled.sealed(*people("a.example", 5))
        held = Selection(pool=POOL)
        await queue.operations.hold(held, reason="why", author="cli:op")
        await jobs.start(TENANT, number, AUTHOR)
        (line,) = queue.book
        control = controlled.control
        await control.apply(number)
        assert line.is_held
        assert not queue.courier.carried
        await queue.operations.release(held)
        await until(lambda: queue.courier.carried.total() == 5)

    drive(tmp_path, test, courier=opened())


def test_people_are_told_which_campaign_stops_a_line_and_until_when(
    tmp_path: Path,
) -> None:
    async def test(controlled: Controlled) -> None:
        queue, jobs = controlled.queue, controlled.campaigns.jobs
        number = await controlled.sealed("u@a.example", window=SHUT)
        (line,) = queue.book

        def told() -> Block | None:
            return block_of(
                line,
                holds=queue.operations.holds,
                scheduler=queue.scheduler,
                now=queue.clock.now(),
            )

        assert told() == Block("campaign", "campaign spring has not been started")
        await jobs.start(TENANT, number, AUTHOR)
        opens_at = NOON + timedelta(hours=1)
        reason = "its window opens at 2026-06-01T13:00:00Z"
        assert told() == Block("campaign", reason, opens_at)
        await jobs.pause(TENANT, number, AUTHOR)
        paused = (
            f"campaign spring is paused by {AUTHOR} since 2026-06-01T12:00:00+00:00"
        )
        assert told() == Block("campaign", paused)
        await queue.operations.hold(Selection(pool=POOL), reason="why", author="cli:op")
        assert told() == Block("hold", "held by cli:op: why")

    drive(tmp_path, test, courier=Gate(), clock=ManualClock(NOON))


def test_many_lines_are_acted_on_while_others_are_served(tmp_path: Path) -> None:
    many = 95_000

    async def test(controlled: Controlled) -> None:
        queue, jobs = controlled.queue, controlled.campaigns.jobs
        number = await controlled.sealed("u@a.example", pace_per_hour=1)
        await jobs.start(TENANT, number, AUTHOR)
        (first,) = queue.book
        await until(lambda: first.sending)  # it holds at the gate
        later = queue.clock.now() + timedelta(hours=1)
        for each in range(many):
            key = replace(first.key, domain=f"d{each}.example")
            line = queue.book.line_for(key, later)
            line.count = 1
            queue.scheduler.park(line)
        turns, longest, last = 0, 0.0, perf_counter()

        async def others() -> None:
            nonlocal turns, longest, last
            while True:
                await asyncio.sleep(0)
                now = perf_counter()
                turns, longest, last = turns + 1, max(longest, now - last), now

        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(others())
            await asyncio.sleep(0)
            begun = last = perf_counter()
            turns, longest = 0, 0.0
            await jobs.pause(TENANT, number, AUTHOR)
            lines = list(queue.book)
            while not (lines[-1].is_held and lines[len(lines) // 2].is_held):
                await asyncio.sleep(0)
            took = perf_counter() - begun
            serving.cancel()
        assert all(line.is_held for line in lines)
        # A slow machine takes longer for both: what must hold is their proportion.
        assert turns > many / LINES_AT_ONCE
        assert longest < took / 4
        for line in lines:
            if line is not first:
                line.count = 0
        queue.courier.open()

    drive(tmp_path, test, courier=Gate())
