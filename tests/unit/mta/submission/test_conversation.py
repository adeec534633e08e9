"""How a conversation moves octets: over a connection in memory, so that each is counted."""

import asyncio
import logging
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fakes.door import (
    SECRET,
    MemoryPeer,
    admission_of,
    codes,
    intake_of,
    make_ports,
    make_settings,
    memory_peer,
    open_settings,
)
from fakes.smuggling import END_VARIANTS, SMUGGLED
from mailwright.mta.submission.door import DoorPorts
from mailwright.mta.submission.settings import DoorSettings
from mailwright.reply import Phase, local_reply
from mailwright.submission import NotAcceptedError, PatienceOverError

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
CONTENT = b"From: a@example.com\r\n\r\nhello\r\n.\r\n"
PLAIN = b"AUTH PLAIN " + b64encode(b"\0crm\0" + SECRET.encode()) + b"\r\n"


def drive(
    play: Callable[[MemoryPeer], Awaitable[None]],
    settings: DoorSettings | None = None,
    ports: DoorPorts | None = None,
    **options: Any,
) -> None:
    """Play a scene with one connected peer."""

    async def scene() -> None:
        made = settings or open_settings()
        async with memory_peer(made, ports or make_ports(), **options) as peer:
            await play(peer)

    asyncio.run(scene())


def test_a_message_is_offered_as_it_came_with_a_trace_on_top() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        assert codes(await peer.connect()) == [220]
        said = await peer.send(HELLO + ENVELOPE + CONTENT + b"QUIT\r\n")
        assert codes(said) == [250, 250, 250, 354, 250, 221]
        assert b"250 2.0.0 accepted as msg_1\r\n" in said
        assert peer.is_closed

    drive(play, ports=ports)
    (offer,) = admission_of(ports).offers
    assert (offer.header, offer.body) == (b"From: a@example.com\r\n\r\n", b"hello\r\n")
    (received,) = offer.trace
    assert received.startswith(b"Received: from client.example ([127.0.0.1])\r\n")
    assert received.endswith(b"\r\n")
    assert str(offer.envelope.reverse_path) == "a@example.com"


def test_replies_to_pipelined_commands_leave_in_one_write() -> None:
    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        for octets in (HELLO, ENVELOPE, CONTENT + ENVELOPE, CONTENT + b"NOOP\r\n"):
            before = peer.transport.writes
            await peer.send(octets)
            assert peer.transport.writes == before + 1

    drive(play)


@pytest.mark.parametrize("variant", END_VARIANTS)
@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("has_auth", [False, True])
@pytest.mark.parametrize("max_octets", [200, 25_000_000])
def test_no_variant_of_the_end_smuggles_a_message(
    variant: bytes, is_cut: bool, has_auth: bool, max_octets: int
) -> None:
    ports = make_ports()
    make = make_settings if has_auth else open_settings

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + (PLAIN if has_auth else b"") + ENVELOPE)
        content = b"From: a@example.com\r\n\r\n" + b"x" * 150 + variant + SMUGGLED
        said = b""
        if is_cut:
            for at in range(len(content)):
                said += await peer.send(content[at : at + 1])
        else:
            said = await peer.send(content)
        assert codes(said) == [550]
        assert peer.is_closed
        assert peer.door.counts.violations == 1

    drive(play, make(max_message_octets=max_octets), ports)
    assert intake_of(ports).accepted == []


def test_a_disconnect_does_not_cancel_a_commit() -> None:
    ports = make_ports()
    intake = intake_of(ports)
    intake.gate = asyncio.Event()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        sending = asyncio.create_task(peer.send(CONTENT))
        await intake.has_begun.wait()
        peer.disconnect()
        await sending
        assert intake.accepted == []
        assert intake.gate is not None
        intake.gate.set()
        assert peer.task is not None
        await peer.task
        assert (intake.begun, len(intake.accepted)) == (1, 1)
        assert peer.door.counts.accepted == 1

    drive(play, ports=ports)
    assert ports.budget.free == 64_000_000


