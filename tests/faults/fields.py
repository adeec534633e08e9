"""No value of a request makes a header field, a part, a recipient or a line.

Each member of the JSON of a message gets each of the octets that some reader takes for a
line end, and what stands for them. What is accepted is read as the receiver got it: by
the rules, by a reader that breaks lines at all of them, and by Python's; all must find
the fields, the parts and the recipients of the same message without the poison. Control:
a node that puts values between names and line ends.
"""

import asyncio
import copy
import email
import email.policy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fakes.node_process import API_KEY, SERVE, NodeProcess, write_node
from faults.bystanders import DOMAIN
from faults.ledger import Row, Size
from mailwright.sandbox.inbox import InboxSettings, Letter
from mailwright.sandbox.internet import Internet

_CONTROL = (str(Path(__file__).with_name("naive_node.py")),)
_CLIENTS = 4
_ARRIVES_S = 120.0
_CANARY = "X-Injected"
_SEPARATORS = (
    *("\r\n", "\r", "\n", "\n\r", "\0", "\t", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"),
    *(
        "\x1f",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "\r\n ",
        "\r\n\t",
        "\r\n\r\n",
        "\\r\\n",
    ),
    *("%0d%0a", "=0D=0A", "=?utf-8?q?=0D=0A?=", "=?utf-8?b?DQo=?=", "\u560a\u560d"),
    *("?= =?utf-8?q?", '"; x="', ">, <v@w.example>", ";\r\n boundary=x", "\u202e"),
)
_POISON = (
    *(f"a{each}{_CANARY}: yes" for each in _SEPARATORS),
    *(f"{each}Bcc: victim@{DOMAIN}{each}{_CANARY}: yes{each}" for each in _SEPARATORS),
    *(f"a{each}{each}--b{each}.{each}RSET{each}" for each in _SEPARATORS),
    *("x" * 70_000, "é" * 3_000, "a " * 2_000, ""),
)
#: A reader that ends a line wherever any does.
_ANY_END = re.compile("\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_NAME = re.compile(r"([!-9;-~]+)[ \t]*:")

Setter = Callable[[dict[str, Any], str], None]


def _at(*path: str | int) -> Setter:
    def put(body: dict[str, Any], value: str) -> None:
        place: Any = body
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return put


def _as_key(member: str) -> Setter:
    def put(body: dict[str, Any], value: str) -> None:
        body[member] = {value: "x"}

    return put


SETTERS: dict[str, Setter] = {
    "from": _at("from"),
    "from.name": _at("from", "name"),
    "from.address": _at("from", "address"),
    "to[0].name": _at("to", 0, "name"),
    "to[0]": _at("to", 0),
    "to[1].address": _at("to", 1, "address"),
    "cc[0].name": _at("cc", 0, "name"),
    "cc[0].address": _at("cc", 0, "address"),
    "bcc[0]": _at("bcc", 0),
    "reply_to[0].name": _at("reply_to", 0, "name"),
    "reply_to[0].address": _at("reply_to", 0, "address"),
    "subject": _at("subject"),
    "text": _at("text"),
    "html": _at("html"),
    "headers, a name": _as_key("headers"),
    "headers, a value": _at("headers", "X-Order"),
    "headers, List-Unsubscribe": _at("headers", "List-Unsubscribe"),
    "attachments[0].filename": _at("attachments", 0, "filename"),
    "attachments[0].content_type": _at("attachments", 0, "content_type"),
    "attachments[0].content": _at("attachments", 0, "content"),
    "attachments[0].content_id": _at("attachments", 0, "content_id"),
    "stream": _at("stream"),
    "tags[0]": _at("tags", 0),
    "metadata, a key": _as_key("metadata"),
    "metadata, a value": _at("metadata", "order"),
    "send_at": _at("send_at"),
    "expires_at": _at("expires_at"),
}
_PLAIN: dict[str, Any] = {
    "from": {"address": "a@example.com", "name": "Ann"},
    "to": [{"address": "", "name": "Bob"}, {"address": f"second@{DOMAIN}"}],
    "cc": [{"address": f"third@{DOMAIN}", "name": "Cy"}],
    "bcc": [f"fourth@{DOMAIN}"],
    "reply_to": [{"address": "r@example.com", "name": "Re"}],
    "subject": "plain",
    "text": "text\r\n",
    "html": "<p>text</p>\r\n",
    "headers": {"X-Order": "1", "List-Unsubscribe": "<https://example.com/u>"},
    "attachments": [{"filename": "a.txt", "content": "eA==", "content_id": "one"}],
    "tags": ["tag"],
    "metadata": {"order": "1"},
}


@dataclass(frozen=True, slots=True)
class Try:
    """One request. ``key`` is the local part of its first recipient."""

    key: str
    member: str
    poison: str

    @property
    def body(self) -> dict[str, Any]:
        body = copy.deepcopy(_PLAIN)
        body["to"][0]["address"] = f"{self.key}@{DOMAIN}"
        SETTERS[self.member](body, self.poison)
        return body


@dataclass(slots=True)
class Found:
    """What came of the requests."""

    accepted: dict[str, Try] = field(default_factory=dict)
    refused: int = 0
    lost: int = 0
    complaints: list[str] = field(default_factory=list)


def tries(size: Size) -> list[Try]:
    """Return every member with every poison, or with a part of them."""
    step = size.pick(9, 1)
    return [
        Try(f"k{number}.{place}", member, poison)
        for number, member in enumerate(SETTERS)
        for place, poison in enumerate(_POISON[number % step :: step])
    ]


def shape_of(content: bytes, *, is_any_end: bool = False) -> tuple[str, ...]:
    """Return the names of the fields, as one of two readers sees them, in order."""
    header = content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    lines = _ANY_END.split(header) if is_any_end else header.split("\r\n")
    return tuple(
        found[1].lower() for line in lines if (found := _NAME.match(line)) is not None
    )


def parts_of(content: bytes) -> tuple[tuple[str, ...], ...]:
    """Return the names of the fields of each part, as Python's reader sees them."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    return tuple(
        tuple(name.lower() for name in part.keys())  # noqa: SIM118 - no dictionary
        for part in message.walk()
    )


def judge(one: Try, content: bytes) -> list[str]:
    """Return what is wrong with the message that ``one`` has made."""
    names = shape_of(content)
    # No member, no field: a plain message has all of these, once.
    allowed = {
        *("from", "to", "cc", "reply-to", "subject", "date", "message-id", "received"),
        *("mime-version", "content-type", "content-transfer-encoding"),
        *("dkim-signature", "x-order", "list-unsubscribe"),
    }
    if one.member == "headers, a name":
        allowed.add(one.poison.lower())
    wrong = [f"field {name}" for name in names if name not in allowed]
    wrong += [f"{name} twice" for name in set(names) if names.count(name) > 1]
    if shape_of(content, is_any_end=True) != names:
        wrong.append("readers disagree about its fields")
    python = parts_of(content)
    if python[0] != names:
        wrong.append("Python reads other fields")
    named = {name for part in python[1:] for name in part}
    inner = {"content-type", "content-transfer-encoding", "content-disposition"}
    if named - inner - {"content-id"}:
        wrong.append(f"fields of parts: {named}")
    if len(python) != _PARTS:
        wrong.append(f"{len(python)} parts")
    return [f"{one.member}: {one.poison[:60]!r}: {text}" for text in wrong]


#: related, alternative, two texts, and the file.
_PARTS = 5


async def _post(node: NodeProcess, left: Sequence[Try], found: Found) -> None:
    host, port = node.http
    async with httpx.AsyncClient(
        base_url=f"http://{host}:{port}",
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=240,
        trust_env=False,
    ) as client:
        for one in left:
            answer = await client.post("/v1/messages", json=one.body)
            if answer.status_code == 201:
                found.accepted[one.key] = one
                continue
            found.refused += 1
            if answer.status_code not in {400, 403, 413, 422}:
                found.complaints.append(f"{one}: {answer.status_code}")
            if _CANARY in str(answer.headers):
                found.complaints.append(f"{one}: the answer has the field")


def _key_of(letter: Letter) -> str:
    for recipient in letter.recipients:
        local = recipient.partition("@")[0]
        if local.startswith("k"):
            return local
    return ""


async def _play(
    folder: Path, name: str, command: Sequence[str], every: Sequence[Try]
) -> Found:
    place = folder / name
    place.mkdir()
    found = Found()
    kept = InboxSettings(keep_content=True, letters_max=1_000_000, verify_share=0)
    async with Internet([DOMAIN], inbox=kept) as net:
        settings = write_node(place, nameserver=net.nameserver, smtp_port=net.smtp_port)
        async with NodeProcess(settings, command) as node:
            async with asyncio.TaskGroup() as tasks:
                for number in range(_CLIENTS):
                    tasks.create_task(_post(node, every[number::_CLIENTS], found))
            contents = await _wait(net, found)
            recipients = {address for address, _ in net.inbox.copies}
            if "Traceback" in node.text:
                found.complaints.append(node.text[-500:])
    if f"victim@{DOMAIN}" in recipients:
        found.complaints.append("a victim was written to")
    found.lost = len(found.accepted.keys() - contents.keys())
    for key, content in contents.items():
        if key in found.accepted:
            found.complaints += judge(found.accepted[key], content)
        else:
            found.complaints.append(f"{key}: delivered, not accepted")
    return found


async def _wait(net: Internet, found: Found) -> dict[str, bytes]:
    """Return the contents by key, once there are all or no more come."""
    contents: dict[str, bytes] = {}
    try:
        async with asyncio.timeout(_ARRIVES_S):
            while found.accepted.keys() - contents.keys():
                for letter in list(net.inbox.letters):
                    if key := _key_of(letter):
                        contents[key] = letter.content or b""
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    return contents


async def run(folder: Path, size: Size) -> Row:
    """Poison every member, of a node and of the control."""
    every = tries(size)
    found = await _play(folder, "node", SERVE, every)
    some = [one for one in every if one.member in {"subject", "headers, a value"}]
    naive = await _play(folder, "control", _CONTROL, some)
    return Row(
        "values that would be fields",
        len(every),
        len(found.accepted),
        found.lost,
        len(found.complaints),
        any(_CANARY.lower() in text.lower() for text in naive.complaints),
        {"refused": found.refused, "control_complaints": len(naive.complaints)},
        tuple(found.complaints[:20]),
    )
