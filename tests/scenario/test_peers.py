"""The node among real peers: swaks submits, Postfix and its sink receive.

dkimpy verifies what left. Debian's Postfix is also the positive control of the framing:
what it takes for the end of a message, the node refuses.
"""

import asyncio
import base64
import contextlib
from pathlib import Path

import dkim
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from fakes.node_process import (
    API_KEY,
    Hop,
    NodeProcess,
    dkim_pem,
    query,
    query_days,
    write_node,
)
from fakes.postfix import running_postfix, running_sink
from fakes.smuggling import END_VARIANTS, SMUGGLED
from fakes.submitting import Book, HttpClient, Letter, SmtpClient, submit_all
from mailwright.queue.delivery import State

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
#: A door as on port 587; its files are in the node's folder.
TLS_DOOR = """
[[smtp]]
listen = "127.0.0.1:0"
tls = "starttls"
certificate_file = "door.pem"
key_file = "door.key"
"""
#: Lines that a careless hop would change.
HARD_TEXT = ".\r\n..\r\n.leading dot\r\n trailing blanks  \r\n\r\n\r\nПривет ✨\r\n" + (
    "x" * 1500 + "\r\n"
)


def write_door_files(folder: Path) -> None:
    issued = trustme.CA().issue_cert("mta.example.com", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "door.key")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "door.pem", append=True)


def is_signed(content: bytes) -> bool:
    """Whether dkimpy verifies a content that was kept with LF at its lines' ends."""
    public = load_pem_private_key(dkim_pem(), None).public_key()
    octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(octets)

    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        return record if name == b"s1._domainkey.example.com." else None

    return bool(dkim.verify(content.replace(b"\n", b"\r\n"), dnsfunc=txt))


