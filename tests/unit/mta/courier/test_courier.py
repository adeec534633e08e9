"""The courier against receivers on loopback, on both event loops."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
import trustme
import uvloop
from typing_extensions import override

from fakes.scripted_receiver import (
    HANG_UP,
    RESET,
    SILENCE,
    Behaviour,
    ScriptedReceiver,
)
from mailwright.accounts.directory import Source
from mailwright.accounts.signing_keys import SigningKeys
from mailwright.attempt import Attempt, End, Parcel
from mailwright.clock import SystemClock
from mailwright.ids import DeliveryId, MessageId, SendingDomainId, SourceId
from mailwright.mta.connection import Connection
from mailwright.mta.courier import Courier
from mailwright.mta.dialing import Dialer, DialSettings
from mailwright.mta.sessions import local
from mailwright.mta.sessions.host import Host, OrderKeys
from mailwright.mta.sessions.local import LocalSessions
from mailwright.mta.sessions.pool import SessionProcesses
from mailwright.mta.sessions.ready import Workers
from mailwright.mta.sessions.remote import RemoteSession, SessionProcess
from mailwright.mta.sessions.session import Call, OnAttempt, Sessions, TlsFailed
from mailwright.mta.sessions.threads import ThreadWorkers
from mailwright.mta.sessions.wire import Command, Recall
from mailwright.mta.smtp.client import Timeouts
from mailwright.mta.tls import RecentTlsFailures, TlsContexts, load_contexts
from mailwright.reply import Origin, Phase, Reply, local_reply
from mailwright.resolver import AddressAnswer, Answer, MxAnswer, Outcome, TxtAnswer
from mailwright.site import Hop, Pipelining, Profile, Site, TlsDemand

BODY = b"Dear reader,\r\n.\r\n..dots\r\n\r\nEnd without CRLF"
ACCEPTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
LOOPBACK = (ip_network("127.0.0.0/8"),)
SOURCE = Source(SourceId(1), "one", "", "out.example.org")
#: A test that waits longer than this has failed.
PATIENCE_S = 120


def parcel(number: int, body: bytes = BODY) -> Parcel:
    return Parcel(
        DeliveryId(number),
        1,
        MessageId(number),
        b"Subject: %d\r\n\r\n" % number,
        body,
        f"user{number}@example.com",
        "bounce@example.net",
        ACCEPTED_AT,
        SendingDomainId(1),
        "s1",
    )


@dataclass
class ListFeed:
    """Gives parcels from a list; remembers what was settled."""

    parcels: list[Parcel]
    settled: list[Attempt] = field(default_factory=list)
    taken: int = 0
    on_settle: Callable[[], None] = lambda: None

    async def take(self, want: int) -> Sequence[Parcel]:
        assert want > 0
        given, self.parcels = self.parcels[:want], self.parcels[want:]
        self.taken += len(given)
        return given

    def settle(self, attempt: Attempt) -> None:
        self.settled.append(attempt)
        self.on_settle()

    def ends(self) -> list[tuple[int, End]]:
        return sorted(
            ((one.parcel.delivery, one.end) for one in self.settled),
            key=lambda pair: pair[0],
        )


@dataclass(frozen=True)
class Content:
    header: bytes
    body: bytes = b""
    has_8bit: bool = False
    edits: tuple[str, ...] = ("signed",)


class Plain:
    """Prepares by putting header and body together."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> Sequence[Content | Reply]:
        self.asked.append(has_8bitmime)
        return [Content(one.header, one.body) for one in parcels]


class Names:
    """A resolver that knows some hosts."""

    def __init__(self, **hosts: Sequence[str]) -> None:
        self.hosts = hosts
        self.asked: list[str] = []

    async def mx(self, domain: str) -> MxAnswer:
        raise NotImplementedError

    async def txt(self, name: str) -> TxtAnswer:
        raise NotImplementedError

    async def addresses(self, host: str, *, want_v6: bool = False) -> AddressAnswer:
        self.asked.append(host)
        found = self.hosts.get(host)
        if found is None:
            return Answer(Outcome.NO_DOMAIN, reason="no such name")
        return Answer(Outcome.FOUND, tuple(found), 60.0)


