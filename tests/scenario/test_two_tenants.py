"""Two tenants on one node that runs: what leaves, what comes back, what each is shown.

Both send the same letters to the same receivers in the same lanes. One recipient takes
them, another does not, so each gets a report on its own.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx
import pytest

from fakes.node_process import SERVE, NodeProcess
from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from fakes.two_tenants import NEVER, key_of, write_two_tenants

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
LEAKY = (str(Path(__file__).with_name("leaky_node.py")),)
TENANTS = ("ours", "rival")
LETTER = (
    "From: <a@{0}.example>\r\nMessage-ID: <the-same@crm.example>\r\n"
    "Subject: news of {0}\r\n\r\nDear customer of {0}\r\n"
)
REFUSING = Behaviour(replies={"RCPT": b"550 5.1.1 no such user\r\n"})


@dataclass
class Scene:
    """A node and everyone around it."""

    node: NodeProcess
    there: ScriptedReceiver
    mailboxes: Mapping[str, ScriptedReceiver]

    async def get(self, path: str, by: str, **params: str) -> httpx.Response:
        host, port = self.node.http
        async with httpx.AsyncClient(
            base_url=f"http://{host}:{port}", timeout=DEADLINE_S, trust_env=False
        ) as client:
            key = {"Authorization": f"Bearer {key_of(f'{by}-crm')}"}
            return await client.get(path, params=params, headers=key)

    async def events(self, by: str) -> list[dict[str, Any]]:
        page = (await self.get("/v1/events", by, limit="1000")).raise_for_status()
        found: list[dict[str, Any]] = page.json()["events"]
        return found


@asynccontextmanager
async def scene(folder: Path, command: Sequence[str]) -> AsyncIterator[Scene]:
    """Run a node that both tenants have sent to, until each has its report."""
    async with AsyncExitStack() as opened:
        there = await opened.enter_async_context(ScriptedReceiver())
        refuses = await opened.enter_async_context(ScriptedReceiver(REFUSING))
        mailboxes = {
            name: await opened.enter_async_context(ScriptedReceiver())
            for name in TENANTS
        }
        routes = {"there.example": there.port, "refuses.example": refuses.port}
        routes |= {f"{name}.example": each.port for name, each in mailboxes.items()}
        settings = write_two_tenants(folder, routes=routes)
        node = await opened.enter_async_context(NodeProcess(settings, command))
        for name in TENANTS:
            await submit(node, name)
        found = Scene(node, there, mailboxes)
        await settled(found)
        yield found
        assert await node.stop() == 0, node.text


async def submit(node: NodeProcess, name: str) -> None:
    host, port = node.smtp
    client = aiosmtplib.SMTP(
        hostname=host, port=port, timeout=DEADLINE_S, start_tls=False
    )
    async with client:
        await client.login(f"{name}-crm", key_of(f"{name}-crm"))
        await client.sendmail(
            f"a@{name}.example",
            ["b@there.example", "c@refuses.example"],
            LETTER.format(name),
        )


async def settled(found: Scene) -> None:
    """Return when each tenant's letter and its report are delivered."""
    async with asyncio.timeout(DEADLINE_S):
        for name in TENANTS:
            kinds: list[str] = []
            while not (kinds.count("delivered") == 2 and kinds.count("bounced") == 1):
                kinds = [each["type"] for each in await found.events(name)]
                await asyncio.sleep(0.05)


async def leaks(found: Scene) -> list[str]:
    """Return what one tenant is shown of the other's messages, reports and events."""
    told = []
    never = NEVER["message"]
    for name, other in (TENANTS, TENANTS[::-1]):
        page = (await found.get("/v1/events", name, limit="1000")).text
        if other in page:
            told.append(f"events of {name} name {other}")
        theirs = {each["message"] for each in await found.events(other)}
        assert len(theirs) == 2  # the letter, and the report on it
        empty = await found.get(f"/v1/messages/{never}", name)
        for message in theirs:
            shown = await found.get(f"/v1/messages/{message}", name)
            if (shown.status_code, shown.text) != (empty.status_code, empty.text):
                told.append(f"{name} is shown {message}: {shown.text}")
            if message in page:
                told.append(f"events of {name} speak of {message}")
    return told


def test_each_tenant_gets_its_own_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, SERVE) as found:
            assert await leaks(found) == []
            # What left says whose it is, and is signed by that one.
            assert len(found.there.contents) == 2
            for content in found.there.contents:
                letter = message_from_bytes(content)
                name = str(letter["Subject"]).removeprefix("news of ")
                (other,) = {*TENANTS} - {name}
                assert f"d={name}.example;" in str(letter["DKIM-Signature"])
                assert other not in content.decode()
            paths = {line for line in found.there.commands if line.startswith(b"MAIL")}
            assert {line.split(b">")[0] for line in paths} == {
                b"MAIL FROM:<a@ours.example",
                b"MAIL FROM:<a@rival.example",
            }
            # The report on it came to its own mailbox and returns its own header.
            for name, mailbox in found.mailboxes.items():
                (report,) = mailbox.contents
                (other,) = {*TENANTS} - {name}
                assert f"news of {name}".encode() in report
                assert b"c@refuses.example" in report
                for word in (f"{other}.example", f"of {other}"):  # not “Arrival-Date”
                    assert word.encode() not in report
            metrics = (await found.get("/metrics", "ours")).text
            assert 'event="bounced"' in metrics
            assert not any(f"{name}." in metrics for name in TENANTS)

    asyncio.run(main())


def test_a_node_that_shows_a_message_to_anyone_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, LEAKY) as found:
            told = await leaks(found)
        assert any("news" in each and "is shown msg_" in each for each in told), told

    asyncio.run(main())