def test_what_came_before_the_end_of_the_stream_is_answered() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        peer.session.data_received(HELLO + ENVELOPE + CONTENT)
        peer.session.eof_received()
        assert peer.task is not None
        await peer.task
        assert codes(await peer.quiet()) == [250, 250, 250, 354, 250]

    drive(play, ports=ports)
    assert len(intake_of(ports).accepted) == 1


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n.", b"\r\n.\r"])
def test_a_message_that_is_cut_off_is_not_accepted(end: bytes) -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE + b"From: a@example.com\r\n\r\nhello" + end)
        peer.session.eof_received()
        assert peer.task is not None
        await peer.task

    drive(play, ports=ports)
    assert intake_of(ports).accepted == []
    assert ports.budget.free == 64_000_000


@pytest.mark.parametrize(
    "reply",
    [
        local_reply(452, "4.3.1", "no room", Phase.DOT),
        local_reply(550, "5.7.1", "line\r\nbreak and ünicode", Phase.DOT),
    ],
)
def test_what_the_intake_refuses_gets_its_reply_on_one_line(reply: Any) -> None:
    ports = make_ports()
    intake_of(ports).error = NotAcceptedError(reply)

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        said = await peer.send(CONTENT + b"RCPT TO:<b@example.net>\r\n")
        assert codes(said) == [reply.code, 503]
        assert said.isascii()
        assert said.count(b"\n") == 2

    drive(play, ports=ports)


def test_when_it_cannot_be_told_whether_it_is_stored_nothing_is_said() -> None:
    ports = make_ports()
    intake_of(ports).error = PatienceOverError()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        assert await peer.send(CONTENT) == b""
        assert peer.is_closed

    drive(play, ports=ports)


def test_no_reply_waits_for_the_commit_of_the_next_message() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO)
        intake_of(ports).error = PatienceOverError()
        admission_of(ports).verdict = lambda offer: (
            local_reply(550, "5.7.1", "no", Phase.DOT)
            if b"first" in offer.body
            else None
        )
        first = CONTENT.replace(b"hello", b"first")
        said = await peer.send(ENVELOPE + first + ENVELOPE + CONTENT)
        assert codes(said) == [250, 250, 354, 550, 250, 250, 354]
        assert peer.is_closed

    drive(play, ports=ports)


def test_an_error_of_ours_is_451_with_an_id_that_the_log_knows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ports = make_ports()
    intake_of(ports).error = OSError(28, "No space left on device: '/var/spool/secret'")

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        said = await peer.send(CONTENT + b"RCPT TO:<b@example.net>\r\n")
        assert codes(said) == [451, 503]
        first = said.split(b"\r\n")[0].decode()
        assert first.startswith("451 4.3.0 temporary failure, id ")
        assert first.rpartition(" ")[2] in caplog.text
        assert b"secret" not in said
        intake_of(ports).error = None
        assert codes(await peer.send(ENVELOPE + CONTENT)) == [250, 250, 354, 250]
        assert peer.door.counts.failures == 1

    drive(play, ports=ports)
    assert ports.budget.free == 64_000_000


