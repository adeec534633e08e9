"""What the node knows of a session in a process, and what it makes of its end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fakes.session_rig import CONTENT, Keys, call_to, campaign_parcel, parcel
from mailwright.accounts.signing_keys import DkimSecret
from mailwright.attempt import LARGE_OCTETS, Attempt, End, Parcel
from mailwright.mta.sessions import given, remote
from mailwright.mta.sessions.frames import Frames
from mailwright.mta.sessions.remote import RemoteSession, SessionProcess
from mailwright.mta.sessions.wire import (
    Abort,
    Command,
    Ending,
    Ends,
    Event,
    NotOpened,
    Offer,
    Open,
    Opened,
    Quit,
    Recall,
    pack_events,
    parse_command,
)
from mailwright.reply import Origin, Phase, Reply

PATIENCE_S = 60
NUMBER = 3
OK = Reply(250, "2.0.0", "Queued", Phase.DOT)
BUSY = Reply(421, "4.3.2", "Busy", Phase.MAIL)


def parcels(*numbers: int) -> list[Parcel]:
    return [parcel(number) for number in numbers]


class StubProcess:
    """Notes what a session has it send."""

    def __init__(self) -> None:
        self.offered: list[int] = []
        self.said: list[Command] = []
        self.on_say: Callable[[], None] = lambda: None

    def offer(self, session: int, given: Sequence[Parcel]) -> None:
        assert session == NUMBER
        self.offered += [each.delivery for each in given]

    def say(self, command: Command) -> None:
        self.said.append(command)
        self.on_say()


class Scene:
    """A session that was just opened."""

    def __init__(self, remaining: int = 10) -> None:
        self.process = StubProcess()
        self.attempts: list[Attempt] = []
        self.session = RemoteSession(
            cast("SessionProcess", self.process),
            "mx.example.net [192.0.2.1]:25",
            Opened(NUMBER, "TLSv1.3", has_dsn=True, remaining=remaining),
            self.attempts.append,
        )

    def tell(
        self, *numbers: int, remaining: int, seen: int, end: End = End.REPLIED
    ) -> None:
        told = [Ending(number, end, OK, ("signed",)) for number in numbers]
        self.session.ended(Ends(NUMBER, remaining, seen, told))

    def ends(self) -> list[tuple[int, End]]:
        return [(each.parcel.delivery, each.end) for each in self.attempts]


def drive(test: Callable[[], Awaitable[object]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test()

    asyncio.run(bounded())


def test_an_end_comes_back_with_the_parcel_that_was_offered() -> None:
    scene, given = Scene(), parcel(1)
    scene.session.offer([given])
    assert (scene.process.offered, scene.session.in_hand) == ([1], 1)
    scene.tell(1, remaining=9, seen=1)
    hop = "mx.example.net [192.0.2.1]:25"
    assert scene.attempts == [
        Attempt(given, End.REPLIED, OK, hop, "TLSv1.3", ("signed",), has_dsn=True)
    ]
    assert scene.attempts[0].parcel is given
    assert scene.session.in_hand == 0


def test_what_is_under_way_to_the_process_counts_as_offered() -> None:
    scene = Scene(remaining=10)
    session = scene.session
    session.offer(parcels(1, 2))
    assert session.remaining == 8
    session.offer(parcels(3, 4, 5))
    assert session.remaining == 5
    # Told when only the first two had been seen.
    scene.tell(1, remaining=8, seen=2)
    assert session.remaining == 5
    # A receiver that wants fewer than we thought.
    scene.tell(2, remaining=4, seen=2)
    assert session.remaining == 1
    scene.tell(3, remaining=0, seen=5)
    assert session.remaining == 0


def test_no_more_than_nothing_remains() -> None:
    scene = Scene(remaining=2)
    scene.session.offer(parcels(1, 2, 3))
    assert scene.session.remaining == 0
    scene.tell(1, remaining=1, seen=1)
    assert scene.session.remaining == 0


def test_an_end_is_told_once_whatever_the_process_says() -> None:
    scene = Scene()
    scene.session.offer(parcels(1))
    scene.tell(1, 1, 77, remaining=9, seen=1)
    scene.tell(1, remaining=9, seen=1)
    scene.session.closed(1, None)
    assert scene.ends() == [(1, End.REPLIED)]


def test_closing_gives_back_what_was_not_seen_and_orphans_the_rest() -> None:
    scene = Scene()
    session = scene.session
    session.offer(parcels(1, 2))
    session.offer(parcels(3, 4, 5))
    scene.tell(1, remaining=8, seen=2)
    session.closed(3, BUSY)
    assert scene.ends() == [
        (1, End.REPLIED),
        (4, End.NOT_OFFERED),
        (5, End.NOT_OFFERED),
        (2, End.ORPHANED),
        (3, End.ORPHANED),
    ]
    by_number = {each.parcel.delivery: each for each in scene.attempts}
    assert by_number[4].reply == BUSY
    assert (by_number[2].reply.code, by_number[2].reply.origin) == (421, Origin.LOCAL)
    assert (session.reply, session.in_hand, session.remaining) == (BUSY, 0, 0)


def test_closing_orphans_nothing_that_it_gives_back() -> None:
    scene = Scene()
    scene.session.offer(parcels(1, 2))
    scene.session.closed(0, None)
    assert scene.ends() == [(1, End.NOT_OFFERED), (2, End.NOT_OFFERED)]
    for attempt in scene.attempts:
        assert (attempt.reply.code, attempt.reply.origin) == (421, Origin.LOCAL)


def test_what_comes_back_to_a_session_a_second_time_is_the_last_that_was_offered() -> (
    None
):
    scene = Scene()
    scene.session.offer(parcels(1, 2))
    scene.tell(1, remaining=8, seen=2, end=End.UNSIGNABLE)
    scene.session.offer(parcels(1))
    scene.session.closed(2, None)
    assert scene.ends() == [
        (1, End.UNSIGNABLE),
        (1, End.NOT_OFFERED),
        (2, End.ORPHANED),
    ]


def test_what_is_offered_to_a_session_that_is_over_comes_straight_back() -> None:
    scene = Scene()
    scene.session.offer(parcels(1))
    scene.session.closed(1, BUSY)
    scene.session.offer(parcels(2, 3))
    assert scene.process.offered == [1]
    assert scene.ends() == [
        (1, End.ORPHANED),
        (2, End.NOT_OFFERED),
        (3, End.NOT_OFFERED),
    ]
    assert scene.session.in_hand == 0


def test_when_the_process_dies_everything_in_hand_is_orphaned() -> None:
    scene = Scene()
    scene.session.offer(parcels(1, 2))
    scene.tell(1, remaining=9, seen=1)
    scene.session.died()
    assert scene.ends() == [(1, End.REPLIED), (2, End.ORPHANED)]
    reply = scene.session.reply
    assert reply is not None
    assert (reply.code, reply.origin) == (421, Origin.LOCAL)
    assert scene.session.remaining == 0


@pytest.mark.parametrize("is_recall", [True, False])
def test_a_session_that_was_told_to_end_takes_nothing_more(*, is_recall: bool) -> None:
    scene = Scene()
    scene.session.offer(parcels(1, 2))
    if is_recall:
        scene.session.recall("stopped")
        assert scene.process.said == [Recall(NUMBER, "stopped")]
    else:
        scene.session.quit()
        assert scene.process.said == [Quit(NUMBER)]
    assert scene.session.remaining == 0
    scene.tell(1, remaining=8, seen=2)  # told before it was heard
    assert scene.session.remaining == 0
    assert scene.session.in_hand == 1
    scene.session.closed(2, None)
    assert scene.session.reply is None


def test_nothing_is_said_to_a_session_that_is_over() -> None:
    async def test() -> None:
        scene = Scene()
        scene.session.closed(0, None)
        scene.session.quit()
        scene.session.recall("stopped")
        await scene.session.give_up("gone")
        await scene.session.wait_until(lambda: False)
        assert scene.process.said == []

    drive(test)


def test_waiting_ends_when_the_condition_holds_and_not_before() -> None:
    async def test() -> None:
        scene = Scene()
        session = scene.session
        session.offer(parcels(1, 2))
        waiting = asyncio.ensure_future(session.wait_until(lambda: not session.in_hand))
        await asyncio.sleep(0)
        scene.tell(1, remaining=8, seen=2)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        scene.tell(2, remaining=8, seen=2)
        await waiting

    drive(test)


@pytest.mark.parametrize("has_died", [True, False])
def test_waiting_ends_with_the_session(*, has_died: bool) -> None:
    async def test() -> None:
        session = Scene().session
        waiting = asyncio.ensure_future(session.wait_until(lambda: False))
        await asyncio.sleep(0)
        if has_died:
            session.died()
        else:
            session.closed(0, None)
        await waiting

    drive(test)


def test_who_stops_waiting_leaves_nothing_behind() -> None:
    async def test() -> None:
        scene = Scene()
        waiting = asyncio.ensure_future(scene.session.wait_until(lambda: False))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        scene.session.offer(parcels(1))
        scene.tell(1, remaining=9, seen=1)
        scene.session.closed(1, None)
        assert scene.ends() == [(1, End.REPLIED)]

    drive(test)


def test_giving_up_waits_for_what_the_process_says() -> None:
    async def test() -> None:
        scene = Scene()
        scene.session.offer(parcels(1, 2))

        def answer() -> None:
            scene.tell(1, remaining=0, seen=2, end=End.AMBIGUOUS)
            scene.tell(2, remaining=0, seen=2, end=End.NOT_OFFERED)
            scene.session.closed(2, None)

        def answer_soon() -> None:
            asyncio.get_running_loop().call_soon(answer)

        scene.process.on_say = answer_soon
        await scene.session.give_up("gone")
        assert scene.process.said == [Abort(NUMBER, "gone")]
        assert scene.ends() == [(1, End.AMBIGUOUS), (2, End.NOT_OFFERED)]

    drive(test)


def test_giving_up_a_process_that_does_not_answer_orphans_what_is_in_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "GIVE_UP_S", 0.01)

    async def test() -> None:
        scene = Scene()
        scene.session.offer(parcels(1, 2))
        await scene.session.give_up("gone")
        assert scene.ends() == [(1, End.ORPHANED), (2, End.ORPHANED)]
        # An answer that comes after all changes nothing.
        scene.tell(1, remaining=0, seen=2)
        scene.session.closed(2, None)
        assert len(scene.attempts) == 2

    drive(test)


class Wire(asyncio.Transport):
    """Keeps what is written: one list of commands for each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[Command]] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.writes.append([parse_command(each) for each in Frames().feed(data)])

    def is_closing(self) -> bool:
        return False


