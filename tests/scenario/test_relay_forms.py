"""Every way we know to make a node carry a stranger's mail, and none works.

Oracle: the answer to the final dot, and the node's database. A stranger is who has not
proven a credential and is in no network that the listener names. He goes on after every
refusal, politely (one command at a time) and blindly (everything in one write), and never
gets a 250 for a message. The controls: one plain form by someone who may is taken, and a
door that is open to everyone is found out by the same forms. What swaks makes of them is
in ``test_swaks.py``.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.relay_forms import (
    CONTENT,
    FORMS,
    NAMED,
    PLAIN_PATH,
    RECIPIENTS,
    STRANGER,
    US,
    VICTIM,
    Doors,
    Form,
    doors,
    session,
    transaction,
)

pytestmark = pytest.mark.scenario

#: What may be asked for by who may send, and must not lead to the victim.
DETOURS = [
    to
    for to in RECIPIENTS[1:]
    if not to.startswith((f"<b@{VICTIM}>", f"<b@{VICTIM}.>"))
]
FOREIGN_FROM = [
    b"From: a@victim.example\r\n",
    b'From: "a@example.com" <a@victim.example>\r\n',
    b"From: a@victim.example\r\nSender: a@example.com\r\n",
    b"From: a@example.com, a@victim.example\r\n",
    b"From: a@example.com\r\nFrom: a@victim.example\r\n",
    b"From: friends: a@example.com;\r\n",
    b"From: a@sub.example.com.victim.example\r\n",
    b"From: a@example.com@victim.example\r\n",
    b"From : a@victim.example\r\n",
    b"From: <@example.com:a@victim.example>\r\n",
    b"Sender: a@example.com\r\n",
    b"",
]


def is_taken(said: bytes) -> bool:
    return b"accepted as" in said


async def politely(port: int, peer: str, form: Form, content: bytes = CONTENT) -> bytes:
    """Send one command at a time; return everything that was said."""
    async with asyncio.timeout(120):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(peer, 0)
        )
        said = b""
        try:
            writer.write(form.first)
            said += await reply(reader)
            for command in form.commands:
                writer.write(command.encode() + b"\r\n")
                answer = await reply(reader)
                said += answer
                if answer.startswith(b"354"):
                    writer.write(content)
                    said += await reply(reader)
                if not answer:
                    break
        except ConnectionError:
            pass  # it was hung up on
        writer.close()
    return said


async def reply(reader: asyncio.StreamReader) -> bytes:
    """Return one reply, all its lines; nothing at the end of the connection."""
    said = b""
    while line := await reader.readline():
        said += line
        if line[3:4] != b"-":
            break
    return said


async def blindly(port: int, peer: str, form: Form, content: bytes = CONTENT) -> bytes:
    """Send everything at once, whatever is answered."""
    async with asyncio.timeout(120):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(peer, 0)
        )
        lines = b"".join(command.encode() + b"\r\n" for command in form.commands)
        said = b""
        try:
            writer.write(form.first + lines + content + b"QUIT\r\n")
            while octets := await reader.read(65_536):
                said += octets
        except ConnectionError:
            pass  # it was hung up on
        writer.close()
    return said


def drive(folder: Path, play: Callable[[Doors], object]) -> None:
    async def scene() -> None:
        async with doors(folder) as open_doors:
            await play(open_doors)  # type: ignore[misc]

    asyncio.run(scene())


def test_a_stranger_gets_nothing_taken_in_any_form(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    async def play(doors: Doors) -> None:
        # Control, first and last: who may send is served, in both manners.
        plain = Form("plain", session())
        for manner in (politely, blindly):
            assert is_taken(await manner(doors.named, NAMED, plain))
        assert doors.messages() == 2

        taken = []
        for form in FORMS:
            for port in (doors.auth, doors.named):
                for manner in (politely, blindly):
                    said = await manner(port, STRANGER, form)
                    assert said, "the connection is answered"
                    if is_taken(said):
                        taken.append(f"{form.name} ({manner.__name__})")
        publish(f"relay forms: {len(FORMS)} in 4 ways each, {len(taken)} taken")
        assert taken == []
        assert doors.messages() == 2

        assert is_taken(await politely(doors.named, NAMED, plain))
        assert doors.messages() == 3

        # Control: a door that names the stranger's network takes many of these forms.
        answers = [await politely(doors.open, STRANGER, form) for form in FORMS]
        assert sum(map(is_taken, answers)) >= 15

    assert len(FORMS) >= 40
    drive(tmp_path, play)


def test_a_detour_leads_nowhere_even_for_who_may_send(tmp_path: Path) -> None:
    async def play(doors: Doors) -> None:
        for to in DETOURS:
            form = Form(to, ["EHLO x", *transaction(recipient=to)])
            await politely(doors.named, NAMED, form)
        # What was taken is for a mailbox with a strange name at the domain that was
        # written last: nothing in it is an instruction.
        domains = {name.rpartition("@")[2] for name in doors.recipients()}
        assert US in domains
        assert domains <= {US, VICTIM}
        to_victim = {name for name in doors.recipients() if name.endswith(f"@{VICTIM}")}
        assert to_victim <= {PLAIN_PATH}, to_victim

    drive(tmp_path, play)


def test_nobody_writes_in_a_foreign_name(tmp_path: Path) -> None:
    async def play(doors: Doors) -> None:
        plain = Form("plain", session())
        rest = b"Subject: relay\r\n\r\ntake this on\r\n.\r\n"
        for fields in FOREIGN_FROM:
            said = await politely(doors.named, NAMED, plain, fields + rest)
            assert not is_taken(said), fields
            assert said.splitlines()[-1].startswith(b"550 5.7.1 "), fields
        assert doors.messages() == 0
        own = await politely(
            doors.named, NAMED, plain, b"From: a@example.com\r\n" + rest
        )
        assert is_taken(own)

    drive(tmp_path, play)
