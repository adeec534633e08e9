"""A door with real sockets, real TLS and other people's clients, on both event loops."""

import asyncio
import errno
import smtplib
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiosmtplib
import pytest
import trustme
import uvloop

from fakes.door import (
    SECRET,
    codes,
    intake_of,
    make_ports,
    make_settings,
    open_settings,
)
from mailwright.mta.submission.door import DoorPorts
from mailwright.mta.submission.listener import Listener
from mailwright.mta.submission.settings import DoorSettings

HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
CONTENT = b"From: a@example.com\r\n\r\nhello\r\n.\r\n"
MESSAGE = "From: a@example.com\r\nTo: b@example.net\r\n\r\n.dot\r\nпривет\r\n".encode()


@dataclass(frozen=True)
class Certificates:
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Certificates(server, client)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Return what runs a scene within 20 s, on each of the two loops."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(scene: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(120):
                await scene

        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(bounded())

    return runner


@dataclass
class OpenDoor:
    listener: Listener
    ports: DoorPorts
    port: int

    async def connect(self) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return Client(reader, writer)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def talk(self, octets: bytes, until: bytes = b" ") -> bytes:
        """Send ``octets``; return the reply whose last line has ``until`` at place 4."""
        self.writer.write(octets)
        return await self.reply(until)

    async def reply(self, until: bytes = b" ") -> bytes:
        said = b""
        while line := await self.reader.readline():
            said += line
            if line[3:4] == until:
                break
        return said

    async def rest(self) -> bytes:
        """Return all that is said until the end of the connection."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            return


@asynccontextmanager
async def open_door(settings: DoorSettings) -> AsyncIterator[OpenDoor]:
    ports = make_ports()
    listener = Listener(settings, ports)
    await listener.open()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.run())
        yield OpenDoor(listener, ports, listener.addresses[0][1])
        await listener.close(within_s=5)
    assert listener.open_connections == 0
    assert listener.addresses == []


def starttls_settings(certificates: Certificates) -> DoorSettings:
    return make_settings(tls=certificates.server, allows_clear_auth=False)


def implicit_settings(certificates: Certificates, **changes: Any) -> DoorSettings:
    return make_settings(
        tls=certificates.server,
        is_implicit_tls=True,
        allows_clear_auth=False,
        **changes,
    )


async def in_thread(door: OpenDoor, talk: Callable[[int], None]) -> None:
    await asyncio.to_thread(talk, door.port)


def check_received(door: OpenDoor, protocol: bytes) -> None:
    (submission,) = intake_of(door.ports).accepted
    assert submission.header.endswith(
        b"From: a@example.com\r\nTo: b@example.net\r\n\r\n"
    )
    assert submission.body == ".dot\r\nпривет\r\n".encode()
    assert b" with " + protocol + b" id " in submission.header
    envelope = submission.envelope
    assert str(envelope.reverse_path) == "a@example.com"
    assert [str(taken.address) for taken in envelope.recipients] == ["b@example.net"]


def test_smtplib_submits_in_clear_from_a_named_network(run: Any) -> None:
    def talk(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=120) as client:
            assert client.sendmail("a@example.com", ["b@example.net"], MESSAGE) == {}

    async def scene() -> None:
        async with open_door(open_settings()) as door:
            await in_thread(door, talk)
            check_received(door, b"ESMTP")

    run(scene())


def test_smtplib_submits_with_starttls_and_auth(
    run: Any, certificates: Certificates
) -> None:
    def talk(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=120) as client:
            client.ehlo()
            assert not client.has_extn("auth")
            client.starttls(context=certificates.client)
            client.login("crm", SECRET)
            client.sendmail("a@example.com", ["b@example.net"], MESSAGE)

    async def scene() -> None:
        async with open_door(starttls_settings(certificates)) as door:
            await in_thread(door, talk)
            check_received(door, b"ESMTPSA")

    run(scene())


def test_smtplib_submits_over_implicit_tls(
    run: Any, certificates: Certificates
) -> None:
    def talk(port: int) -> None:
        with smtplib.SMTP_SSL(
            "127.0.0.1", port, timeout=120, context=certificates.client
        ) as client:
            client.login("crm", SECRET)
            client.sendmail(
                "a@example.com",
                ["b@example.net"],
                MESSAGE,
                ["BODY=8BITMIME", "RET=HDRS"],
            )

    async def scene() -> None:
        async with open_door(implicit_settings(certificates)) as door:
            await in_thread(door, talk)
            check_received(door, b"ESMTPSA")
            assert intake_of(door.ports).envelopes[0].has_8bit

    run(scene())


def test_aiosmtplib_submits_and_sees_a_wrong_secret_refused(
    run: Any, certificates: Certificates
) -> None:
    async def scene() -> None:
        async with open_door(starttls_settings(certificates)) as door:
            client = aiosmtplib.SMTP(
                hostname="127.0.0.1",
                port=door.port,
                start_tls=True,
                tls_context=certificates.client,
            )
            async with client:
                with pytest.raises(aiosmtplib.SMTPAuthenticationError):
                    await client.login("crm", "wrong")
                await client.login("crm", SECRET)
                await client.sendmail("a@example.com", ["b@example.net"], MESSAGE)
            check_received(door, b"ESMTPSA")

    run(scene())


@pytest.mark.parametrize(
    "injected", [b"NOOP\r\n", b"MAIL FROM:<a@example.com>\r\n", b"x"]
)
def test_what_is_injected_behind_starttls_ends_the_connection(
    run: Any, certificates: Certificates, injected: bytes
) -> None:
    async def scene() -> None:
        async with open_door(starttls_settings(certificates)) as door:
            client = await door.connect()
            await client.reply()
            await client.talk(HELLO)
            client.writer.write(b"STARTTLS\r\n" + injected)
            assert await client.rest() == b""
            await client.close()
            assert door.listener.statistics().violations == 1

    run(scene())


def test_what_is_injected_in_the_next_packet_never_becomes_a_command(
    run: Any, certificates: Certificates
) -> None:
    """It may still meet the session, or already the handshake: both end it."""

    async def scene() -> None:
        async with open_door(starttls_settings(certificates)) as door:
            client = await door.connect()
            await client.reply()
            await client.talk(HELLO)
            client.writer.write(b"STARTTLS\r\n")
            await asyncio.sleep(0)
            client.writer.write(b"NOOP\r\nNOOP\r\n")
            said = await client.rest()
            assert b"250" not in said
            await client.close()

    run(scene())


def test_after_tls_everything_must_be_said_again(
    run: Any, certificates: Certificates
) -> None:
    async def scene() -> None:
        settings = make_settings(tls=certificates.server)
        async with open_door(settings) as door:
            client = await door.connect()
            await client.reply()
            await client.talk(HELLO)
            claim = b64encode(b"\0crm\0" + SECRET.encode())
            assert codes(await client.talk(b"AUTH PLAIN " + claim + b"\r\n")) == [235]
            assert codes(await client.talk(b"STARTTLS\r\n")) == [220]
            await client.writer.start_tls(
                certificates.client, server_hostname="127.0.0.1"
            )
            mail = b"MAIL FROM:<a@example.com>\r\n"
            assert codes(await client.talk(mail)) == [503]
            assert b"STARTTLS" not in await client.talk(HELLO)
            assert codes(await client.talk(mail)) == [530]
            await client.close()

    run(scene())


def test_connections_are_limited_in_number_and_by_address(run: Any) -> None:
    async def scene() -> None:
        settings = make_settings(max_connections=3, max_connections_per_ip=2)
        async with open_door(settings) as door:
            kept = [await door.connect() for _ in range(2)]
            assert [codes(await client.reply()) for client in kept] == [[220], [220]]
            refused = await door.connect()
            assert codes(await refused.rest()) == [421]
            await refused.close()
            assert door.listener.statistics().refused_connections == 1
            kept[0].writer.write(b"QUIT\r\n")
            assert codes(await kept[0].rest()) == [221]
            again = await door.connect()
            assert codes(await again.reply()) == [220]
            for client in (*kept, again):
                await client.close()

        async with open_door(
            open_settings(max_connections=3, max_connections_per_ip=1)
        ) as door:
            kept = [await door.connect() for _ in range(3)]
            assert [codes(await client.reply()) for client in kept] == [[220]] * 3
            refused = await door.connect()
            assert codes(await refused.rest()) == [421]
            for client in (*kept, refused):
                await client.close()

    run(scene())


def test_a_handshake_that_never_comes_counts_and_ends(
    run: Any, certificates: Certificates
) -> None:
    async def scene() -> None:
        settings = implicit_settings(certificates, max_connections=1, tls_timeout_s=0.2)
        async with open_door(settings) as door:
            silent = await door.connect()
            while not door.listener.open_connections:
                await asyncio.sleep(0)
            refused = await door.connect()
            assert await refused.rest() == b""
            assert await silent.rest() == b""
            await silent.close()
            await refused.close()
            while door.listener.open_connections:
                await asyncio.sleep(0)

    run(scene())


def test_garbage_instead_of_a_handshake_ends(
    run: Any, certificates: Certificates
) -> None:
    async def scene() -> None:
        async with open_door(implicit_settings(certificates)) as door:
            client = await door.connect()
            client.writer.write(HELLO)
            assert b"250" not in await client.rest()
            await client.close()

    run(scene())


def test_closing_tells_the_idle_and_waits_for_the_busy(run: Any) -> None:
    async def scene() -> None:
        async with open_door(open_settings()) as door:
            intake = intake_of(door.ports)
            intake.gate = asyncio.Event()
            idle, busy, begun = [await door.connect() for _ in range(3)]
            for client in (idle, busy, begun):
                await client.reply()
                await client.talk(HELLO)
            await begun.talk(b"MAIL FROM:<a@example.com>\r\n")
            busy.writer.write(ENVELOPE + CONTENT)
            await intake.has_begun.wait()

            closing = asyncio.create_task(door.listener.close(within_s=120))
            assert codes(await idle.rest()) == [421]
            with pytest.raises(ConnectionRefusedError):
                await door.connect()
            assert not closing.done()
            begun.writer.write(b"RCPT TO:<b@example.net>\r\nDATA\r\n" + CONTENT)
            intake.gate.set()
            assert codes(await busy.rest()) == [250, 250, 354, 250, 421]
            assert codes(await begun.rest()) == [250, 354, 250, 421]
            await closing
            assert len(intake.accepted) == 2
            for client in (idle, busy, begun):
                await client.close()

    run(scene())


def test_closing_cuts_who_does_not_finish(run: Any) -> None:
    async def scene() -> None:
        async with open_door(open_settings()) as door:
            client = await door.connect()
            await client.reply()
            await client.talk(HELLO)
            await client.talk(b"MAIL FROM:<a@example.com>\r\n")
            await door.listener.close(within_s=0.05)
            assert await client.rest() == b""
            await client.close()

    run(scene())


def test_a_client_that_resets_leaves_nothing_behind(run: Any) -> None:
    def vanish(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.recv(1_000)
            client.sendall(HELLO + ENVELOPE + b"x" * 10_000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async def scene() -> None:
        async with open_door(open_settings()) as door:
            for _ in range(3):
                await in_thread(door, vanish)
            while door.listener.open_connections:
                await asyncio.sleep(0)
            assert door.ports.budget.free == 64_000_000
            assert intake_of(door.ports).accepted == []

    run(scene())


def test_new_limits_and_certificates_act_on_the_next_connection(
    run: Any, certificates: Certificates
) -> None:
    other = trustme.CA()
    renewed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.issue_cert("127.0.0.1").configure_cert(renewed)
    trusting = ssl.create_default_context()
    other.configure_trust(trusting)

    async def offered(door: OpenDoor, context: ssl.SSLContext) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", door.port, ssl=context
        )
        client = Client(reader, writer)
        await client.reply()
        said = await client.talk(HELLO)
        await client.close()
        return said

    async def scene() -> None:
        async with open_door(implicit_settings(certificates)) as door:
            assert b"SIZE 25000000\r\n" in await offered(door, certificates.client)
            door.listener.apply(
                implicit_settings(
                    Certificates(renewed, trusting), max_message_octets=1_000
                )
            )
            assert b"SIZE 1000\r\n" in await offered(door, trusting)
            with pytest.raises(ssl.SSLError):
                await offered(door, certificates.client)

    run(scene())


def test_without_a_file_descriptor_left_accepting_pauses_and_goes_on(
    run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mailwright.mta.submission.listener._ACCEPT_PAUSE_S", 0.01)
    accept = socket.socket.accept
    failures = 3

    def failing(listening: socket.socket) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    async def scene() -> None:
        async with open_door(open_settings()) as door:
            monkeypatch.setattr(socket.socket, "accept", failing)
            client = await door.connect()
            assert codes(await client.reply()) == [220]
            await client.close()
        assert caplog.text.count("cannot accept") == 3

    run(scene())


def test_an_address_in_use_is_an_error_at_open(run: Any) -> None:
    async def scene() -> None:
        async with open_door(open_settings()) as door:
            second = Listener(open_settings(port=door.port), make_ports())
            with pytest.raises(OSError, match="in use"):
                await second.open()
            assert second.addresses == []

    run(scene())


def test_a_listener_that_is_not_open_does_not_run() -> None:
    async def scene() -> None:
        listener = Listener(open_settings(), make_ports())
        with pytest.raises(RuntimeError):
            await listener.run()
        await listener.close(within_s=1)

    asyncio.run(scene())


@pytest.mark.parametrize(
    "changes", [{"is_implicit_tls": True}, {"network_credential": ""}]
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need"):
        open_settings(**changes)