@dataclass
class Post:
    """A courier with everything that it needs."""

    preparer: Plain = field(default_factory=Plain)
    names: Names = field(default_factory=Names)
    memory: RecentTlsFailures = field(default_factory=RecentTlsFailures)
    contexts: TlsContexts = field(default_factory=load_contexts)
    settings: DialSettings = field(
        default_factory=lambda: DialSettings(connect_s=5, tls_s=5, tick_s=0.02)
    )
    allowed: tuple[object, ...] = LOOPBACK
    is_stopped: bool = False

    def courier(self) -> Courier:
        clock = SystemClock()
        workers = ThreadWorkers(self.preparer, 2)
        dialer = Dialer(
            self.names,
            WHERE.get().sessions(workers, self.contexts),
            self.memory,
            clock,
            allowed_networks=lambda: self.allowed,  # type: ignore[arg-type,return-value]
            password={7: "secret"}.get,
            settings=self.settings,
        )
        return Courier(dialer, clock, lambda: self.is_stopped)


def site(
    *hops: Hop,
    pipelining: Pipelining = Pipelining.COMMANDS,
    messages: int = 100,
    tls: TlsDemand = TlsDemand.OPPORTUNISTIC,
    login: tuple[str, int] | None = None,
    preferences: tuple[int, ...] | None = None,
) -> Site:
    profile = Profile("default", 10, messages, pipelining, tls, (60.0,))
    return Site(
        "site", hops, preferences or tuple(range(len(hops))), profile, login=login
    )


def hop(receiver: ScriptedReceiver, host: str = "127.0.0.1") -> Hop:
    return Hop(host, receiver.port)


class Here:
    """Sessions are led in the node."""

    def sessions(self, workers: Workers, contexts: TlsContexts) -> Sessions:
        return LocalSessions(workers, contexts, SystemClock())

    def has_heard(self, _kind: type[Command]) -> bool:
        return True  # there is nobody between


class AnyKeys:
    """A key ring for preparers that sign nothing."""

    def keys_for(self, *_: object) -> SigningKeys:
        return SigningKeys(())


class NotedHost(Host):
    """Notes what it was told to do."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.heard: list[Command] = []

    @override
    def _obey(self, command: Command) -> None:
        super()._obey(command)
        self.heard.append(command)


class OverASocket(Here):
    """Sessions are led at the other end of a socket, as in a process of their own."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self.hosts: list[NotedHost] = []
        self.processes: list[SessionProcess] = []

    @override
    def sessions(self, workers: Workers, contexts: TlsContexts) -> Sessions:
        led = LocalSessions(workers, contexts, SystemClock())

        async def connect() -> SessionProcess:
            loop, (ours, its) = asyncio.get_running_loop(), socket.socketpair()
            process = SessionProcess(AnyKeys())
            host = NotedHost(led, OrderKeys(), self._tasks)
            await loop.create_unix_connection(lambda: host, sock=its)
            await loop.create_unix_connection(lambda: process, sock=ours)
            self.hosts.append(host)
            self.processes.append(process)
            return process

        class Connected(SessionProcesses):
            @override
            async def open(
                self, call: Call, on_attempt: OnAttempt
            ) -> RemoteSession | Reply | TlsFailed:
                if not self._processes:
                    self._processes.append(await connect())
                return await super().open(call, on_attempt)

        return Connected(AnyKeys(), 0)

    @override
    def has_heard(self, kind: type[Command]) -> bool:
        return any(isinstance(each, kind) for host in self.hosts for each in host.heard)


