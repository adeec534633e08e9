"""Two tenants never meet over SMTP: what one says of the other is said of nobody.

The door, the admission and the store are the node's own; nothing leaves it.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.planted_leaks import any_domain, any_pool, known_unproven
from fakes.two_tenants import (
    GONE,
    NEVER,
    Ask,
    Side,
    World,
    key_of,
    two_tenants,
)
from mailwright.accounts.directory import Directory
from mailwright.accounts.logins import SmtpLogins
from mailwright.reply import Phase, Reply, local_reply

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Letter:
    """What is submitted: the reverse-path, a recipient and the header."""

    header: str
    path: str = "a@ours.example"
    to: str = GONE


def letter(side: Side, of: str) -> Letter:
    """Return a letter of ours that names the ``of`` of a tenant."""
    name, header = side[of], "From: <a@ours.example>\r\nSubject: x\r\n"
    match of:
        case "domain" | "unproven":
            return Letter(f"From: <a@{name}>\r\nSubject: x\r\n")
        case "return_path":
            return Letter(header, path=f"a@{name}")
        case _:
            return Letter(f"{header}X-Mailwright-{of.title()}: {name}\r\n")


class Session:
    """One connection that notes every reply."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, line: str) -> str:
        """Return the reply to a line, or to a content with its dot."""
        self._writer.write(f"{line}\r\n".encode())
        return await self.hear()

    async def hear(self) -> str:
        lines = []
        async with asyncio.timeout(120):
            while line := await self._reader.readline():
                lines.append(line.decode())
                if line[3:4] == b" ":
                    break
        return "".join(lines)

    async def login(self, name: str, secret: str, identity: str = "") -> str:
        text = f"{identity}\0{name}\0{secret}".encode()
        return await self.say(f"AUTH PLAIN {base64.b64encode(text).decode()}")

    async def submit(self, sent: Letter) -> str:
        """Return the first reply that is no 2xx or 3xx, or that to the dot."""
        said = ""
        commands = (f"MAIL FROM:<{sent.path}>", f"RCPT TO:<{sent.to}>", "DATA")
        for line in (*commands, f"{sent.header}\r\nhello\r\n."):
            said = await self.say(line)
            if said[0] not in "23":
                break
        await self.say("RSET")
        return said


@asynccontextmanager
async def session(world: World, by: str = "ours-crm") -> AsyncIterator[Session]:
    """Give a session that has logged in, unless ``by`` is nobody."""
    host, port = world.node.doors.listeners[0].addresses[0]
    reader, writer = await asyncio.open_connection(host, port)
    found = Session(reader, writer)
    try:
        await found.hear()
        await found.say("EHLO client.example")
        if by:
            assert (await found.login(by, key_of(by))).startswith("235")
        yield found
    finally:
        writer.close()
        await writer.wait_closed()


def drive(folder: Path, test: Callable[[World], Awaitable[None]]) -> None:
    """Run ``test`` with a node whose SMTP door is open."""

    async def run() -> None:
        async with two_tenants(folder) as world, asyncio.TaskGroup() as tasks:
            (listener,) = world.node.doors.listeners
            tasks.create_task(listener.run())
            try:
                await test(world)
            finally:
                await listener.close(within_s=5)

    asyncio.run(run())


#: What a letter may name, and the reply when it is not one's own.
REFUSED = {
    "domain": "550 5.7.1",
    "unproven": "550 5.7.1",
    "stream": "550 5.6.0",
    "pool": "550 5.6.0",
}


async def refused_otherwise(world: World) -> list[str]:
    """Return where a letter that names what is the rival's is told from nothing."""
    found = []
    before = world.state_of(world.rival)
    async with session(world) as smtp:
        for of, refusal in REFUSED.items():
            theirs = await smtp.submit(letter(world.rival, of))
            none = await smtp.submit(letter(NEVER, of))
            own = await smtp.submit(letter(world.ours, of))
            told = theirs.replace(world.rival[of], "(echo)")
            if told != none.replace(NEVER[of], "(echo)"):
                found.append(f"{of}: {theirs} is not {none}")
            if not theirs.startswith(refusal):
                found.append(f"{of}: {theirs}")
            if "rival" in told:
                found.append(f"{of} is told of the rival: {theirs}")
            if own.replace(world.ours[of], "(echo)") == told:
                found.append(f"{of}: an own one is not answered otherwise")
        theirs = await smtp.submit(letter(world.rival, "return_path"))
        if not theirs.startswith("550 5.7.1"):
            found.append(f"return_path: {theirs}")
    if world.state_of(world.rival) != before:
        found.append("what the rival has changed")
    return found