def test_an_error_while_a_message_is_being_read_closes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes next may be content; it must not be taken for commands."""
    caplog.set_level(logging.CRITICAL)
    ports = make_ports()

    def broken(_octets: int) -> bool:
        raise RuntimeError

    monkeypatch.setattr(ports.budget, "try_acquire", broken)

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        assert codes(await peer.send(b"QUIT\r\n")) == [451]
        assert peer.is_closed

    drive(play, ports=ports)


def test_a_large_message_is_admitted_off_the_loop() -> None:
    ports = make_ports()
    threads: list[threading.Thread] = []
    admission_of(ports).verdict = lambda _: threads.append(threading.current_thread())

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        body = b"x" * 300_000
        peer.session.data_received(b"From: a@example.com\r\n\r\n" + body + b"\r\n.\r\n")
        async with asyncio.timeout(120):
            await intake_of(ports).has_begun.wait()
        assert codes(await peer.quiet()) == [250]
        assert len(intake_of(ports).accepted[0].body) == 300_002
        await peer.send(ENVELOPE + CONTENT)
        large, small = threads
        assert large is not threading.main_thread()
        assert small is threading.main_thread()

    drive(play, ports=ports)


def test_without_memory_a_message_is_read_to_its_end_and_put_off() -> None:
    ports = make_ports(budget_octets=1_000)

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        content = b"From: a@example.com\r\n\r\n" + b"x" * 2_000
        assert await peer.send(content) == b""
        assert ports.budget.free == 1_000
        assert codes(await peer.send(b"\r\n.\r\nNOOP\r\n")) == [452, 250]
        assert codes(await peer.send(ENVELOPE + CONTENT)) == [250, 250, 354, 250]

    drive(play, ports=ports)
    assert ports.budget.free == 1_000


def test_a_message_that_is_refused_gives_its_memory_back_before_its_end() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        await peer.send(b"From: a@example.com\r\n\r\n" + b"x" * 900)
        assert ports.budget.free < 64_000_000
        await peer.send(b"x" * 200)
        assert ports.budget.free == 64_000_000
        assert codes(await peer.send(b"\r\n.\r\n")) == [552]

    drive(play, open_settings(max_message_octets=1_000), ports)


def test_a_line_without_end_is_refused_and_closed_and_holds_little() -> None:
    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        assert await peer.send(b"x" * 12_000) == b""
        assert codes(await peer.send(b"x" * 65_536)) == [500]
        assert peer.is_closed

    drive(play)


@pytest.mark.parametrize("octets", [b"NOOP\n", b"NO\rOP\r\n", b"NO\0OP\r\n"])
def test_a_stray_octet_in_a_command_closes(octets: bytes) -> None:
    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        assert codes(await peer.send(octets + b"NOOP\r\n")) == [500]
        assert peer.is_closed

    drive(play)


def test_auth_lets_in_who_knows_the_secret() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        assert codes(await peer.send(HELLO + ENVELOPE)) == [250, 530, 503, 503]
        assert codes(await peer.send(PLAIN)) == [235]
        assert codes(await peer.send(ENVELOPE + CONTENT)) == [250, 250, 354, 250]

    drive(play, make_settings(), ports)
    assert b"with ESMTPA id " in admission_of(ports).offers[0].trace[0]


def test_auth_login_asks_twice() -> None:
    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        assert codes(await peer.send(HELLO + b"AUTH LOGIN\r\n")) == [250, 334]
        assert codes(await peer.send(b64encode(b"crm") + b"\r\n")) == [334]
        assert codes(await peer.send(b64encode(SECRET.encode()) + b"\r\n")) == [235]

    drive(play, make_settings())


def test_guessing_ends_with_the_third_wrong_secret() -> None:
    ports = make_ports()
    wrong = b"AUTH PLAIN " + b64encode(b"\0crm\0wrong") + b"\r\n"

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO)
        assert codes(await peer.send(wrong)) == [535]
        assert codes(await peer.send(wrong)) == [535]
        assert codes(await peer.send(wrong + PLAIN)) == [535, 421]
        assert peer.is_closed
        assert peer.door.counts.login_failures == 3

    drive(play, make_settings(), ports)
    assert len(ports.logins.attempts) == 3  # type: ignore[attr-defined]


def test_secrets_and_what_peers_say_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = b"AUTH PLAIN " + b64encode(b"\0canary-name\0canary-secret") + b"\r\n"

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(b"EHLO canary-host\r\n" + wrong)
        await peer.send(b"MAIL FROM:<canary@example.com>\r\ncanary\r\n\x1b[31mcanary\n")

    drive(play, make_settings())
    assert caplog.records
    for record in caplog.records:
        assert "canary" not in record.getMessage()
        assert "\x1b" not in record.getMessage()
    encoded = b64encode(b"\0canary-name\0canary-secret").decode()
    assert encoded not in caplog.text


def test_a_trusted_network_is_nothing_to_a_stranger() -> None:
    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        assert codes(await peer.send(HELLO + ENVELOPE)) == [250, 550, 503, 503]

    drive(play, open_settings(), peer="192.0.2.1")


def test_two_sessions_side_by_side_do_not_touch() -> None:
    async def scene() -> None:
        ports = make_ports()
        async with (
            memory_peer(open_settings(), ports) as one,
            memory_peer(open_settings(), ports) as two,
        ):
            for peer in (one, two):
                await peer.connect()
                await peer.send(HELLO)
            await one.send(b"MAIL FROM:<one@example.com>\r\n")
            assert codes(await two.send(b"RCPT TO:<x@example.net>\r\n")) == [503]
            await two.send(b"MAIL FROM:<two@example.com>\r\n")
            await one.send(b"RCPT TO:<r1@example.net>\r\n")
            await two.send(b"RCPT TO:<r2@example.net>\r\n")
            assert codes(await one.send(b"DATA\r\n" + CONTENT)) == [354, 250]
            assert codes(await two.send(b"DATA\r\n" + CONTENT)) == [354, 250]
        assert [
            (str(envelope.reverse_path), str(envelope.recipients[0].address))
            for envelope in intake_of(ports).envelopes
        ] == [
            ("one@example.com", "r1@example.net"),
            ("two@example.com", "r2@example.net"),
        ]

    asyncio.run(scene())


def test_starttls_with_more_in_its_packet_is_hung_up_on_without_a_word() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO)
        assert await peer.send(b"STARTTLS\r\nRSET\r\n") == b""
        assert peer.is_closed
        assert peer.door.counts.violations == 1

    drive(play, open_settings(tls=TLS), ports)


def test_starttls_with_more_in_the_next_packet_is_hung_up_on() -> None:
    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO)
        peer.session.data_received(b"STARTTLS\r\n")
        peer.session.data_received(b"MAIL FROM:<a@example.com>\r\n")
        assert await peer.quiet() == b""
        assert peer.is_closed

    drive(play, open_settings(tls=TLS))


def test_what_comes_before_starttls_is_read_makes_no_command_either() -> None:
    ports = make_ports()
    intake = intake_of(ports)
    intake.gate = asyncio.Event()

    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        await peer.send(HELLO + ENVELOPE)
        peer.session.data_received(CONTENT + b"STARTTLS\r\n")
        await intake.has_begun.wait()
        peer.session.data_received(b"NOOP\r\n")
        assert intake.gate is not None
        intake.gate.set()
        assert codes(await peer.quiet()) == [250], "the message's reply, and no 220"
        assert peer.is_closed
        assert peer.door.counts.violations == 1

    drive(play, open_settings(tls=TLS), ports)


def test_a_session_that_begins_while_the_node_stops_is_told_so() -> None:
    async def play(peer: MemoryPeer) -> None:
        peer.session.connection_made(peer.transport)
        peer.session.conversation.stop()
        await peer.session.conversation.run()
        assert codes(bytes(peer.transport.written)) == [220, 421]
        assert peer.is_closed

    drive(play)


@pytest.mark.parametrize("flood", [b"x" * 200_000, b"NOOP\r\n" * 10 + b"\0" * 200_000])
def test_a_session_that_has_ended_holds_no_octets(flood: bytes) -> None:
    # It is a cycle of objects, and lives until garbage is collected.
    async def play(peer: MemoryPeer) -> None:
        await peer.connect()
        assert codes(await peer.send(HELLO + flood))[-1] == 500
        assert peer.is_closed
        conversation = peer.session.conversation
        conversation.octets_came(flood)  # was on its way
        assert conversation._lines.is_empty
        assert not conversation._inflow.octets
        assert not conversation._inflow.take()

    drive(play)