class Rig:
    """A process without a process: what goes to it, and what it tells."""

    def __init__(self, *secrets: DkimSecret) -> None:
        self.keys = Keys(*secrets)
        self.wire = Wire()
        self.process = SessionProcess(self.keys)
        self.process.connection_made(self.wire)

    def tell(self, *events: Event) -> None:
        self.process.data_received(pack_events(events))

    async def sent(self) -> list[Command]:
        """Return what went out since, which was one write."""
        await asyncio.sleep(0)
        [write] = self.wire.writes
        self.wire.writes = []
        return write

    async def opened(self) -> RemoteSession:
        opening = asyncio.ensure_future(self.process.open(call_to(25), [].append))
        await asyncio.sleep(0)
        [command] = await self.sent()
        assert isinstance(command, Open)
        self.tell(opened(command.session))
        session = await opening
        assert isinstance(session, RemoteSession)
        return session


def opened(session: int) -> Opened:
    return Opened(session, "", has_dsn=False, remaining=10)


def secret(selector: str = "s1") -> DkimSecret:
    key = Ed25519PrivateKey.generate()
    return DkimSecret("ed25519-sha256", "example.com", selector, key)


def test_what_is_said_in_one_turn_goes_out_in_one_write() -> None:
    async def test() -> None:
        rig = Rig(secret())
        one, two = await rig.opened(), await rig.opened()
        one.offer(parcels(1, 2))
        two.offer(parcels(3))
        one.quit()
        kinds = [type(command) for command in await rig.sent()]
        assert kinds == [Offer, Offer, Quit]

    drive(test)


