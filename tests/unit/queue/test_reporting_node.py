"""DSNs of a whole node: asked for by SMTP, signed and delivered by SMTP."""

import asyncio
import base64
import email
from collections.abc import Awaitable, Callable, Sequence
from email.message import Message
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from fakes.node_process import Hop, dkim_pem, write_node
from fakes.running_node import RunningNode, running_node
from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from mailwright.sandbox.verification import verify

REFUSING = Behaviour(replies={"RCPT": b"550 5.1.1 no such user\r\n"})
WITH_DSN = Behaviour(offers=(b"PIPELINING", b"8BITMIME", b"DSN"))
LETTER = (
    b"From: a@example.com\r\nTo: u@there.example\r\nMessage-ID: <1@crm.example>\r\n"
    b"X-Queue-Item-Id: 5f3a\r\nSubject: hi\r\n\r\nHello\r\n.\r\n"
)


def run(
    folder: Path,
    body: Callable[[RunningNode, ScriptedReceiver], Awaitable[None]],
    *behaviours: Behaviour,
) -> None:
    """Run ``body`` with a node, and the receiver of its submitter's mailbox."""

    async def main() -> None:
        async with (
            ScriptedReceiver(*behaviours) as there,
            ScriptedReceiver() as crm,
        ):
            hops = [
                Hop("there.example", f"127.0.0.1:{there.port}"),
                Hop("crm.example", f"127.0.0.1:{crm.port}"),
            ]
            settings = write_node(folder, routes=hops)
            setup = folder / "setup.toml"
            setup.write_text(setup.read_text().replace('dsn = "none"\n', ""))
            async with running_node(folder, settings=settings) as node:
                node.receiver = there
                await body(node, crm)

    asyncio.run(main())


async def submit(node: RunningNode, mail: bytes, rcpt: bytes) -> None:
    client = await node.smtp()
    await client.say(b"MAIL FROM:<bounce+17@crm.example>" + mail + b"\r\n", b"250")
    await client.say(b"RCPT TO:<U@there.example>" + rcpt + b"\r\n", b"250")
    await client.say(b"DATA\r\n", b"354")
    await client.say(LETTER, b"250")
    await client.close()


async def delivered(node: RunningNode, count: int) -> Sequence[str]:
    """Return the kinds of events once ``count`` deliveries have arrived."""
    async with asyncio.timeout(120):
        while True:
            kinds = [each.type.value for each in await node.events()]
            if kinds.count("delivered") >= count:
                return kinds
            await asyncio.sleep(0.01)


def status_of(report: Message) -> dict[str, str]:
    _, status, *_ = report.get_payload()
    first, second = status.get_payload()
    return dict(first.items()) | dict(second.items())


def test_a_refusal_comes_back_signed_with_what_was_asked_for(tmp_path: Path) -> None:
    async def body(node: RunningNode, crm: ScriptedReceiver) -> None:
        await submit(
            node,
            b" RET=FULL ENVID=job+207+2F17",
            b" NOTIFY=FAILURE,DELAY ORCPT=rfc822;U+2Btag@there.example",
        )
        await delivered(node, 1)
        assert b"MAIL FROM:<>" in crm.commands[1]
        assert crm.commands[2].startswith(b"RCPT TO:<bounce+17@crm.example>")
        (content,) = crm.contents
        public = load_pem_private_key(dkim_pem(), None).public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        record = f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"
        verified = verify(content, {"s1._domainkey.example.com": record})
        assert verified.domain == "example.com"
        report = email.message_from_bytes(content)
        found = status_of(report)
        assert found["Original-Envelope-Id"] == "job 7/17"
        assert found["Original-Recipient"] == "rfc822;U+tag@there.example"
        assert found["Final-Recipient"] == "rfc822; u@there.example"
        assert found["Reporting-MTA"] == "dns; mta.example.com"
        assert found["Remote-MTA"] == "dns; 127.0.0.1"
        assert found["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
        (inner,) = report.get_payload()[2].get_payload()
        assert inner["X-Queue-Item-Id"] == "5f3a"
        assert inner.get_payload() == "Hello\r\n"

    run(tmp_path, body, REFUSING)


def test_success_is_reported_by_us_where_the_receiver_will_not(tmp_path: Path) -> None:
    async def body(node: RunningNode, crm: ScriptedReceiver) -> None:
        await submit(node, b"", b" NOTIFY=SUCCESS")
        await delivered(node, 2)
        (content,) = crm.contents
        found = status_of(email.message_from_bytes(content))
        assert (found["Action"], found["Status"]) == ("relayed", "2.0.0")
        assert not any(b"NOTIFY" in line for line in node.receiver.commands)

    run(tmp_path, body, Behaviour())


def test_success_is_left_to_a_receiver_that_reports_itself(tmp_path: Path) -> None:
    async def body(node: RunningNode, crm: ScriptedReceiver) -> None:
        await submit(node, b" ENVID=17", b" NOTIFY=SUCCESS")
        kinds = await delivered(node, 1)
        assert kinds == ["received", "delivered"]
        assert crm.contents == []
        assert any(b"NOTIFY=SUCCESS" in line for line in node.receiver.commands)

    run(tmp_path, body, WITH_DSN)


def test_never_means_never(tmp_path: Path) -> None:
    async def body(node: RunningNode, crm: ScriptedReceiver) -> None:
        await submit(node, b"", b" NOTIFY=NEVER")
        await node.wait_events("bounced")
        assert [each.type.value for each in await node.events()] == [
            "received",
            "bounced",
        ]
        assert crm.contents == []

    run(tmp_path, body, REFUSING)