WHERE: ContextVar[Here] = ContextVar("where")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@pytest.fixture(
    params=[
        (asyncio.new_event_loop, "here"),
        (uvloop.new_event_loop, "here"),
        (uvloop.new_event_loop, "over a socket"),
    ],
    ids=["asyncio", "uvloop", "uvloop, over a socket"],
)
def drive(
    request: pytest.FixtureRequest,
) -> Callable[[Callable[[], Awaitable[object]]], None]:
    make_loop, where = request.param

    def run(test: Callable[[], Awaitable[object]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
                place = OverASocket(tasks) if where == "over a socket" else Here()
                WHERE.set(place)
                await test()
                if isinstance(place, OverASocket):
                    for process in place.processes:
                        process.close()
                    hosts = place.hosts
                    await until(lambda: not any(host.is_leading for host in hosts))

        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(bounded())

    return run


Drive = Callable[[Callable[[], Awaitable[object]]], None]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> TlsContexts:
    contexts = load_contexts()
    authority.configure_trust(contexts.verified)
    return contexts


@pytest.mark.parametrize("pipelining", list(Pipelining))
def test_octets_arrive_as_they_were_prepared(
    drive: Drive, pipelining: Pipelining
) -> None:
    async def test() -> None:
        post, feed = Post(), ListFeed([parcel(number) for number in range(40)])
        async with ScriptedReceiver() as receiver:
            one = site(hop(receiver), pipelining=pipelining)
            assert await post.courier().carry(one, SOURCE, feed) is None
            assert feed.ends() == [(number, End.REPLIED) for number in range(40)]
            first = feed.settled[0]
            assert str(first.reply) == "250 2.0.0 Queued"
            assert first.hop == f"127.0.0.1 [127.0.0.1]:{receiver.port}"
            assert (first.tls, first.edits) == ("", ("signed",))
            assert receiver.contents == [
                b"Subject: %d\r\n\r\n" % number + BODY + b"\r\n" for number in range(40)
            ]
            assert receiver.commands[0] == b"EHLO out.example.org"
            assert receiver.commands[-1] == b"QUIT"
            assert len(receiver.peers) == 1
            assert set(post.preparer.asked) == {True}

    drive(test)


def test_a_connection_carries_as_many_as_the_profile_says(drive: Drive) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(number) for number in range(9)])
        async with ScriptedReceiver() as receiver:
            one = site(hop(receiver), messages=4, pipelining=Pipelining.TRANSACTIONS)
            assert await Post().courier().carry(one, SOURCE, feed) is None
            assert len(receiver.contents) == feed.taken == len(feed.settled) == 4
            assert receiver.commands[-1] == b"QUIT"

    drive(test)


def test_nothing_is_taken_without_a_connection(drive: Drive) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(1)])
        async with ScriptedReceiver() as gone:
            pass
        courier = Post().courier()
        reply = await courier.carry(site(hop(gone)), SOURCE, feed)
        assert reply is not None
        assert (reply.code, reply.phase) == (421, Phase.CONNECT)
        assert reply.text.endswith("connection refused")
        refused = Behaviour(replies={"banner": b"554 5.7.1 Listed\r\n"})
        async with ScriptedReceiver(refused) as receiver:
            reply = await courier.carry(site(hop(receiver)), SOURCE, feed)
        assert reply == Reply(554, "5.7.1", "Listed", Phase.BANNER)
        assert feed.taken == 0

    drive(test)


@pytest.mark.parametrize(
    ("step", "phase"),
    [("banner", Phase.BANNER), ("EHLO", Phase.EHLO)],
)
@pytest.mark.parametrize("fate", [HANG_UP, RESET, SILENCE])
def test_a_greeting_that_fails_says_where(
    drive: Drive, step: str, phase: Phase, fate: bytes
) -> None:
    async def test() -> None:
        # Short only for what does not come: what does may take its time.
        short = {"banner": "banner_s", "EHLO": "hello_s"}[step]
        settings = DialSettings(
            tick_s=0.02, smtp=replace(Timeouts(quit_s=0.1), **{short: 0.2})
        )
        feed = ListFeed([parcel(1)])
        async with ScriptedReceiver(Behaviour(replies={step: fate})) as receiver:
            courier = Post(settings=settings).courier()
            reply = await courier.carry(site(hop(receiver)), SOURCE, feed)
        assert reply is not None
        assert (reply.code, reply.phase, reply.origin) == (421, phase, Origin.LOCAL)
        assert feed.taken == 0

    drive(test)