async def known_logins(world: World) -> list[str]:
    """Return where the rival's login is told from one that nobody has."""
    found = []
    told = []
    for side in (world.rival, NEVER):
        for secret in ("wrong", key_of("ours-crm")):
            async with session(world, by="") as smtp:
                told.append(await smtp.login(side["credential"], secret))
    if len(set(told)) != 1 or not told[0].startswith("535 5.7.8"):
        found.append(f"logins are told apart: {told}")
    return found


def test_what_is_anothers_is_refused_like_what_is_not(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await refused_otherwise(world) == []

    drive(tmp_path, test)


def test_a_login_of_another_tenant_is_no_login(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await known_logins(world) == []
        # Nor can one act as the other with a secret of one's own (RFC 4616 §2).
        async with session(world, by="") as smtp:
            said = await smtp.login("ours-crm", key_of("ours-crm"), "rival-crm")
            assert said.startswith("501")
            assert (await smtp.say("MAIL FROM:<a@rival.example>")).startswith("530")

    drive(tmp_path, test)


def test_a_recipient_of_another_tenant_is_like_any_other(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        async with session(world) as smtp:
            for verb in ("VRFY", "EXPN"):
                told = [
                    await smtp.say(f"{verb} one@customer-of-{name}.example")
                    for name in ("rival", "never")
                ]
                assert told[0] == told[1]
            # The rival has suppressed this one: for mail of its own.
            header = "From: <a@ours.example>\r\nSubject: x\r\n"
            assert (await smtp.submit(Letter(header))).startswith("250")
            (event,) = await events(world, "ours-crm", after=world.last)
            assert (event["type"], event["recipient"]) == ("received", GONE)

    drive(tmp_path, test)


def test_the_same_words_stay_two_tenants_words(tmp_path: Path) -> None:
    """A Message-ID, a campaign and tags that both use join nothing."""

    async def test(world: World) -> None:
        header = "".join(
            f"{line}\r\n"
            for line in (
                "From: <a@{0}.example>",
                "Message-ID: <the-same@shared.example>",
                "X-Mailwright-Campaign: spring",
                "X-Mailwright-Tags: rival-tag",
                "X-Mailwright-Stream: news",
            )
        )
        sent, before = {}, {}
        for name in ("rival", "ours"):
            async with session(world, f"{name}-crm") as smtp:
                path = f"a@{name}.example"
                to = "both@shared.example"
                said = await smtp.submit(Letter(header.format(name), path, to))
                assert said.startswith("250"), said
            if name == "rival":
                before = world.state_of(world.rival)
            (event,) = await events(world, f"{name}-crm", after=world.last)
            sent[name] = event["message"]
        assert world.state_of(world.rival) == before
        for name, message in sent.items():
            other = "ours" if name == "rival" else "rival"
            shown = Ask("GET", f"/v1/messages/{message}")
            own = await world.ask(shown, f"{name}-crm")
            assert own.json()["message_id"] == "<the-same@shared.example>"
            assert own.json()["metadata"] == {"campaign": "spring"}
            assert own.json()["from_domain"] == f"{name}.example"
            assert (await world.ask(shown, f"{other}-crm")).status_code == 404

    drive(tmp_path, test)


async def events(world: World, by: str, *, after: str) -> Sequence[Any]:
    ask = Ask("GET", "/v1/events", {"after": after, "limit": "1000"})
    return (await world.ask(ask, by)).json()["events"]


Patch = pytest.MonkeyPatch


def _any_path(patch: Patch) -> None:
    patch.setattr(Directory, "is_of_others", lambda *_: False)


def _who_is_there(patch: Patch) -> None:
    login = SmtpLogins.login

    def told(self: SmtpLogins, name: str, *more: Any) -> Any:
        found = login(self, name, *more)
        if isinstance(found, Reply) and self.for_network(name) is None:
            return local_reply(535, "5.7.8", "no such login", Phase.AUTH)
        return found

    patch.setattr(SmtpLogins, "login", told)


@pytest.mark.parametrize(
    ("leak", "check", "found"),
    [
        (any_domain, refused_otherwise, "domain: "),
        (known_unproven, refused_otherwise, "unproven: "),
        (any_pool, refused_otherwise, "pool: "),
        (_any_path, refused_otherwise, "return_path: "),
        (_who_is_there, known_logins, "logins are told apart"),
    ],
)
def test_a_planted_leak_is_found(
    tmp_path: Path,
    leak: Callable[[Patch], None],
    check: Callable[[World], Awaitable[list[str]]],
    found: str,
) -> None:
    async def test(world: World) -> None:
        with pytest.MonkeyPatch.context() as patch:
            leak(patch)
            complaints = await check(world)
        assert any(each.startswith(found) for each in complaints), complaints

    drive(tmp_path, test)