async def swaks(*options: str) -> str:
    """Run swaks and return what it says; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *("swaks", "--from", "a@example.com", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(DEADLINE_S):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def test_swaks_submits_and_the_sink_gets_it_signed(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_sink(tmp_path / "sink") as sink:
            write_door_files(tmp_path)
            settings = write_node(
                tmp_path, routes=[Hop("*", f"127.0.0.1:{sink.port}")], more=TLS_DOOR
            )
            async with NodeProcess(settings) as node:
                (host, port), (_, tls_port) = node.doors
                plain = ["--server", f"{host}:{port}"]
                login = ["-tls", "-a", "PLAIN", "-au", "crm", "-ap", API_KEY]
                secure = ["--server", f"{host}:{tls_port}", *login]
                await swaks(*plain, "--to", "b@dest.example", "--body", "one")
                said = await swaks(
                    *(*plain, "--pipeline", "--to", "c@dest.example,d@dest.example"),
                    *("--body", r".\n..two"),
                )
                assert "250-PIPELINING" in said
                said = await swaks(*secure, "--to", "e@dest.example", "--body", "three")
                assert "TLS started" in said
                letters = await sink.wait_letters(4)
                assert await node.stop() == 0, node.text
        assert all(map(is_signed, letters))
        assert {
            line.split(b"<")[1].split(b">")[0]
            for letter in letters
            for line in letter.splitlines()
            if line.startswith(b"X-Rcpt-Args:")
        } == {f"{who}@dest.example".encode() for who in "bcde"}
        assert sum(b"\n.\n..two\n" in letter for letter in letters) == 2

    asyncio.run(main())


@pytest.mark.parametrize("pipelining", ["none", "commands", "transactions"])
def test_postfix_takes_what_we_send_over_tls_unchanged(
    tmp_path: Path, pipelining: str
) -> None:
    async def main() -> None:
        async with running_postfix(tmp_path / "postfix") as postfix:
            settings = write_node(
                tmp_path,
                routes=[
                    Hop("*", f"127.0.0.1:{postfix.port}", pipelining, "opportunistic")
                ],
            )
            async with NodeProcess(settings) as node:
                client = HttpClient(node.http)
                for number in range(5):
                    await client.send(
                        to=[f"h{number}@dest.example"],
                        subject="Проверка ✨ связи",
                        text=HARD_TEXT,
                        html="<p>Привет</p>",
                    )
                letters = [
                    Letter(f"s{number}", (f"s{number}@dest.example",), 4_000)
                    for number in range(40)
                ]
                # The peer does not relay: this one comes to nothing.
                letters.append(Letter("no", ("no@elsewhere.example",)))
                await submit_all(node.smtp, letters, Book())
                kept = await postfix.wait_letters(45)
                async with asyncio.timeout(DEADLINE_S):
                    while query(settings, "SELECT id FROM deliveries"):
                        await asyncio.sleep(0.05)
                events = await client.events()
                await client.close()
                assert await node.stop() == 0, node.text
        assert len(kept) == 45
        assert all(map(is_signed, kept))
        assert all(b"with ESMTPS id" in each for each in kept)
        assert all(b"Return-Path: <a@example.com>\n" in each for each in kept)
        delivered = [each for each in events if each["type"] == "delivered"]
        assert {each["data"]["tls"] for each in delivered} == {"TLSv1.3"}
        assert {each["recipient"] for each in delivered} == {
            line.partition(b": ")[2].decode()
            for each in kept
            for line in each.splitlines()
            if line.startswith(b"X-Original-To: ")
        }
        states = query_days(settings, "finished", "recipient, state, code")
        bounced = [each for each in states if each[1] == State.BOUNCED]
        assert bounced == [("no@elsewhere.example", State.BOUNCED, 554)]

    asyncio.run(main())


async def smuggle(address: tuple[str, int], variant: bytes) -> bytes:
    """Send a message with ``variant`` and a second envelope in its middle.

    Returns all that was said after the first half had been asked for.
    """
    client = await SmtpClient.connect(address)
    try:
        await client.say(b"MAIL FROM:<a@example.com>\r\n", b"250")
        await client.say(b"RCPT TO:<b@dest.example>\r\n", b"250")
        await client.say(b"DATA\r\n", b"354")
        head = b"From: <a@example.com>\r\nSubject: one\r\n\r\nfirst half"
        tail = b"\r\n.\r\nQUIT\r\n"
        return await client.say_all(head + variant + SMUGGLED + tail)
    finally:
        await client.close()


def test_what_postfix_takes_for_an_end_the_node_refuses(tmp_path: Path) -> None:
    async def main() -> None:
        ended_early = []
        async with running_postfix(tmp_path / "postfix") as postfix:
            for variant in END_VARIANTS:
                said = await smuggle(("127.0.0.1", postfix.port), variant)
                if said.count(b"250 2.0.0 Ok: queued as") > 1:
                    ended_early.append(variant)
            await postfix.wait_idle()
            smuggled = postfix.log.count("to=<victim@example.net>")
        # Without this the test would not tell a server that can be fooled.
        assert len(ended_early) >= 4
        assert smuggled == len(ended_early)

        settings = write_node(tmp_path)
        async with NodeProcess(settings) as node:
            for variant in END_VARIANTS:
                said = await smuggle(node.smtp, variant)
                replies = said.splitlines()
                assert replies[0].startswith(b"55"), (variant, said)
                # The rest of the stream was not read as commands.
                assert len(replies) == 1, (variant, said)
            assert query(settings, "SELECT id FROM messages") == []
            await submit_all(node.smtp, [Letter("t", ("t@dest.example",))], Book())
            assert await node.stop() == 0, node.text

    asyncio.run(main())


@pytest.mark.parametrize(
    "packets",
    [
        [b"STARTTLS\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@dest.example>\r\n"],
        [b"STARTTLS\r\nN", b"OOP\r\n"],
        [b"STARTTLS\r\n", b"MAIL FROM:<a@example.com>\r\n"],
        [b"STARTTLS\r\n", b"NOOP\r\n" * 2000],
    ],
    ids=["envelope", "half a command", "behind the reply", "a flood"],
)
def test_nothing_that_was_sent_in_clear_is_obeyed_after_starttls(
    tmp_path: Path, packets: list[bytes]
) -> None:
    async def main() -> None:
        write_door_files(tmp_path)
        settings = write_node(tmp_path, more=TLS_DOOR)
        async with NodeProcess(settings) as node:
            client = await SmtpClient.connect(node.doors[1])
            try:
                said = b""
                for packet in packets[:-1]:
                    with contextlib.suppress(ConnectionError):
                        said += await client.say(packet, b"220")
                said += await client.say_all(packets[-1])
            finally:
                await client.close()
            # Neither obeyed in clear, nor kept for later: the connection is over.
            assert b"250" not in said
            assert said in {b"", b"220 2.0.0 ready to start TLS\r\n"} or (
                said.startswith(b"220") and said.count(b"\r\n") == 1
            )
            assert await node.stop() == 0, node.text

    asyncio.run(main())