@pytest.mark.parametrize("fate", [HANG_UP, RESET, SILENCE])
def test_a_connection_lost_after_the_dot_is_ambiguous(
    drive: Drive, fate: bytes
) -> None:
    async def test() -> None:
        settings = DialSettings(tick_s=0.02, smtp=Timeouts(dot_s=0.3))
        feed = ListFeed([parcel(1), parcel(2), parcel(3)])
        async with ScriptedReceiver(Behaviour(replies={".": fate})) as receiver:
            one = site(hop(receiver), pipelining=Pipelining.TRANSACTIONS)
            courier = Post(settings=settings).courier()
            reply = await courier.carry(one, SOURCE, feed)
            assert len(receiver.contents) == 1
        assert reply is not None
        assert (reply.code, reply.phase) == (421, Phase.DOT)
        assert feed.ends()[0] == (1, End.AMBIGUOUS)
        assert {end for _, end in feed.ends()[1:]} <= {End.NOT_OFFERED}
        assert len(feed.settled) == feed.taken

    drive(test)


@pytest.mark.parametrize(
    ("step", "phase"), [("RCPT", Phase.RCPT), ("DATA", Phase.DATA)]
)
def test_a_connection_lost_before_the_content_counts_and_is_not_ambiguous(
    drive: Drive, step: str, phase: Phase
) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(1)])
        async with ScriptedReceiver(Behaviour(replies={step: HANG_UP})) as receiver:
            one = site(hop(receiver), pipelining=Pipelining.NONE)
            reply = await Post().courier().carry(one, SOURCE, feed)
        [attempt] = feed.settled
        assert attempt.end is End.REPLIED
        assert (attempt.reply.code, attempt.reply.phase) == (421, phase)
        assert attempt.reply == reply

    drive(test)


def test_a_reply_that_trickles_in_has_one_deadline(drive: Drive) -> None:
    async def test() -> None:
        settings = DialSettings(tick_s=0.02, smtp=Timeouts(banner_s=0.3))
        feed = ListFeed([parcel(1)])
        async with ScriptedReceiver(Behaviour(trickles=0.02)) as receiver:
            courier = Post(settings=settings).courier()
            reply = await courier.carry(site(hop(receiver)), SOURCE, feed)
        assert reply is not None
        assert reply.text == "timed out waiting for the receiver"

    drive(test)


def test_opportunistic_tls_takes_any_certificate(
    drive: Drive, authority: trustme.CA
) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(number) for number in range(20)])
        tls = server_tls(authority, "elsewhere.example")
        async with ScriptedReceiver(Behaviour(tls=tls)) as receiver:
            one = site(hop(receiver), pipelining=Pipelining.TRANSACTIONS)
            assert await Post().courier().carry(one, SOURCE, feed) is None
            assert len(receiver.contents) == 20
            assert [line for line in receiver.commands if line[:4] == b"EHLO"] == (
                [b"EHLO out.example.org"] * 2
            )
        assert {one.tls for one in feed.settled} == {"TLSv1.3"}

    drive(test)


@pytest.mark.parametrize(
    "replies",
    [
        {"STARTTLS": b"220 Go\r\n"},  # and then reads TLS as commands
        {"STARTTLS": HANG_UP},
    ],
)
def test_broken_tls_is_remembered_and_clear_is_used(
    drive: Drive, replies: dict[str, bytes]
) -> None:
    async def test() -> None:
        post, feed = Post(), ListFeed([parcel(1)])
        offers = (b"PIPELINING", b"STARTTLS")
        broken = Behaviour(offers=offers, replies=replies)
        async with ScriptedReceiver(broken) as receiver:
            courier = post.courier()
            reply = await courier.carry(site(hop(receiver)), SOURCE, feed)
            assert reply is None
            assert (feed.ends(), feed.settled[0].tls) == ([(1, End.REPLIED)], "")
            assert post.memory.is_broken("127.0.0.1", SystemClock().now())
            starts = receiver.commands.count(b"STARTTLS")
            feed.parcels = [parcel(2)]
            assert await courier.carry(site(hop(receiver)), SOURCE, feed) is None
            assert receiver.commands.count(b"STARTTLS") == starts == 1
            # What is required is not lowered by what is remembered.
            demanding = site(hop(receiver), tls=TlsDemand.REQUIRED)
            feed.parcels = [parcel(3)]
            reply = await courier.carry(demanding, SOURCE, feed)
            assert reply is not None
            assert (reply.phase, reply.origin) == (Phase.TLS, Origin.LOCAL)
            assert feed.taken == 2

    drive(test)


