"""Receivers by an independent client, and by raw octets where a client is too polite."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiosmtplib
import pytest

from mailwright.sandbox.behaviour import Behaviour, Loss, Moment, TlsOffer
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain
from mailwright.sandbox.session import Session

SENDER = "a@b.test"
CONTENT = b"Message-ID: <1@b.test>\r\nSubject: x\r\n\r\n.dot\r\n..\r\nend\r\n"
HELLO = b"EHLO me\r\n"
MAIL = b"MAIL FROM:<a@b.test>\r\n"


def drive(
    scene: Callable[[Internet], Awaitable[None]],
    behaviour: Behaviour | None = None,
) -> None:
    """Run ``scene`` with an internet whose domain ``d.test`` has ``behaviour``."""

    async def run() -> None:
        domain = SandboxDomain("d.test", behaviour or Behaviour())
        settings = InboxSettings(keep_content=True, verify_share=0)
        async with asyncio.timeout(120), Internet([domain], inbox=settings) as net:
            await scene(net)

    asyncio.run(run())


def client(net: Internet) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname="127.0.0.2", port=net.smtp_port, start_tls=False, timeout=120
    )


async def talk(net: Internet, *packets: bytes) -> bytes:
    """Send each packet after an answer to the one before; return all that came back."""
    reader, writer = await asyncio.open_connection("127.0.0.2", net.smtp_port)
    said = await reader.readline()
    try:
        for packet in packets[:-1]:
            writer.write(packet)
            said += await reader.read(65_536)
        writer.write(packets[-1])
        while data := await reader.read(65_536):
            said += data
    except ConnectionError:
        said += b"<reset>"
    finally:
        writer.close()
    return said


def codes(said: bytes) -> list[int]:
    return [int(line[:3]) for line in said.splitlines() if line[3:4] == b" "]


def test_a_message_arrives_as_it_was_and_is_counted() -> None:
    async def scene(net: Internet) -> None:
        async with client(net) as smtp:
            for _ in range(2):
                await smtp.sendmail(SENDER, ["u@d.test", "v@D.TEST"], CONTENT)
        first = net.inbox.letters[0]
        assert first.content == CONTENT
        assert first.recipients == ("u@d.test", "v@d.test")
        assert first.message_id == "<1@b.test>"
        assert (net.inbox.totals.copies, net.inbox.totals.distinct) == (4, 2)
        assert net.inbox.totals.duplicates == 2
        assert net.inbox.count_of("u@d.test") == 2

    drive(scene)


def test_the_extensions_are_offered() -> None:
    async def scene(net: Internet) -> None:
        async with client(net) as smtp:
            await smtp.ehlo()
            offered = set(smtp.esmtp_extensions)
        assert offered == {
            "pipelining",
            "size",
            "8bitmime",
            "smtputf8",
            "enhancedstatuscodes",
            "dsn",
            "starttls",
        }

    drive(scene)


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_pipelined_commands_are_answered_in_order_however_they_arrive(cut: int) -> None:
    script = (
        HELLO
        + MAIL
        + b"RCPT TO:<550-5.1.1@d.test>\r\nRCPT TO:<u@d.test>\r\nDATA\r\n"
        + b"x: y\r\n\r\n..a\r\n.\r\n"
        + MAIL
        + b"RCPT TO:<x@foreign.test>\r\nDATA\r\nRSET\r\nQUIT\r\n"
    )

    async def scene(net: Internet) -> None:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.2", net.smtp_port)
        for at in range(0, len(script), cut):
            writer.write(script[at : at + cut])
            await writer.drain()
        said = await reader.read()
        writer.close()
        assert loop.is_running()
        assert codes(said) == [
            *[220, 250, 250, 550, 250, 354, 250],
            *[250, 550, 554, 250, 221],
        ]
        assert [letter.content for letter in net.inbox.letters] == [
            b"x: y\r\n\r\n.a\r\n"
        ]

    drive(scene)


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (MAIL + MAIL, 503),
        (b"RCPT TO:<u@d.test>\r\n", 503),
        (b"DATA\r\n", 503),
        (b"MAIL FROM: <a@b.test>\r\n", 501),
        (b"MAIL FROM:<a@b.test> FOO=1\r\n", 555),
        (b"MAIL FROM:<a@b.test> SIZE=999999999\r\n", 552),
        ("MAIL FROM:<ё@b.test>\r\n".encode(), 553),
        ("MAIL FROM:<ё@b.test> SMTPUTF8\r\n".encode(), 250),
        (MAIL + "RCPT TO:<ё@d.test>\r\n".encode(), 553),
        (MAIL + b"RCPT TO:<u@d.test> NOTIFY=NEVER ORCPT=rfc822;u@d.test\r\n", 250),
        (MAIL + b"RCPT TO:<u@d.test> FOO\r\n", 555),
        (MAIL + b"RCPT TO:<u>\r\n", 501),
        (b"WHAT\r\n", 500),
        (b"NOOPS\r\n", 500),
        (b"STARTLS\r\n", 500),
    ],
)
def test_commands_that_are_wrong_or_just_right(commands: bytes, code: int) -> None:
    async def scene(net: Internet) -> None:
        said = codes(await talk(net, HELLO, commands + b"QUIT\r\n"))
        assert (said[-2], said[-1]) == (code, 221)

    drive(scene)


@pytest.mark.parametrize(
    "content",
    [b"a\nb\r\n.\r\n", b"a\rb\r\n.\r\n", b"a\r\n.\nb\r\n.\r\n", b"a\0b\r\n.\r\n"],
)
def test_a_bare_line_end_is_refused_and_counted(content: bytes) -> None:
    async def scene(net: Internet) -> None:
        start = MAIL + b"RCPT TO:<u@d.test>\r\nDATA\r\n"
        said = await talk(net, HELLO, start, content)
        assert codes(said)[-1] == 554
        assert net.inbox.totals.copies == 0
        assert net.tallies["mx.d.test"].violations.total() == 1

    drive(scene)


@pytest.mark.parametrize("line", [b"NOOP\nNOOP\r\n", b"NOOP\n", b"x" * 5000])
def test_a_command_that_does_not_end_as_it_must_ends_the_connection(
    line: bytes,
) -> None:
    async def scene(net: Internet) -> None:
        assert codes(await talk(net, HELLO, line))[-1] in {554, 500}
        assert net.tallies["mx.d.test"].violations.total() == 1

    drive(scene)


def test_eight_bit_content_has_to_be_declared() -> None:
    async def scene(net: Internet) -> None:
        async with client(net) as smtp:
            for options in ([], ["BODY=8BITMIME"]):
                await smtp.ehlo()
                content = "x: y\r\n\r\nё\r\n".encode()
                await smtp.sendmail(SENDER, ["u@d.test"], content, mail_options=options)
        marks = [letter.is_undeclared_8bit for letter in net.inbox.letters]
        assert marks == [True, False]

    drive(scene)


def test_starttls_with_a_certificate_that_can_be_verified() -> None:
    async def scene(net: Internet) -> None:
        context = ssl.create_default_context(cadata=net.certificate_pem.decode())
        async with client(net) as smtp:
            await smtp.starttls(
                server_hostname="mx.d.test", tls_context=context, timeout=120
            )
            await smtp.ehlo()
            assert "starttls" not in smtp.esmtp_extensions
            await smtp.sendmail(SENDER, ["u@d.test"], CONTENT)
        assert net.inbox.letters[0].is_tls
        assert net.tallies["mx.d.test"].tls == 1

    drive(scene)


def test_what_follows_starttls_in_its_packet_ends_the_connection() -> None:
    async def scene(net: Internet) -> None:
        said = await talk(net, HELLO, b"STARTTLS\r\nNOOP\r\n")
        assert codes(said)[-1] == 503
        assert net.tallies["mx.d.test"].violations["after STARTTLS"] == 1

    drive(scene)


def test_tls_that_is_not_offered() -> None:
    async def scene(net: Internet) -> None:
        said = await talk(net, HELLO, b"STARTTLS\r\nQUIT\r\n")
        assert b"STARTTLS" not in said
        assert codes(said) == [220, 250, 454, 221]

    drive(scene, Behaviour(tls=TlsOffer.NONE))


def test_tls_that_is_offered_and_broken() -> None:
    async def scene(net: Internet) -> None:
        said = await talk(net, HELLO, b"STARTTLS\r\n")
        promised, _, given = said.partition(b"start TLS\r\n")
        assert b"STARTTLS" in promised
        assert given == b"but there is none\r\n"

    drive(scene, Behaviour(tls=TlsOffer.BROKEN))


def test_a_handshake_that_breaks_off_leaves_nothing_behind() -> None:
    async def scene(net: Internet) -> None:
        await talk(net, HELLO, b"STARTTLS\r\n", b"this is no handshake\r\n")
        tally = net.tallies["mx.d.test"]
        assert (tally.violations["TLS handshake"], tally.tls, tally.open) == (1, 0, 0)

    drive(scene)


@pytest.mark.parametrize(
    ("local_part", "copies"),
    [("drop-data", 0), ("drop-dot", 0), ("drop-taken", 1), ("reset-taken", 1)],
)
def test_a_connection_lost_amid_a_transaction(local_part: str, copies: int) -> None:
    async def scene(net: Internet) -> None:
        start = MAIL + f"RCPT TO:<{local_part}@d.test>\r\nDATA\r\n".encode()
        said = await talk(net, HELLO, start, b"x: y\r\n\r\n.\r\n")
        assert codes(said) == [220, 250, 250, 250, 354]
        assert said.endswith(b"<reset>") or not local_part.startswith("reset")
        assert net.inbox.totals.copies == copies
        assert net.tallies["mx.d.test"].lost == 1

    drive(scene)


def test_a_connection_lost_at_rcpt() -> None:
    async def scene(net: Internet) -> None:
        said = await talk(net, HELLO, MAIL + b"RCPT TO:<drop-rcpt@d.test>\r\n")
        assert codes(said) == [220, 250, 250]

    drive(scene)


def test_a_refusal_after_the_dot_ends_the_transaction_only() -> None:
    async def scene(net: Internet) -> None:
        async with client(net) as smtp:
            with pytest.raises(aiosmtplib.SMTPDataError) as refused:
                await smtp.sendmail(SENDER, ["554-5.7.1-dot-x1@d.test"], CONTENT)
            assert refused.value.code == 554
            await smtp.sendmail(SENDER, ["554-5.7.1-dot-x1@d.test"], CONTENT)
        assert net.inbox.totals.copies == 1
        assert net.tallies["mx.d.test"].refused == {554: 1}

    drive(scene)


def test_a_domain_that_loses_every_connection_after_taking_makes_copies() -> None:
    async def scene(net: Internet) -> None:
        for _ in range(3):
            async with client(net) as smtp:
                with pytest.raises(aiosmtplib.SMTPServerDisconnected):
                    await smtp.sendmail(SENDER, ["u@d.test"], CONTENT)
        assert net.inbox.totals.duplicates == 2

    drive(scene, Behaviour(loss=Loss(Moment.TAKEN), loss_share=1.0))


class Timers:
    """Notes how long a session wants to wait, and lets no time pass for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[float] = []
        original = Session._hold

        def hold(session: Session, reply: bytes, delay_s: float) -> None:
            self.waits.append(delay_s)
            original(session, reply, 0)

        monkeypatch.setattr(Session, "_hold", hold)