def test_keys_and_contents_go_to_a_process_once() -> None:
    async def test() -> None:
        rig = Rig(secret(), secret("s2"))
        one, two = await rig.opened(), await rig.opened()
        one.offer([parcel(1), campaign_parcel(2), campaign_parcel(3)])
        two.offer([campaign_parcel(4)])
        first, second = await rig.sent()
        assert isinstance(first, Offer)
        assert isinstance(second, Offer)
        assert [key.selector for key in first.keys] == ["s1", "s2"]
        assert not second.keys
        bodies = [order.body for order in [*first.orders, *second.orders]]
        assert bodies == [b"text\r\n", CONTENT, b"", b""]
        numbers = tuple(key.number for key in first.keys)
        assert {each.keys for each in [*first.orders, *second.orders]} == {numbers}
        assert not first.forget
        assert not second.forget

    drive(test)


@pytest.mark.parametrize("bound", ["KEYS_MAX", "CONTENT_OCTETS_MAX"])
def test_a_process_that_was_given_too_much_starts_anew(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    async def test() -> None:
        rig = Rig(secret())
        session = await rig.opened()
        session.offer([campaign_parcel(1)])
        await rig.sent()
        monkeypatch.setattr(given, bound, 0)
        session.offer([campaign_parcel(2)])
        [offer] = await rig.sent()
        assert isinstance(offer, Offer)
        assert (offer.forget, len(offer.keys)) == (True, 1)
        assert [order.body for order in offer.orders] == [CONTENT]

    drive(test)


async def asked(rig: Rig) -> tuple[asyncio.Future[object], int]:
    """Ask for a session; return what waits for it, and its number."""
    opening = asyncio.ensure_future(rig.process.open(call_to(25), [].append))
    await asyncio.sleep(0)
    [command] = await rig.sent()
    return opening, command.session


async def check_given_up(rig: Rig, opening: asyncio.Future[object]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [type(each) for each in await rig.sent()] == [Abort]


def test_an_opening_that_is_cancelled_when_it_was_answered_is_closed() -> None:
    async def test() -> None:
        rig = Rig(secret())
        opening, number = await asked(rig)
        rig.tell(opened(number))
        opening.cancel()  # before it runs
        await check_given_up(rig, opening)
        assert rig.process.load == 0

    drive(test)


def test_an_opening_that_is_cancelled_before_it_is_answered_stays_closed() -> None:
    async def test() -> None:
        rig = Rig(secret())
        opening, number = await asked(rig)
        opening.cancel()
        await check_given_up(rig, opening)
        rig.tell(opened(number))  # it was under way
        assert rig.process.load == 0

    drive(test)


@pytest.mark.parametrize("is_opened", [True, False])
def test_an_answer_may_come_in_the_turn_in_which_its_opening_is_cancelled(
    *, is_opened: bool
) -> None:
    async def test() -> None:
        rig = Rig(secret())
        opening, number = await asked(rig)
        opening.cancel()
        no = NotOpened(number, BUSY, is_tls=False)
        rig.tell(opened(number) if is_opened else no)  # and it has not run yet
        await check_given_up(rig, opening)
        assert rig.process.load == 0

    drive(test)


def test_a_large_message_is_not_copied_on_its_way_and_not_kept() -> None:
    async def test() -> None:
        rig = Rig(secret())
        session = await rig.opened()
        body = b"text\r\n" * (LARGE_OCTETS // 5)
        writes: list[bytes] = []
        rig.wire.write = writes.append  # type: ignore[method-assign,assignment]
        session.offer([parcel(1), parcel(2, body), parcel(3)])
        session.quit()
        await asyncio.sleep(0)
        assert any(each is body for each in writes)
        offer, leave = map(parse_command, Frames().feed(b"".join(writes)))
        assert isinstance(offer, Offer)
        assert [order.body for order in offer.orders] == [
            b"text\r\n",
            body,
            b"text\r\n",
        ]
        assert isinstance(leave, Quit)
        assert not any(body is each.body for each in session._parcels.values())

    drive(test)