@pytest.mark.parametrize(
    ("certified", "is_taken"), [("mx.example.com", True), ("my.example.com", False)]
)
def test_required_tls_verifies_the_name(
    drive: Drive, authority: trustme.CA, certified: str, is_taken: bool
) -> None:
    async def test() -> None:
        post = Post(
            contexts=trusting(authority),
            names=Names(**{"mx.example.com": ["127.0.0.1"]}),
        )
        feed = ListFeed([parcel(1)])
        behaviour = Behaviour(tls=server_tls(authority, certified))
        async with ScriptedReceiver(behaviour) as receiver:
            one = site(hop(receiver, "mx.example.com"), tls=TlsDemand.REQUIRED)
            reply = await post.courier().carry(one, SOURCE, feed)
        if is_taken:
            assert reply is None
            assert feed.settled[0].tls == "TLSv1.3"
        else:
            assert reply is not None
            assert (reply.code, reply.enhanced, reply.phase) == (
                454,
                "4.7.5",
                Phase.TLS,
            )
            assert feed.taken == 0
            assert len(receiver.peers) == 1, "never in clear"

    drive(test)


def test_a_smarthost_gets_its_login_inside_verified_tls(
    drive: Drive, authority: trustme.CA
) -> None:
    async def test() -> None:
        post = Post(
            contexts=trusting(authority),
            names=Names(**{"mx.example.com": ["127.0.0.1"]}),
        )
        feed = ListFeed([parcel(1)])
        behaviour = Behaviour(
            offers=(b"AUTH PLAIN",), tls=server_tls(authority, "mx.example.com")
        )
        async with ScriptedReceiver(behaviour) as receiver:
            # The login alone demands it, whatever the profile says.
            target = hop(receiver, "mx.example.com")
            one = site(target, login=("user", 7), tls=TlsDemand.NONE)
            assert await post.courier().carry(one, SOURCE, feed) is None
            starts = receiver.commands.index(b"STARTTLS")
            assert receiver.commands[starts + 2] == b"AUTH PLAIN AHVzZXIAc2VjcmV0"
            reply = await post.courier().carry(
                site(target, login=("user", 8)), SOURCE, feed
            )
            assert reply is not None
            assert reply.phase is Phase.AUTH

    drive(test)


def test_what_cannot_be_signed_is_not_sent(drive: Drive) -> None:
    why = local_reply(451, "4.7.5", "no key", Phase.DATA)

    class Choosy(Plain):
        def prepare(
            self, parcels: Sequence[Parcel], *, has_8bitmime: bool
        ) -> Sequence[Content | Reply]:
            made: list[Content | Reply] = []
            for one in parcels:
                bare = Content(b"Subject: x\r\n\r\n", b"bare\n.\nLF\r\n")
                made.append({1: why, 2: bare}.get(one.delivery, Content(one.header)))
            return made

    async def test() -> None:
        feed = ListFeed([parcel(1), parcel(2), parcel(3)])
        async with ScriptedReceiver() as receiver:
            courier = Post(preparer=Choosy()).courier()
            assert await courier.carry(site(hop(receiver)), SOURCE, feed) is None
            assert receiver.contents == [b"Subject: 3\r\n\r\n"]
        ends = {one.parcel.delivery: one for one in feed.settled}
        assert (ends[1].end, ends[1].reply) == (End.UNSIGNABLE, why)
        assert (ends[2].end, ends[2].reply.code) == (End.REPLIED, 451)
        assert ends[3].reply.code == 250

    drive(test)


@pytest.mark.parametrize(
    ("step", "end"),
    [("MAIL", End.NOT_OFFERED), ("DATA", End.NOT_OFFERED), (".", End.AMBIGUOUS)],
)
def test_cancelling_settles_what_was_taken(drive: Drive, step: str, end: End) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(number) for number in range(5)])
        async with ScriptedReceiver(Behaviour(replies={step: SILENCE})) as receiver:
            one = site(hop(receiver), pipelining=Pipelining.NONE)
            carrying = asyncio.ensure_future(Post().courier().carry(one, SOURCE, feed))
            await receiver.at(step).wait()
            carrying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await carrying
        assert feed.taken == len(feed.settled) == 2
        assert [one for _, one in feed.ends()] == [end, End.NOT_OFFERED]

    drive(test)


