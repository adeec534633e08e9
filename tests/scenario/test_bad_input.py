"""What bad input gets, at the doors of a node that runs: never a crash, never mail."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import trustme

from fakes.node_process import API_KEY, NodeProcess, query, write_node
from fakes.submitting import SmtpClient
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet

pytestmark = pytest.mark.scenario

DEADLINE_S = 300.0
LIMITS = "[limits]\nmax_message = 64000\nmax_header = 4000\nconnections_per_ip = 500\n"
#: A door for who logs in.
CLOSED = """
[[smtp]]
listen = "127.0.0.1:0"
tls = "starttls"
certificate_file = "tls.pem"
key_file = "tls.key"
"""
EHLO = b"EHLO client.example.com\r\n"
MAIL, RCPT = b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@a.example>\r\n"
HEADER = b"From: a@example.com\r\nSubject: x\r\n\r\n"

BROKEN_MIME = (
    b"From: a@example.com\r\nSubject: broken\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b\r\n'
    b"Content-Transfer-Encoding: base63\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=\r\n\r\n=ZZ\r\n--b--x\r\n--b\r\n"
)


def transaction(content: bytes) -> list[bytes]:
    """Return what a client sends, write by write; the replies are read in between."""
    return [EHLO, MAIL, RCPT, b"DATA\r\n", content]


#: What is sent, and how the last reply begins. ``+`` after it: the connection closes.
SMTP: dict[str, tuple[list[bytes], str]] = {
    "address": ([EHLO, MAIL, b"RCPT TO:<b@nowhere..example>\r\n"], "550 5.1.3"),
    "literal": ([EHLO, MAIL, b"RCPT TO:<b@[192.0.2.1]>\r\n"], "550 5.1.3"),
    "declared size": ([EHLO, MAIL[:-2] + b" SIZE=64001\r\n"], "552 5.3.4"),
    "size": (
        transaction(HEADER + (b"x" * 70 + b"\r\n") * 1000 + b".\r\n"),
        "552 5.3.4",
    ),
    "bare LF": (transaction(HEADER + b"a\nb\r\n.\r\n"), "550 +"),
    "bare CR": (transaction(HEADER + b"a\rb\r\n.\r\n"), "550 +"),
    "NUL": (transaction(HEADER + b"a\0b\r\n.\r\n"), "550 +"),
    "no From": (transaction(b"Subject: x\r\n\r\nx\r\n.\r\n"), "550 "),
    "foreign From": (
        transaction(b"From: ceo@bank.example\r\n\r\nx\r\n.\r\n"),
        "550 5.7.1",
    ),
    "two authors": (
        transaction(b"From: a@example.com, b@example.com\r\n\r\nx\r\n.\r\n"),
        "550 ",
    ),
}

GOOD = {"from": "a@example.com", "to": ["b@a.example"], "subject": "x", "text": "x"}
#: What is posted, the status, and the field that the problem names.
HTTP: dict[str, tuple[dict[str, object], int, str]] = {
    "address": ({**GOOD, "to": ["b@nowhere..example"]}, 422, "to"),
    "unknown field": ({**GOOD, "colour": "red"}, 422, "colour"),
    "size": ({**GOOD, "text": "x" * 70_000}, 413, ""),
    "foreign From": ({**GOOD, "from": "ceo@bank.example"}, 422, "from"),
    "no From": ({each: GOOD[each] for each in GOOD if each != "from"}, 422, "from"),
    "LF": ({**GOOD, "subject": "x\nBcc: c@a.example"}, 422, "subject"),
    "CRLF": ({**GOOD, "headers": {"X-A": "x\r\nBcc: c@a.example"}}, 422, "headers"),
}


def drive(
    tmp_path: Path, test: Callable[[NodeProcess, Internet], Awaitable[None]]
) -> None:
    """Run ``test`` against a node; whatever it did, the node takes good mail after it."""

    async def main() -> None:
        inbox = InboxSettings(keep_content=True)
        async with Internet(["a.example"], inbox=inbox) as net:
            certificate = trustme.CA().issue_cert("mta.example.com")
            certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
            certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.pem")
            settings = write_node(
                tmp_path,
                nameserver=net.nameserver,
                smtp_port=net.smtp_port,
                more=LIMITS + CLOSED,
            )
            async with NodeProcess(settings) as node, asyncio.timeout(DEADLINE_S):
                await test(node, net)
                assert await replies(node.smtp, transaction(HEADER + b"x\r\n.\r\n"))
                assert not node.has_ended

    asyncio.run(main())


async def replies(
    address: tuple[str, int], writes: list[bytes], *, closes: bool = False
) -> str:
    """Return the reply to the last write, with a ``+`` when the connection closes.

    With ``closes`` it is waited for; else it is looked at for a moment only.
    """
    reader, writer = await asyncio.open_connection(*address)
    await reader.readline()
    said = b""
    for octets in writes:
        writer.write(octets)
        said = await read_reply(reader)
    try:
        async with asyncio.timeout(120 if closes else 0.2):
            end = not await reader.read(1)
    except TimeoutError:
        end = False
    writer.close()
    return said.decode() + ("+" if end else "")


async def read_reply(reader: asyncio.StreamReader) -> bytes:
    while line := await reader.readline():
        if line[3:4] == b" ":
            return line
    return b""


def test_over_smtp(tmp_path: Path) -> None:
    async def test(node: NodeProcess, net: Internet) -> None:
        found = {
            name: await replies(node.smtp, writes, closes="+" in begins)
            for name, (writes, begins) in SMTP.items()
        }
        wrong = {
            name: reply
            for name, reply in found.items()
            if not reply.startswith(SMTP[name][1].removesuffix("+"))
            or reply.endswith("+") != SMTP[name][1].endswith("+")
            or str(tmp_path) in reply
        }
        assert not wrong
        assert not stored(node)

    drive(tmp_path, test)


def test_over_http(tmp_path: Path) -> None:
    async def test(node: NodeProcess, net: Internet) -> None:
        host, port = node.http
        wrong = {}
        async with httpx.AsyncClient(
            base_url=f"http://{host}:{port}",
            headers={"Authorization": f"Bearer {API_KEY}"},
            timeout=120,
            trust_env=False,
        ) as client:
            for name, (body, status, field) in HTTP.items():
                answer = await client.post("/v1/messages", json=body)
                if (
                    not is_problem(answer, status, field)
                    or str(tmp_path) in answer.text
                ):
                    wrong[name] = (answer.status_code, answer.text)
        assert not wrong
        assert not stored(node)

    drive(tmp_path, test)


_NAME = re.compile(r"\w*")


def is_problem(answer: httpx.Response, status: int, field: str) -> bool:
    """Whether ``answer`` is an RFC 9457 problem that names ``field``."""
    if answer.headers["content-type"] != "application/problem+json":
        return False
    problem = answer.json()
    named = {_NAME.match(each["field"])[0] for each in problem.get("errors", ())}
    return answer.status_code == problem["status"] == status and (
        not field or named == {field}
    )


def test_without_a_login_nothing_is_begun(tmp_path: Path) -> None:
    async def test(node: NodeProcess, net: Internet) -> None:
        writes = [EHLO, MAIL]
        assert (await replies(node.doors[1], writes)).startswith("530 5.7.0 ")
        host, port = node.http
        async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
            answer = await client.post(f"http://{host}:{port}/v1/messages", json=GOOD)
        assert answer.status_code == 401
        assert not stored(node)

    drive(tmp_path, test)


def test_broken_mime_is_relayed_as_the_octets_it_is(tmp_path: Path) -> None:
    async def test(node: NodeProcess, net: Internet) -> None:
        client = await SmtpClient.connect(node.smtp)
        await client.say(MAIL, b"250")
        await client.say(RCPT, b"250")
        await client.say(b"DATA\r\n", b"354")
        await client.say(BROKEN_MIME + b".\r\n", b"250")
        await client.close()
        await net.inbox.wait_copies(1)
        [letter] = net.inbox.letters
        header, body = BROKEN_MIME.split(b"\r\n\r\n", 1)
        assert letter.content.endswith(b"\r\n\r\n" + body)
        for line in header.split(b"\r\n"):
            assert line + b"\r\n" in letter.content

    drive(tmp_path, test)


def test_wrong_settings_start_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        settings = write_node(tmp_path, more="[limits]\nmax_mesage = 64000\n")
        node = NodeProcess(settings)
        await node.spawn()
        assert await node.wait() == 2
        assert "limits.max_mesage: is not a known key; did you mean max_message?" in (
            node.text
        )

    asyncio.run(main())
    assert not (tmp_path / "state").exists()


def stored(node: NodeProcess) -> int:
    """Return how many messages the node has taken."""
    return len(query(node.settings, "SELECT 1 FROM messages"))
