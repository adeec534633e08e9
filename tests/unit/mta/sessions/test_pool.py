"""Sessions in processes: the same octets as in the node, and what happens when one dies."""

import asyncio
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import dkim
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

import fakes.session_rig
from fakes.campaign_contents import content_json
from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from fakes.session_rig import (
    Keys,
    call_to,
    campaign_parcel,
    carried,
    children,
    is_alive,
    open_files,
    opened,
    parcel,
)
from mailwright.accounts.signing_keys import DkimSecret
from mailwright.attempt import Attempt, End
from mailwright.clock import SystemClock
from mailwright.ids import MessageId
from mailwright.mta.dkim.records import record_text
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.sessions import given, pool
from mailwright.mta.sessions.local import LocalSessions
from mailwright.mta.sessions.pool import SessionProcesses
from mailwright.mta.sessions.remote import RemoteSession
from mailwright.mta.sessions.session import TlsFailed
from mailwright.mta.sessions.threads import ThreadWorkers
from mailwright.mta.tls import load_contexts
from mailwright.reply import Origin, Phase, Reply
from mailwright.site import Pipelining, TlsDemand

PATIENCE_S = 120
TESTS = Path(fakes.session_rig.__file__).parent.parent
DSN_OFFERS = (b"PIPELINING", b"8BITMIME", b"DSN", b"SIZE 90000000")


def rsa(selector: str = "s1") -> DkimSecret:
    key = generate_private_key(65_537, 2048)
    return DkimSecret("rsa-sha256", "example.com", selector, key)


@pytest.fixture(scope="module")
def secret() -> DkimSecret:
    return rsa()


def verifies(content: bytes, secret: DkimSecret) -> bool:
    record = record_text(secret.private_key).encode()
    verified: bool = dkim.DKIM(content).verify(dnsfunc=lambda *_, **__: record)
    return verified


def patched(statements: str) -> tuple[str, ...]:
    """Return the command of a process that is not quite as it should be."""
    return (
        sys.executable,
        "-c",
        "import sys; from mailwright.mta.sessions import process\n"
        f"{statements}\n"
        "process.main(int(sys.argv[1]))",
    )


@asynccontextmanager
async def running(
    keys: Keys, count: int = 1, **changes: Any
) -> AsyncIterator[SessionProcesses]:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        sessions = SessionProcesses(keys, count, **changes)
        tasks.create_task(sessions.run())
        try:
            yield sessions
        finally:
            sessions.stop()