def test_cancelling_while_preparing_settles_what_was_taken(drive: Drive) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Plain):
        def prepare(
            self, parcels: Sequence[Parcel], *, has_8bitmime: bool
        ) -> Sequence[Content | Reply]:
            begun.set()
            go_on.wait(PATIENCE_S)
            return super().prepare(parcels, has_8bitmime=has_8bitmime)

    async def test() -> None:
        begun.clear()
        go_on.clear()
        feed = ListFeed([parcel(1), parcel(2)])
        async with ScriptedReceiver() as receiver:
            carrying = asyncio.ensure_future(
                Post(preparer=Slow()).courier().carry(site(hop(receiver)), SOURCE, feed)
            )
            await asyncio.to_thread(begun.wait, PATIENCE_S)
            carrying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await carrying
            go_on.set()
            assert receiver.contents == []
        assert feed.ends() == [(1, End.NOT_OFFERED), (2, End.NOT_OFFERED)]

    drive(test)


def test_stopping_finishes_what_is_in_hand(drive: Drive) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(number) for number in range(50)])
        courier = Post().courier()
        feed.on_settle = courier.stop
        async with ScriptedReceiver() as receiver:
            assert await courier.carry(site(hop(receiver)), SOURCE, feed) is None
            assert receiver.commands[-1] == b"QUIT"
            assert len(receiver.contents) == feed.taken
        assert feed.taken < 50
        assert {end for _, end in feed.ends()} == {End.REPLIED}

    drive(test)