def test_a_slow_receiver_waits_before_the_banner_and_every_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timers = Timers(monkeypatch)

    async def scene(net: Internet) -> None:
        said = await talk(
            net, HELLO + b"NOOP\r\nNOOP\r\nRSET\r\n" + MAIL + b"DATA\r\nFOO\r\n\n"
        )
        assert codes(said)[:-1] == [220, 250, 250, 250, 250, 250, 554, 500]

    drive(scene, Behaviour(banner_delay_s=30, reply_delay_s=10))
    assert timers.waits == [30, *[10] * 7]


def test_a_tarpit_sends_its_replies_octet_by_octet() -> None:
    async def scene(net: Internet) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.2", net.smtp_port)
        first = await reader.read(65_536)
        rest = await reader.readuntil(b"\r\n")
        writer.close()
        assert len(first) < 5
        assert first + rest == b"220 mx.d.test ESMTP\r\n"

    drive(scene, Behaviour(trickle_s=0.001))


def test_closing_cuts_open_connections() -> None:
    async def run() -> bytes:
        async with Internet(["d.test"], inbox=InboxSettings(verify_share=0)) as net:
            reader, writer = await asyncio.open_connection("127.0.0.2", net.smtp_port)
            await reader.readline()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    assert asyncio.run(run()) == b""


def test_a_full_inbox_stops_reading_until_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailwright.sandbox.inbox.MAX_WAITING_OCTETS", 10)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            async with asyncio.timeout(120), Internet(["d.test"], executor=pool) as net:
                async with client(net) as smtp:
                    for _ in range(5):
                        await smtp.sendmail(SENDER, ["u@d.test"], CONTENT)
                await net.inbox.wait_verified()
                assert net.inbox.totals.unverified == 5

    asyncio.run(run())
