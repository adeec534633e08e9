"""Every event once by id and in order, whatever the receiver does and whoever dies."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from fakes.hook_receiver import Answer, HookReceiver
from fakes.hooking import Hooking, InMemoryPoster, hooking
from mailwright.api.webhooks.batches import MAX_EVENTS, MAX_OCTETS
from mailwright.api.webhooks.book import Book, Entry
from mailwright.api.webhooks.delivery import Batch, Delivery
from mailwright.api.webhooks.endpoint import Endpoint, EndpointState
from mailwright.api.webhooks.schedule import Result
from mailwright.api.webhooks.schemas import WebhookReplayIn
from mailwright.events.types import EventType

Test = Callable[[Hooking, HookReceiver], Awaitable[None]]


def drive(folder: Path, test: Test, *answers: Answer, **members: Any) -> None:
    async def run() -> None:
        async with (
            asyncio.timeout(100),
            HookReceiver(list(answers)) as hook,
            hooking(folder, **members) as rig,
        ):
            await test(rig, hook)

    asyncio.run(run())


def complaints(hook: HookReceiver, wanted: list[str], secret: str) -> list[str]:
    """Return what is wrong with what a receiver got."""
    found = []
    events = hook.events()
    got = [event["id"] for event in events]
    if missing := set(wanted) - set(got):
        found.append(f"lost: {len(missing)}")
    if set(got) - set(wanted):
        found.append("foreign events")
    by_recipient: dict[str, list[int]] = defaultdict(list)
    for event in events:
        by_recipient[event["delivery"]].append(event["data"]["n"])
    found += [
        f"out of order for {whom}"
        for whom, numbers in by_recipient.items()
        if numbers != sorted(numbers)
    ]
    named: dict[str, list[str]] = {}
    for request in hook.requests:
        if not request.is_signed_with(secret):
            found.append(f"{request.ident} is not signed")
        ids = [event["id"] for event in request.events]
        if named.setdefault(request.ident, ids) != ids:
            found.append(f"{request.ident} names two batches")
    first_in = {ids[0]: name for name, ids in named.items()}
    if len(first_in) != len(named):
        found.append("an event is in batches of two names")
    return found


BAD = (
    Answer.FAIL,
    Answer.HANG,
    Answer.TAKE,
    Answer.CLOSE,
    Answer.GARBAGE,
    Answer.TAKE_AND_HANG,
    Answer.REDIRECT,
    Answer.BUSY,
    Answer.TAKE_AND_FLOOD,
    Answer.FAIL,
    Answer.FAIL,
)


def test_a_receiver_that_fails_in_every_way_gets_each_event_once_and_in_order(
    tmp_path: Path,
) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, secret = await rig.create(hook.url())
        await rig.happen(450)
        await rig.deliver(entry)
        assert complaints(hook, rig.ids(), secret) == []
        assert not hook.repeated()
        assert not hook.answers
        assert {each.path for each in hook.requests} == {"/hook"}
        endpoint = entry.endpoint
        assert (endpoint.state, endpoint.failures) == (EndpointState.ACTIVE, 0)
        assert (endpoint.last_status, endpoint.last_error) == (200, "")

    drive(tmp_path, test, *BAD, within_s=0.5)


class HastyDelivery(Delivery):
    """Takes a batch for arrived when it is offered: the control."""

    @override
    async def _offer(self, entry: Entry, course: int, batch: Batch) -> bool:
        return await self._book.change(
            entry, lambda endpoint: endpoint.moved_to(batch.end), course=course
        )


def test_a_driver_that_moves_on_before_it_is_told_loses_events(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, secret = await rig.create(hook.url())
        await rig.happen(450)
        await rig.deliver(entry)
        assert any("lost" in each for each in complaints(hook, rig.ids(), secret))

    drive(tmp_path, test, *BAD, within_s=0.5, make=HastyDelivery)


class NamingAnew(Delivery):
    """Reads what there is, not what was offered: the control of names."""

    @override
    async def _next(self, endpoint: Endpoint, after: str) -> Batch:
        return await super()._next(replace(endpoint, offered=""), endpoint.position)


async def die_before_the_commit(rig: Hooking, hook: HookReceiver) -> list[str]:
    """Kill the driver between a 2xx and its commit, while more happens; complain."""
    entry, secret = await rig.create(hook.url())
    ident = entry.endpoint.public
    for lives in range(4):
        await rig.happen(30)
        settle, rig.door.delivery._settle = rig.door.delivery._settle, _dies
        with pytest.raises(KilledError):
            await rig.door.delivery.step(entry)
        assert hook.requests[-1].answer is Answer.TAKE
        await rig.restart()
        assert settle != rig.door.delivery._settle
        entry = rig.door.entry(entry.endpoint.tenant, ident)
        assert len(hook.taken) == lives + 1
    await rig.deliver(entry)
    assert hook.repeated()
    return complaints(hook, rig.ids(), secret)


class KilledError(Exception):
    """The process is gone."""


async def _dies(*_: object) -> None:
    raise KilledError


def test_what_was_taken_but_not_noted_is_repeated_under_the_same_names(
    tmp_path: Path,
) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        assert await die_before_the_commit(rig, hook) == []

    drive(tmp_path, test)


def test_a_driver_that_cuts_batches_anew_gives_an_event_two_names(
    tmp_path: Path,
) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        found = await die_before_the_commit(rig, hook)
        assert "an event is in batches of two names" in found

    drive(tmp_path, test, make=NamingAnew)


def test_batches_are_bounded_in_events_and_octets(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, secret = await rig.create(hook.url())
        await rig.happen(MAX_EVENTS + 1)
        await rig.happen(60, padding=20_000)
        await rig.deliver(entry)
        assert complaints(hook, rig.ids(), secret) == []
        assert len(hook.requests[0].events) == MAX_EVENTS
        assert all(len(each.body) <= MAX_OCTETS for each in hook.requests)
        assert len(hook.requests) >= 6

    drive(tmp_path, test)


def test_an_endpoint_gets_its_tenants_events_of_its_types_alone(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        some, _ = await rig.create(hook.url("/some"), types=["bounced"])
        every, _ = await rig.create(hook.url("/all"))
        theirs, _ = await rig.create(hook.url("/theirs"), tenant=2)
        for n in range(40):
            kind = EventType.BOUNCED if n % 9 == 0 else EventType.DELIVERED
            await rig.happen(1, tenant=n % 2 + 1, kind=kind)
        for entry in (some, every, theirs):
            await rig.deliver(entry)

        def got(path: str) -> list[str]:
            return [each["id"] for each in hook.events(path)]

        assert got("/some") == rig.ids(1, EventType.BOUNCED)
        assert got("/all") == rig.ids(1)
        assert got("/theirs") == rig.ids(2)
        assert got("/some")

    drive(tmp_path, test)


def test_one_that_is_gone_is_disabled_and_goes_on_when_it_is_resumed(
    tmp_path: Path,
) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, secret = await rig.create(hook.url())
        await rig.happen(5)
        await rig.deliver(entry)
        assert entry.endpoint.state is EndpointState.DISABLED
        await rig.restart()
        entry = rig.door.entry(entry.endpoint.tenant, entry.endpoint.public)
        assert entry.endpoint.state is EndpointState.DISABLED
        await rig.door.resume(entry)
        await rig.deliver(entry)
        assert complaints(hook, rig.ids(), secret) == []
        assert len({each.ident for each in hook.requests}) == 1

    drive(tmp_path, test, Answer.GONE)


def test_one_that_fails_for_days_is_paused_and_loses_nothing(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        hook.usual = Answer.FAIL
        begun = rig.clock.now()
        entry, _ = await rig.create(hook.url())
        await rig.happen(5)
        await rig.deliver(entry)
        assert entry.endpoint.state is EndpointState.PAUSED
        assert rig.clock.now() - begun > timedelta(days=3)
        hook.usual = Answer.TAKE
        await rig.door.resume(entry)
        await rig.deliver(entry)
        assert [each["id"] for each in hook.events()] == rig.ids()

    drive(tmp_path, test)


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, _ = await rig.create(hook.url())
        await rig.happen(1)
        await rig.door.delivery.step(entry)
        endpoint = entry.endpoint
        assert endpoint.next_attempt_at == rig.clock.now() + timedelta(seconds=1800)
        assert (endpoint.last_status, endpoint.state) == (429, EndpointState.FAILING)

    drive(tmp_path, test, Answer.BUSY)


def test_replay_sends_the_same_events_again_under_their_ids(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, _ = await rig.create(hook.url())
        await rig.happen(10)
        rig.clock.advance(60)
        since = rig.clock.now()
        await rig.happen(10)
        await rig.deliver(entry)
        before = len(hook.requests)
        await rig.door.replay(entry, WebhookReplayIn(since=since))
        await rig.deliver(entry)
        again = [e["id"] for each in hook.requests[before:] for e in each.events]
        assert again == rig.ids()[10:]
        await rig.door.replay(entry, WebhookReplayIn(after=""))
        await rig.deliver(entry)
        assert set(hook.repeated()) == set(rig.ids())

    drive(tmp_path, test)


def test_a_batch_that_ends_after_its_endpoint_was_moved_does_not_move_it_back(
    tmp_path: Path,
) -> None:
    class Moving(InMemoryPoster):
        rig: Hooking
        entry: Entry

        @override
        async def post(
            self, endpoint: Endpoint, ident: str, body: bytes, at: datetime
        ) -> Result:
            result = await super().post(endpoint, ident, body, at)
            if len(self.sent) == 2:  # of ten
                await self.rig.door.replay(self.entry, WebhookReplayIn(after=""))
            return result

    async def test(rig: Hooking, _: HookReceiver) -> None:
        poster.rig = rig
        poster.entry, _secret = await rig.create("http://127.0.0.1:9/")
        await rig.happen(1000)
        await rig.deliver(poster.entry)
        sent = [each for _, _, ids, _ in poster.sent for each in ids]
        assert sent == [*rig.ids()[:200], *rig.ids()]

    poster = Moving()
    drive(tmp_path, test, poster=poster)


def test_what_is_paused_between_reading_and_sending_is_not_sent(tmp_path: Path) -> None:
    class Pausing(Delivery):
        @override
        async def _offer(self, entry: Entry, course: int, batch: Batch) -> bool:
            offered = await super()._offer(entry, course, batch)
            await self._book.change(entry, lambda each: each.paused("by its tenant"))
            return offered

    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, _ = await rig.create(hook.url())
        await rig.happen(3)
        await rig.deliver(entry)
        assert hook.requests == []
        assert entry.endpoint.state is EndpointState.PAUSED

    drive(tmp_path, test, make=Pausing)


def octets_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def test_secrets_are_in_no_row_and_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, secret = await rig.create(hook.url())
        renewed = await rig.door.replace_secret(entry, 24)
        await rig.happen(3)
        await rig.deliver(entry)
        hook.requests[-1].verify(secret)
        hook.requests[-1].verify(renewed)
        assert len(hook.requests[-1].headers["webhook-signature"].split()) == 2
        rig.clock.advance(25 * 3600)
        await rig.happen(3)
        await rig.deliver(entry)
        last = hook.requests[-1].headers["webhook-signature"].split()
        assert len(last) == 1
        shown = json.dumps(repr(await rig.door.show(entry)))
        for each in (secret, renewed):
            raw = each.removeprefix("whsec_")
            assert raw not in shown + repr(entry) + caplog.text
            stored = await asyncio.to_thread(octets_in, tmp_path)
            assert hook.url().encode() in stored
            assert raw.encode() not in stored

    drive(tmp_path, test)


def test_a_secret_opens_for_its_own_endpoint_alone(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        mine, _ = await rig.create(hook.url("/mine"))
        theirs, _ = await rig.create(hook.url("/theirs"), tenant=2)
        stolen = mine.endpoint.secret
        await rig.door.book.change(theirs, lambda each: replace(each, secret=stolen))
        await rig.happen(1, tenant=2)
        await rig.door.delivery.step(theirs)
        assert hook.requests == []
        assert "does not open" in theirs.endpoint.last_error

    drive(tmp_path, test)


def test_a_rare_type_is_looked_for_once(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, _ = await rig.create(hook.url(), types=["bounced"])
        await rig.happen(50)
        assert not await rig.door.delivery.step(entry)
        seen = entry.reads_after
        assert seen != entry.endpoint.position
        assert seen == await rig.door.log.end()
        # It is made durable now and then, so that a restart does not begin anew.
        rig.clock.advance(61)
        await rig.service._keep_positions()
        assert entry.endpoint.position == seen
        await rig.happen(1, kind=EventType.BOUNCED)
        await rig.deliver(entry)
        assert len(hook.events()) == 1

    drive(tmp_path, test)


def test_a_book_that_is_read_again_is_as_it_was(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, _ = await rig.create(hook.url())
        await rig.happen(5)
        await rig.door.delivery.step(entry)
        book = Book(rig.store, rig.clock.now)
        await book.load()
        [again] = book
        assert again.endpoint == entry.endpoint
        await rig.door.book.remove(entry)
        book = Book(rig.store, rig.clock.now)
        await book.load()
        assert list(book) == []

    drive(tmp_path, test, Answer.FAIL)