def test_what_is_taken_after_the_server_hung_up_goes_back(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        lost = asyncio.Event()

        class Watched(Connection):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                lost.set()

        class Late(ListFeed):
            async def take(self, want: int) -> Sequence[Parcel]:
                if self.taken:
                    await lost.wait()
                return await super().take(1)

        monkeypatch.setattr(local, "Connection", Watched)
        async with ScriptedReceiver(Behaviour(replies={".": HANG_UP})) as receiver:
            feed = Late([parcel(1), parcel(2)])
            await Post().courier().carry(site(hop(receiver)), SOURCE, feed)
            assert len(receiver.contents) == 1
        assert feed.ends() == [(1, End.AMBIGUOUS), (2, End.NOT_OFFERED)]

    drive(test)


def test_a_large_content_waits_for_a_receiver_that_does_not_read(drive: Drive) -> None:
    async def test() -> None:
        gate = asyncio.Event()
        body = b"".join(b".%07d%s\r\n" % (n, b"x" * 60) for n in range(60_000))
        feed = ListFeed([parcel(1, body), parcel(2)])
        async with ScriptedReceiver(Behaviour(gate=gate)) as receiver:
            one = site(hop(receiver), pipelining=Pipelining.TRANSACTIONS)
            async with asyncio.TaskGroup() as group:
                group.create_task(Post().courier().carry(one, SOURCE, feed))
                await receiver.at("DATA").wait()
                gate.set()
            assert receiver.contents[0] == b"Subject: 1\r\n\r\n" + body
            assert len(receiver.contents) == 2

    drive(test)


def test_hosts_are_tried_by_preference_and_a_dead_one_is_passed_over(
    drive: Drive,
) -> None:
    async def test() -> None:
        async with ScriptedReceiver(host="127.0.0.1") as receiver:
            names = Names(
                **{
                    "dead.example.com": ["127.0.0.9"],
                    "live.example.com": ["127.0.0.1"],
                    "spare.example.com": ["127.0.0.1"],
                }
            )
            hops = [hop(receiver, f"{name}.example.com") for name in ("spare", "live")]
            hops.insert(0, hop(receiver, "dead.example.com"))
            one = site(*hops, preferences=(5, 30, 20))
            feed = ListFeed([parcel(1)])
            assert await Post(names=names).courier().carry(one, SOURCE, feed) is None
        assert names.asked == ["dead.example.com", "live.example.com"]
        assert feed.settled[0].hop.startswith("live.example.com [127.0.0.1]")

    drive(test)


def test_a_dial_is_bounded(drive: Drive) -> None:
    async def test() -> None:
        busy = Behaviour(replies={"banner": b"421 4.3.2 Busy\r\n"})
        async with ScriptedReceiver(busy) as receiver:
            names = Names(many=["127.0.0.1"] * 9)
            reply = (
                await Post(names=names)
                .courier()
                .carry(site(hop(receiver, "many")), SOURCE, ListFeed([]))
            )
            assert reply == Reply(421, "4.3.2", "Busy", Phase.BANNER)
            assert len(receiver.peers) == 2, "the hosts of a site mostly agree"
        silent = Behaviour(replies={"banner": HANG_UP})
        async with ScriptedReceiver(silent) as receiver:
            reply = (
                await Post(names=names)
                .courier()
                .carry(site(hop(receiver, "many")), SOURCE, ListFeed([]))
            )
            assert reply is not None
            assert len(receiver.peers) == 5

    drive(test)


@pytest.mark.parametrize(
    ("hosts", "source", "enhanced"),
    [
        ({}, "", "4.4.3"),  # no such name
        ({"mx": ["127.0.0.1"]}, "", "4.4.4"),  # not allowed here
        ({"mx": ["::ffff:127.0.0.1"]}, "", "4.4.4"),
        ({"mx": ["8.8.8.8"]}, "2001:db8::1", "4.4.4"),  # of the other family
        ({"mx": []}, "", "4.4.4"),
    ],
)
def test_a_host_without_an_address_to_use_is_not_connected_to(
    drive: Drive, hosts: dict[str, list[str]], source: str, enhanced: str
) -> None:
    async def test() -> None:
        async with ScriptedReceiver() as receiver:
            post = Post(names=Names(**hosts), allowed=())
            feed = ListFeed([parcel(1)])
            from_there = Source(SourceId(1), "one", source, "out.example.org")
            reply = await post.courier().carry(
                site(hop(receiver, "mx")), from_there, feed
            )
            assert reply is not None
            assert (reply.code, reply.enhanced) == (451, enhanced)
            assert reply.phase is Phase.CONNECT
            assert (receiver.peers, feed.taken) == ([], 0)

    drive(test)


def test_mail_leaves_from_the_address_of_its_source(drive: Drive) -> None:
    async def test() -> None:
        async with ScriptedReceiver() as receiver:
            source = Source(SourceId(2), "two", "127.0.0.7", "seven.example.org")
            feed = ListFeed([parcel(1)])
            assert (
                await Post().courier().carry(site(hop(receiver)), source, feed) is None
            )
            assert receiver.peers == ["127.0.0.7"]
            assert receiver.commands[0] == b"EHLO seven.example.org"
            absent = Source(SourceId(3), "three", "192.0.2.1", "three.example.org")
            reply = await Post().courier().carry(site(hop(receiver)), absent, feed)
            assert reply is not None
            assert reply.phase is Phase.CONNECT

    drive(test)


def test_dns_that_does_not_answer_is_given_up(drive: Drive) -> None:
    class Mute(Names):
        async def addresses(self, host: str, *, want_v6: bool = False) -> AddressAnswer:
            await asyncio.Event().wait()
            raise NotImplementedError

    async def test() -> None:
        post = Post(names=Mute(), settings=DialSettings(resolve_s=0.05))
        hops = [Hop(f"mx{n}.example.com", 25) for n in range(3)]
        reply = await post.courier().carry(site(*hops), SOURCE, ListFeed([parcel(1)]))
        assert reply is not None
        assert (reply.enhanced, reply.text) == (
            "4.4.3",
            "mx2.example.com: DNS took too long",
        )

    drive(test)


def test_cancelling_a_greeting_drops_the_connection(drive: Drive) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(1)])
        async with ScriptedReceiver(Behaviour(replies={"EHLO": SILENCE})) as receiver:
            carrying = asyncio.ensure_future(
                Post().courier().carry(site(hop(receiver)), SOURCE, feed)
            )
            await receiver.at("EHLO").wait()
            carrying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await carrying
        assert feed.taken == 0

    drive(test)


def test_a_feed_that_fails_leaves_nothing_unsettled(drive: Drive) -> None:
    class Broken(ListFeed):
        async def take(self, want: int) -> Sequence[Parcel]:
            if self.taken:
                raise RuntimeError("the store is gone")
            return await super().take(want)

    async def test() -> None:
        feed = Broken([parcel(1)])
        async with ScriptedReceiver(Behaviour(replies={"MAIL": SILENCE})) as receiver:
            with pytest.raises(RuntimeError):
                await Post().courier().carry(site(hop(receiver)), SOURCE, feed)
        assert feed.ends() == [(1, End.NOT_OFFERED)]

    drive(test)