@asynccontextmanager
async def in_the_node(keys: Keys) -> AsyncIterator[LocalSessions]:
    renderers = Renderers(1)
    workers = ThreadWorkers(Preparer(keys, renderers), 2, renderers.close)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        sessions = LocalSessions(workers, load_contexts(), SystemClock(), workers.stop)
        tasks.create_task(sessions.run())
        try:
            yield sessions
        finally:
            sessions.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def drive(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test()

    asyncio.run(bounded())


def ends_of(attempts: list[Attempt]) -> list[tuple[int, End]]:
    return sorted(
        ((each.parcel.delivery, each.end) for each in attempts),
        key=lambda pair: pair[0],
    )


def without_hop(attempt: Attempt, receiver: ScriptedReceiver) -> Attempt:
    """Return it with the port of no receiver; what is not fit for the wire has no hop."""
    if attempt.reply.origin is Origin.LOCAL and attempt.end is End.REPLIED:
        return replace(attempt, hop="", has_dsn=False)
    return replace(attempt, hop=attempt.hop.removesuffix(f":{receiver.port}"))


def recipient_of(line: bytes) -> bytes:
    return line.removeprefix(b"RCPT TO:<").partition(b">")[0]


@pytest.mark.parametrize(
    "offers",
    [(b"PIPELINING", b"8BITMIME"), (b"PIPELINING",), DSN_OFFERS, ()],
    ids=["8BITMIME", "7 bits", "DSN", "nothing"],
)
@pytest.mark.parametrize("pipelining", list(Pipelining))
def test_processes_and_the_node_put_the_same_octets_on_the_wire(
    secret: DkimSecret, offers: tuple[bytes, ...], pipelining: Pipelining
) -> None:
    ed25519 = DkimSecret(
        "ed25519-sha256", "example.com", "s2", Ed25519PrivateKey.generate()
    )
    keys = Keys(secret, ed25519, note="signed with two")
    parcels = [
        parcel(1),
        parcel(2, "Привет\r\n".encode()),
        parcel(3, b".\r\n..\r\n"),
        parcel(4, b"no end"),
        parcel(5, b"text\r\n" * 100_000),
        replace(parcel(6), message=MessageId(1)),
        replace(parcel(7), header=b"To: b@example.org\r\n\r\n"),  # without From
        parcel(8, b"bare\nLF\r\n"),
        *(campaign_parcel(number) for number in (9, 10)),
        campaign_parcel(11, "other field"),
        replace(parcel(12), recipient="b\r\n@example.org"),
        replace(parcel(13), reverse_path=""),
        replace(
            parcel(14),
            notify="SUCCESS,FAILURE",
            orcpt="rfc822;b@example.org",
            ret="HDRS",
            envid="e1",
        ),
    ]
    seen = []

    async def scene() -> None:
        for place in (in_the_node(keys), running(keys)):
            async with (
                ScriptedReceiver(Behaviour(offers=offers)) as receiver,
                place as sessions,
            ):
                call = call_to(receiver.port, pipelining=pipelining)
                # One batch, so that they go out in one order.
                attempts = await carried(sessions, call, parcels)
                ends = [without_hop(each, receiver) for each in attempts]
                seen.append((ends, receiver.commands, receiver.contents))

    drive(scene)
    here, there = seen
    assert there == here
    ends, commands, contents = there
    expected = {7: End.UNSIGNABLE, 11: End.UNRENDERED}
    assert [each.end for each in ends] == [
        expected.get(each.delivery, End.REPLIED) for each in parcels
    ]
    assert not any(each.hop for each in ends if each.end is not End.REPLIED)
    replied = {each.parcel.delivery for each in ends if each.reply.code == 250}
    assert replied == {1, 2, 3, 4, 5, 6, 9, 10, 13, 14}
    assert {each.has_dsn for each in ends if each.hop} == {b"DSN" in offers}
    rcpts = [line for line in commands if line.startswith(b"RCPT")]
    assert (b"NOTIFY" in rcpts[-1]) is (b"DSN" in offers)
    by_recipient = dict(zip(map(recipient_of, rcpts), contents, strict=True))
    for number in (2, 3, 9):
        assert verifies(by_recipient[b"b%d@example.org" % number], secret)
    assert by_recipient[b"b3@example.org"].endswith(b"\r\n\r\n.\r\n..\r\n")


def test_messages_that_are_offered_one_by_one_are_the_same_as_well(
    secret: DkimSecret,
) -> None:
    parcels = [
        parcel(1),
        campaign_parcel(2),
        parcel(3, b"text\r\n" * 50_000),  # done beside
        campaign_parcel(4),
        parcel(5, b"other text\r\n"),
    ]
    seen = []

    async def scene() -> None:
        for place in (in_the_node(Keys(secret)), running(Keys(secret))):
            async with ScriptedReceiver() as receiver, place as sessions:
                batches = [[each] for each in parcels]
                attempts = await carried(sessions, call_to(receiver.port), *batches)
                assert [str(each.reply) for each in attempts] == [
                    "250 2.0.0 Queued"
                ] * 5
                seen.append(sorted(receiver.contents))

    drive(scene)
    here, there = seen
    assert there == here
    assert len(set(there)) == 5


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


def test_sessions_in_processes_do_tls_and_say_when_it_fails(secret: DkimSecret) -> None:
    async def scene() -> None:
        behaviour = Behaviour(tls=server_tls())
        async with (
            ScriptedReceiver(behaviour) as receiver,
            running(Keys(secret)) as sessions,
        ):
            call = call_to(receiver.port, tls=TlsDemand.OPPORTUNISTIC)
            [attempt] = await carried(sessions, call, [parcel(1)])
            assert (attempt.end, attempt.tls) == (End.REPLIED, "TLSv1.3")
            # Nobody has vouched for this certificate.
            call = call_to(receiver.port, tls=TlsDemand.REQUIRED)
            failed = await sessions.open(call, lambda _: None)
            assert isinstance(failed, TlsFailed)
            assert failed.reply.phase is Phase.TLS
            assert len(receiver.contents) == 1

    drive(scene)


def test_mail_leaves_a_process_from_the_address_of_its_source(
    secret: DkimSecret,
) -> None:
    async def scene() -> None:
        async with ScriptedReceiver() as receiver, running(Keys(secret)) as sessions:
            for source in ("127.0.0.7", "127.0.0.8"):
                call = call_to(receiver.port, source=source)
                await carried(sessions, call, [parcel(1)])
            assert receiver.peers == ["127.0.0.7", "127.0.0.8"]
            absent = call_to(receiver.port, source="192.0.2.1")
            reply = await sessions.open(absent, lambda _: None)
            assert isinstance(reply, Reply)
            assert (reply.code, reply.phase) == (421, Phase.CONNECT)

    drive(scene)


#: The control: a process that does everything at once, one after the other.
ONE_BY_ONE = patched("process._takes_long = lambda parcel: False")


def kept_waiting(secret: DkimSecret, **changes: Any) -> bool:
    """Return whether a single message waits for a campaign of bombs before it."""
    source = "{% for i in range(100000) %}{{ range(100000)|sort }}{% endfor %}"
    bomb = content_json(text=source)
    bombs = [campaign_parcel(number, content=bomb) for number in range(1, 5)]
    single: list[Attempt] = []
    campaign: list[Attempt] = []

    async def scene() -> None:
        nonlocal is_kept_waiting
        async with (
            ScriptedReceiver() as receiver,
            running(Keys(secret), **changes) as sessions,
        ):
            call = call_to(receiver.port)
            first = await opened(sessions, call, campaign)
            second = await opened(sessions, call, single)
            first.offer(bombs)
            second.offer([parcel(100)])
            await second.wait_until(lambda: bool(single))
            is_kept_waiting = len(campaign) == len(bombs)
            await first.wait_until(lambda: len(campaign) == len(bombs))
            assert {each.end for each in campaign} == {End.UNRENDERED}
            assert single[0].end is End.REPLIED
            assert len(receiver.contents) == 1
            for session in (first, second):
                await session.give_up("it is over")

    is_kept_waiting = False
    drive(scene)
    return is_kept_waiting


def test_a_campaign_that_takes_long_keeps_no_other_mail_waiting(
    secret: DkimSecret,
) -> None:
    assert not kept_waiting(secret)
    assert kept_waiting(secret, command=ONE_BY_ONE)


def test_large_messages_go_through(secret: DkimSecret) -> None:
    line = b".%07d " + b"x" * 60 + b"\r\n"
    bodies = [
        b"".join(line % number for number in range(count))
        for count in (4_000, 170_000)  # 280 KB, 12 MB
    ]

    async def scene() -> None:
        async with ScriptedReceiver() as receiver, running(Keys(secret)) as sessions:
            given = [parcel(number, body) for number, body in enumerate(bodies)]
            attempts = await carried(sessions, call_to(receiver.port), given)
            assert ends_of(attempts) == [(0, End.REPLIED), (1, End.REPLIED)]
            assert [each.reply.code for each in attempts] == [250, 250]
        for content, body in zip(receiver.contents, bodies, strict=True):
            assert content.endswith(b"\r\n\r\n" + body)
            assert verifies(content, secret)

    drive(scene)


#: A process that prepares a large message until a file is there, or for some time; how
#: it went is in the attempt's edits.
WAITS = """
import time; from pathlib import Path; from dataclasses import replace
prepare = process.Preparer.prepare
def waiting(self, parcels, *, has_8bitmime):
    outcomes = prepare(self, parcels, has_8bitmime=has_8bitmime)
    if len(parcels[0].body) < 300_000:
        return outcomes
    until = time.monotonic() + SECONDS
    while not (done := Path(FILE).exists()) and time.monotonic() < until:
        time.sleep(0.01)
    return [replace(each, edits=("in time" if done else "in vain",)) for each in outcomes]
process.Preparer.prepare = waiting
"""


def lets_others_go_on(secret: DkimSecret, done: Path, seconds: float, more: str) -> str:
    """Say how a large message fared that waits for a small one in another session."""
    source = WAITS.replace("SECONDS", str(seconds)).replace("FILE", repr(str(done)))
    large: list[Attempt] = []
    small: list[Attempt] = []

    async def scene() -> None:
        async with (
            ScriptedReceiver() as receiver,
            running(Keys(secret), command=patched(source + more)) as sessions,
        ):
            call = call_to(receiver.port)
            first = await opened(sessions, call, large)
            second = await opened(sessions, call, small)
            first.offer([parcel(1, b"text\r\n" * 60_000)])
            second.offer([parcel(2)])
            await second.wait_until(lambda: bool(small))
            await asyncio.to_thread(done.touch)
            await first.wait_until(lambda: bool(large))
            assert [each.end for each in large + small] == [End.REPLIED] * 2
            for session in (first, second):
                await session.give_up("it is over")

    drive(scene)
    return large[0].edits[0]


def test_a_large_message_keeps_no_other_mail_waiting(
    secret: DkimSecret, tmp_path: Path
) -> None:
    assert lets_others_go_on(secret, tmp_path / "1", 60, "") == "in time"
    at_once = "process.LARGE_OCTETS = 10**9"
    assert lets_others_go_on(secret, tmp_path / "2", 1, at_once) == "in vain"


def test_a_replaced_key_of_the_same_name_signs_from_then_on(
    secret: DkimSecret,
) -> None:
    async def scene() -> None:
        keys, attempts = Keys(secret), []
        async with ScriptedReceiver() as receiver, running(keys) as sessions:
            session = await opened(sessions, call_to(receiver.port), attempts)
            session.offer([parcel(1)])
            await session.wait_until(lambda: not session.in_hand)
            keys.secrets = (rsa(),)
            session.offer([parcel(1)])
            await session.wait_until(lambda: not session.in_hand)
            await session.give_up("it is over")
        before, after = receiver.contents
        assert verifies(before, secret)
        assert verifies(after, keys.secrets[0])
        assert not verifies(after, secret)

    drive(scene)


def test_a_message_without_a_key_waits_with_the_reason() -> None:
    async def scene() -> None:
        async with ScriptedReceiver() as receiver, running(Keys()) as sessions:
            [refused] = await carried(sessions, call_to(receiver.port), [parcel(1)])
            assert refused.end is End.UNSIGNABLE
            assert refused.reply.is_transient
            assert "no DKIM key has the selector s1" in refused.reply.text
            assert receiver.contents == []

    drive(scene)


def test_more_keys_than_are_kept_all_sign(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    monkeypatch.setattr(given, "KEYS_MAX", 1)
    secrets = [secret, rsa(), rsa(), secret]

    async def scene() -> None:
        keys = Keys()
        async with ScriptedReceiver() as receiver, running(keys) as sessions:
            session = await opened(sessions, call_to(receiver.port), [])
            for each in secrets:
                keys.secrets = (each,)
                session.offer([parcel(1), campaign_parcel(2)])
                await session.wait_until(lambda: not session.in_hand)
            await session.give_up("it is over")
        assert len(receiver.contents) == 8
        for number, content in enumerate(receiver.contents):
            assert verifies(content, secrets[number // 2])

    drive(scene)


def test_what_is_offered_to_a_session_that_has_ended_still_hands_over_its_keys(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    attempts: list[Attempt] = []
    told: list[tuple[RemoteSession, int]] = []
    closed = RemoteSession.closed

    async def scene() -> None:
        async with ScriptedReceiver() as receiver, running(Keys(secret)) as sessions:
            first = await opened(sessions, call_to(receiver.port), attempts)
            second = await opened(sessions, call_to(receiver.port), attempts)
            with monkeypatch.context() as patch:  # the node has not heard of it yet
                patch.setattr(
                    RemoteSession, "closed", lambda it, seen, _: told.append((it, seen))
                )
                first.quit()
                await until(lambda: bool(told))
            first.offer([campaign_parcel(1)])
            second.offer([campaign_parcel(2)])
            await second.wait_until(lambda: bool(attempts))
            assert ends_of(attempts) == [(2, End.REPLIED)]
            [content] = receiver.contents
            assert verifies(content, secret)
            assert told == [(first, 0)]
            closed(first, 0, None)
            assert ends_of(attempts) == [(1, End.NOT_OFFERED), (2, End.REPLIED)]
            await second.give_up("it is over")

    drive(scene)


def test_many_over_several_sessions_and_processes_end_each_once(
    secret: DkimSecret,
) -> None:
    async def scene() -> None:
        attempts: list[Attempt] = []
        async with ScriptedReceiver() as receiver, running(Keys(secret), 2) as sessions:
            await until(lambda: len(sessions._processes) == 2)
            call = call_to(receiver.port)
            led = [await opened(sessions, call, attempts) for _ in range(6)]
            assert [each.load for each in sessions._processes] == [3, 3]
            for number in range(60):
                body = b"body %d\r\n" % number
                led[number % 6].offer([parcel(number, body)])
            async with asyncio.TaskGroup() as tasks:
                for session in led:
                    session.quit()
                    tasks.create_task(session.wait_until(lambda: False))
            assert [each.load for each in sessions._processes] == [0, 0]
        assert ends_of(attempts) == [(number, End.REPLIED) for number in range(60)]
        bodies = [each.rpartition(b"\r\n\r\n")[2] for each in receiver.contents]
        assert sorted(bodies) == sorted(b"body %d\r\n" % n for n in range(60))

    drive(scene)


def test_what_a_dead_process_had_in_hand_is_orphaned_and_another_one_takes_over(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    monkeypatch.setattr(pool, "RESTART_S", 0.01)

    async def scene() -> None:
        attempts: list[Attempt] = []
        gate = asyncio.Event()
        async with (
            ScriptedReceiver(Behaviour(gate=gate), Behaviour()) as receiver,
            running(Keys(secret)) as sessions,
        ):
            call = call_to(receiver.port, pipelining=Pipelining.NONE)
            session = await opened(sessions, call, attempts)
            session.offer([parcel(1), parcel(2)])
            await receiver.at("DATA").wait()
            [child] = children()
            os.kill(child, signal.SIGKILL)
            session.offer([parcel(3)])  # nobody knows yet that it is dead
            await session.wait_until(lambda: False)
            assert ends_of(attempts) == [(n, End.ORPHANED) for n in (1, 2, 3)]
            assert session.reply is not None
            assert (session.reply.code, session.reply.origin) == (421, Origin.LOCAL)
            assert {each.reply for each in attempts} == {session.reply}
            assert attempts[0].hop == call.hop
            assert (session.in_hand, session.remaining) == (0, 0)
            gate.set()
            [again] = await carried(sessions, call, [parcel(2)])
            assert again.reply.code == 250
            assert sessions.deaths == 1
            assert children() != [child]

    drive(scene)


def test_sessions_that_open_while_a_process_dies_open_in_another(
    secret: DkimSecret,
) -> None:
    async def scene() -> None:
        attempts: list[Attempt] = []
        async with ScriptedReceiver() as receiver, running(Keys(secret), 2) as sessions:
            await until(lambda: len(sessions._processes) == 2)
            call = call_to(receiver.port)
            early = [await opened(sessions, call, attempts) for _ in range(2)]
            victim = children()[0]
            os.kill(victim, signal.SIGSTOP)  # it takes what it is asked and is silent
            async with asyncio.TaskGroup() as tasks:
                opening = [
                    tasks.create_task(opened(sessions, call, attempts))
                    for _ in range(40)
                ]
                await until(lambda: sum(task.done() for task in opening) == 20)
                os.kill(victim, signal.SIGKILL)
            led = [task.result() for task in opening]
            for number, session in enumerate([*early, *led]):
                session.offer([parcel(number)])
            await until(lambda: len(attempts) == 42)
            ends = [each.end for each in attempts]
            assert ends.count(End.REPLIED) == 41
            assert ends.count(End.NOT_OFFERED) == 1  # over the one early session
            assert len({each.parcel.delivery for each in attempts}) == 42
            assert len(receiver.contents) == 41
            assert sessions.deaths == 1
            for session in [*early, *led]:
                await session.give_up("it is over")

    drive(scene)


def test_signals_for_the_node_do_not_end_its_processes(secret: DkimSecret) -> None:
    async def scene() -> None:
        async with ScriptedReceiver() as receiver, running(Keys(secret)) as sessions:
            session = await opened(sessions, call_to(receiver.port), [])
            [child] = children()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(child, number)
            session.offer([parcel(1)])
            await session.wait_until(lambda: not session.in_hand)
            assert len(receiver.contents) == 1
            assert children() == [child]
            assert sessions.deaths == 0
            await session.give_up("it is over")

    drive(scene)


def test_processes_are_gone_after_the_end(secret: DkimSecret) -> None:
    async def scene() -> None:
        async with ScriptedReceiver() as receiver, running(Keys(secret), 2) as sessions:
            await carried(sessions, call_to(receiver.port), [campaign_parcel(1)])
            await until(lambda: len(children()) == 2)
            family = [
                *children(),
                *(each for one in children() for each in children(one)),
            ]
            assert len(family) == 3  # one of them has a renderer
        assert children() == []
        await until(lambda: not any(map(is_alive, family)))

    drive(scene)


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_process_that_does_not_go_is_ended(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret, *, is_cancelled: bool
) -> None:
    monkeypatch.setattr(pool, "_END_S", 0.1)

    async def scene() -> None:
        async with ScriptedReceiver() as receiver:
            sessions = SessionProcesses(Keys(secret), 1)
            run = asyncio.ensure_future(sessions.run())
            await carried(sessions, call_to(receiver.port), [parcel(1)])
            [child] = children()
            os.kill(child, signal.SIGSTOP)
            if is_cancelled:
                run.cancel()
            else:
                sessions.stop()
            await asyncio.wait([run])
            assert run.cancelled() is is_cancelled
            assert children() == []
            assert await sessions.open(call_to(receiver.port), print) == pool._ABSENT

    drive(scene)


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-c", "raise SystemExit(1)"),
        ("/nowhere/python",),
        # Says something that is no frame.
        (
            sys.executable,
            "-c",
            "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]));"
            "s.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0]) + b'oops')\n"
            "while s.recv(9999): pass",
        ),
        # Announces more than the node has room for.
        (
            sys.executable,
            "-c",
            "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]));"
            "s.sendall(bytes([255] * 8))\n"
            "while s.recv(9999): pass",
        ),
        # Says a frame that is no event.
        (
            sys.executable,
            "-c",
            "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]));"
            "s.sendall(bytes([0, 0, 0, 11, 0, 0, 0, 0]) + b'[[\"opened\"]]')\n"
            "while s.recv(9999): pass",
        ),
    ],
    ids=["dies", "is not there", "babbles", "says too much", "says nonsense"],
)
def test_without_a_process_a_session_waits_and_it_goes_on_trying(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(pool, "RESTART_S", 0.01)

    async def scene() -> None:
        async with (
            ScriptedReceiver() as receiver,
            running(Keys(secret), command=command) as sessions,
            asyncio.TaskGroup() as tasks,
        ):
            opening = tasks.create_task(sessions.open(call_to(receiver.port), print))
            await until(lambda: sessions.deaths >= 2 or opening.done())
            # One that dies under an opening is not asked without end.
            assert not opening.done() or isinstance(opening.result(), Reply)
            sessions.stop()
            reply = await opening
            assert isinstance(reply, Reply)
            assert (reply.code, reply.origin) == (451, Origin.LOCAL)
            assert receiver.peers == []

    drive(scene)


def hangs(monkeypatch: pytest.MonkeyPatch, secret: DkimSecret, pings: int) -> bool:
    """Return whether a process that has stopped is replaced; it is asked every 50 ms."""
    monkeypatch.setattr(pool, "RESTART_S", 0.01)
    monkeypatch.setattr(pool, "PING_S", 0.05)
    monkeypatch.setattr(pool, "PINGS_MAX", 10**6)  # while it starts
    attempts: list[Attempt] = []
    gate = asyncio.Event()

    async def scene() -> bool:
        async with (
            ScriptedReceiver(Behaviour(gate=gate), Behaviour()) as receiver,
            running(Keys(secret)) as sessions,
        ):
            call = call_to(receiver.port)
            session = await opened(sessions, call, attempts)
            session.offer([parcel(1)])
            await receiver.at("DATA").wait()
            [child] = children()
            monkeypatch.setattr(pool, "PINGS_MAX", pings)
            os.kill(child, signal.SIGSTOP)
            [process] = sessions._processes
            await until(lambda: bool(attempts) or process.unanswered > 30)
            with suppress(ProcessLookupError):  # it was killed
                os.kill(child, signal.SIGCONT)
            gate.set()
            if not attempts:
                return False
            assert ends_of(attempts) == [(1, End.ORPHANED)]
            [again] = await carried(sessions, call, [parcel(2)])
            assert again.reply.code == 250
            return sessions.deaths == 1

    return asyncio.run(scene())


def test_a_process_that_hangs_is_replaced(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    assert hangs(monkeypatch, secret, 10)


def test_the_control_lets_it_hang(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    assert not hangs(monkeypatch, secret, 10**6)


def test_a_process_sees_nothing_of_the_node_but_its_socket(
    secret: DkimSecret, tmp_path: Path
) -> None:
    async def scene() -> list[list[str]]:
        async with ScriptedReceiver() as receiver, running(Keys(secret), 2) as sessions:
            await until(lambda: len(sessions._processes) == 2)
            call = call_to(receiver.port)
            for session in [await opened(sessions, call, []) for _ in range(2)]:
                await session.give_up("it is over")
            return [open_files(each) for each in (os.getpid(), *children())]

    secrets = tmp_path / "secrets"
    with secrets.open("w") as ours, socket.socket() as listening:
        for each in (ours, listening):
            os.set_inheritable(each.fileno(), True)
        node, one, two = asyncio.run(scene())
    assert str(secrets) in node
    kinds = ("socket:", "pipe:", str(tmp_path))
    for process, others in ((one, {*node, *two}), (two, {*node, *one})):
        # Its input and output are nowhere; all share a log.
        assert process.count(os.devnull) >= 2
        assert not {each for each in process if each.startswith(kinds)} & others


def sockets_of(process: int) -> int:
    return len([each for each in open_files(process) if each.startswith("socket:")])


def test_cancelling_an_opening_leaves_nothing_open(secret: DkimSecret) -> None:
    async def scene() -> None:
        mute = Behaviour(replies={"EHLO": b"250-wait for\r\n"})
        async with (
            ScriptedReceiver(mute) as receiver,
            running(Keys(secret)) as sessions,
        ):
            opening = asyncio.ensure_future(
                sessions.open(call_to(receiver.port), print)
            )
            await receiver.at("EHLO").wait()
            [child] = children()
            assert sockets_of(child) == 4  # two are the loop's
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert sessions._processes[0].load == 0
            await until(lambda: receiver.over == 1)
            await until(lambda: sockets_of(child) == 3)

    drive(scene)


def test_an_opening_can_be_cancelled_at_any_time(secret: DkimSecret) -> None:
    async def scene() -> None:
        async with ScriptedReceiver() as receiver, running(Keys(secret)) as sessions:
            call, fates = call_to(receiver.port), []
            await carried(sessions, call, [parcel(1)])
            [child] = children()
            for turns in range(40):
                opening = asyncio.ensure_future(sessions.open(call, print))
                for _ in range(turns):
                    await asyncio.sleep(0.0002)
                opening.cancel()
                await asyncio.wait([opening])
                fates.append(opening.cancelled())
                if not opening.cancelled():
                    session = opening.result()
                    assert isinstance(session, RemoteSession)
                    await session.give_up("too late")
            assert fates[0]
            await until(lambda: sockets_of(child) == 3)
            await until(lambda: receiver.over == len(receiver.peers))
            assert sessions._processes[0].load == 0
            assert sessions._processes[0]._sessions == {}
            [attempt] = await carried(sessions, call, [parcel(1)])
            assert attempt.end is End.REPLIED

    drive(scene)


@pytest.mark.parametrize("farewell", [b"", b"421 4.3.2 Not now\r\n"])
def test_a_receiver_may_leave_at_once(secret: DkimSecret, farewell: bytes) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.example.com\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"250 mx.example.com\r\n" + farewell)
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(leave, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, running(Keys(secret)) as sessions:
            for number in range(20):
                attempts: list[Attempt] = []
                session = await sessions.open(call_to(port), attempts.append)
                if not isinstance(session, RemoteSession):
                    assert isinstance(session, Reply)
                    assert session.code == 421
                    continue
                session.offer([parcel(number)])
                session.quit()
                await session.wait_until(lambda: False)
                assert len(attempts) == 1
                assert attempts[0].end in {End.NOT_OFFERED, End.REPLIED}
                assert not attempts[0].reply.is_success
                assert session.reply is not None
                assert session.reply.code == 421
            assert sessions._processes[0].load == 0
            assert sessions.deaths == 0

    drive(scene)


#: The control: a process that goes on without its node.
GOES_ON = patched("process.Host.is_leading = False")


@contextmanager
def node_with(receiver: ScriptedReceiver, *command: str) -> Iterator["Popen[bytes]"]:
    places = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with Popen(
        [sys.executable, "-m", "fakes.session_node", str(receiver.port), *command],
        env={**os.environ, "PYTHONPATH": places},
        stdin=PIPE,
    ) as node:
        try:
            yield node
        finally:
            node.kill()


async def sent_without_a_node(*command: str) -> int:
    """Kill a node with two messages in hand; return how many come to the receiver."""
    gate = asyncio.Event()
    async with ScriptedReceiver(Behaviour(gate=gate)) as receiver:
        with node_with(receiver, *command) as node:
            await receiver.at("DATA").wait()
            [process] = children(node.pid)
            [renderer] = children(process)
            os.kill(node.pid, signal.SIGKILL)
        if not command:
            await until(lambda: not is_alive(process))
        # The first is in the kernel's hands.
        gate.set()
        await until(lambda: receiver.over == 1 or len(receiver.contents) == 2)
        mails = [line for line in receiver.commands if line.startswith(b"MAIL")]
        assert len(mails) == len(receiver.contents)
    await until(lambda: not is_alive(process) and not is_alive(renderer))
    return len(receiver.contents)


def test_a_process_does_not_outlive_its_node() -> None:
    async def scene() -> None:
        assert await sent_without_a_node() == 1
        assert await sent_without_a_node(*GOES_ON) == 2

    drive(scene)