@pytest.mark.parametrize("pipelining", list(Pipelining))
def test_a_recall_gives_back_at_once_what_is_not_on_the_wire(
    drive: Drive, pipelining: Pipelining
) -> None:
    async def test() -> None:
        feed = ListFeed([parcel(number) for number in range(10)])
        gate = asyncio.Event()
        async with ScriptedReceiver(Behaviour(gate=gate)) as receiver:
            courier = Post().courier()
            one = site(hop(receiver), pipelining=pipelining)
            async with asyncio.TaskGroup() as tasks:
                carrying = tasks.create_task(courier.carry(one, SOURCE, feed))
                await receiver.at("DATA").wait()
                courier.recall()
                # What is on the wire waits for the gate, what is not waits for nobody.
                await until(lambda: len(feed.settled) >= feed.taken - 2)
                gate.set()
            assert carrying.result() is None
            given_back = [end for _, end in feed.ends() if end is End.NOT_OFFERED]
            # With `transactions` the next envelope is behind the first one's dot.
            on_the_wire = len(receiver.contents)
            assert 1 <= on_the_wire <= 2
            assert len(given_back) == feed.taken - on_the_wire
            assert feed.ends()[0] == (0, End.REPLIED)
            assert receiver.commands[-1] == b"QUIT"

    drive(test)


def test_a_recall_of_some_leaves_the_connections_of_others_alone(drive: Drive) -> None:
    async def test() -> None:
        mine = ListFeed([parcel(number) for number in range(10)])
        theirs = ListFeed([parcel(number) for number in range(10, 20)])
        gate = asyncio.Event()
        async with (
            ScriptedReceiver(Behaviour(gate=gate)) as here,
            ScriptedReceiver(Behaviour(gate=gate)) as there,
        ):
            courier = Post().courier()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(courier.carry(site(hop(here)), SOURCE, mine))
                tasks.create_task(courier.carry(site(hop(there)), SOURCE, theirs))
                await here.at("DATA").wait()
                await there.at("DATA").wait()
                courier.recall_of(lambda each: each.delivery < 10)
                await until(lambda: len(mine.settled) == mine.taken - 1)
                gate.set()
            assert len(here.contents) == 1
            assert len(mine.settled) == mine.taken
            assert [end for _, end in theirs.ends()] == [End.REPLIED] * 10

    drive(test)


def stop_all(post: Post, courier: Courier) -> None:
    post.is_stopped = True
    courier.recall()


def recall_one(_post: Post, courier: Courier) -> None:
    courier.recall_of(lambda each: each.delivery == 0)


@pytest.mark.parametrize("stop", [stop_all, recall_one])
def test_what_is_being_signed_when_it_is_stopped_is_not_offered(
    drive: Drive, stop: Callable[[Post, Courier], None]
) -> None:
    class Slow(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.began, self.may_end = threading.Event(), threading.Event()

        def prepare(
            self, parcels: Sequence[Parcel], *, has_8bitmime: bool
        ) -> Sequence[Content | Reply]:
            self.began.set()
            assert self.may_end.wait(PATIENCE_S)
            return super().prepare(parcels, has_8bitmime=has_8bitmime)

    async def test() -> None:
        slow = Slow()
        post, feed = Post(preparer=slow), ListFeed([parcel(0), parcel(1)])
        async with ScriptedReceiver() as receiver, asyncio.TaskGroup() as tasks:
            courier = post.courier()
            carrying = tasks.create_task(
                courier.carry(site(hop(receiver)), SOURCE, feed)
            )
            await asyncio.to_thread(slow.began.wait, PATIENCE_S)
            stop(post, courier)
            await until(lambda: WHERE.get().has_heard(Recall))
            slow.may_end.set()
            await carrying
            assert feed.ends() == [(0, End.NOT_OFFERED), (1, End.NOT_OFFERED)]
            assert receiver.contents == []
            assert not any(line.startswith(b"MAIL") for line in receiver.commands)

    drive(test)
