"""What is submitted, stored, signed and sent is one thing: a node, two receivers, judges.

Letters go in by every door while all mail is stopped; what is stored is read from the
database; then they leave, and each copy that a receiver got is compared octet by octet
and judged by three verifiers. Control: a node that signs before it edits.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fakes.dkim_judges import Judges
from fakes.keeping_receiver import KeepingReceiver
from fakes.node_process import (
    API_KEY,
    SERVE,
    Hop,
    NodeProcess,
    dkim_pem,
    query,
    write_node,
)
from fakes.submitting import SmtpClient
from mailwright.accounts.signing_keys import (
    RSA_SHA256,
    DkimSecret,
    PrivateKey,
    SigningKeys,
)
from mailwright.api.paths import RELEASE_ALL, STOP_ALL
from mailwright.attempt import Parcel
from mailwright.clock import from_micros
from mailwright.daemon.operating import SOCKET_NAME
from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.mta.dkim.records import record_text
from mailwright.mta.preparing import Preparer
from outbound.comparing import Copy, faults
from outbound.letters import AUTHOR, DOMAIN, EIGHT, SEVEN, Door, Letter, letter

SELECTOR: Final = "s1"
#: A domain with a key of its own under the same selector: nobody signs with it.
OTHER: Final = "other.example"
BATCH: Final = 250
DEADLINE_S: Final = 300.0
_SMTP_CLIENTS: Final = 3
_HTTP_CLIENTS: Final = 2
_HELD: Final = "--held"
#: Signs what is stored, then edits it for the receiver.
CONTROL: Final = (str(Path(__file__).parent / "signing_first_node.py"), _HELD)
#: Real mail has longer headers than the usual limit.
_LIMITS: Final = """
[limits]
max_header = "1MB"
"""
_ROWS: Final = """\
SELECT d.id, d.recipient, d.selector, m.id, m.sending_domain, m.accepted_at,
    m.reverse_path, c.header, c.body, c.body_file, m.edits
FROM deliveries d JOIN messages m ON m.id = d.message JOIN contents c ON c.id = m.content
"""


@dataclass(slots=True)
class Tally:
    """What came out.

    Attributes:
        messages: that were submitted and taken.
        identical: of these, with every copy as it must be, octet by octet.
        verified: by judge, messages all whose copies verify.
        copies: that arrived.
        doors: messages by door.
        complaints: what was wrong, for people; the first of them.
    """

    messages: int = 0
    identical: int = 0
    verified: Counter[str] = field(default_factory=Counter)
    copies: int = 0
    doors: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether all of all is as it must be."""
        counts = {self.identical, *(self.verified[name] for name in JUDGES)}
        return self.messages > 0 and counts == {self.messages}

    def __str__(self) -> str:
        judged = " ".join(f"{name} {self.verified[name]}" for name in JUDGES)
        return f"messages {self.messages} identical {self.identical} {judged}"


JUDGES: Final = ("dkimpy", "opendkim", "rspamd")
_COMPLAINTS_MAX: Final = 20


def signing_key() -> PrivateKey:
    """Return the key that the node signs with."""
    key = load_pem_private_key(dkim_pem(), None)
    assert isinstance(key, PrivateKey)
    return key


class Keys:
    """The node's key ring, as a function of the row."""

    def __init__(self) -> None:
        self._secret = DkimSecret(RSA_SHA256, DOMAIN, SELECTOR, signing_key())

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        """Return the only key there is."""
        return SigningKeys((self._secret,)) if selector == SELECTOR else "no such key"


def published(**others: PrivateKey) -> dict[str, str]:
    """Return the TXT records that receivers see, with those of other domains."""
    return {
        f"{SELECTOR}._domainkey.{DOMAIN}": record_text(signing_key()),
        **{
            f"{SELECTOR}._domainkey.{name}": record_text(key)
            for name, key in others.items()
        },
    }


@dataclass(slots=True)
class Bench:
    """A held node and its two receivers.

    Attributes:
        read_to: how far its events were read.
    """

    node: NodeProcess
    settings: Path
    receivers: Mapping[str, KeepingReceiver]
    operator: httpx.AsyncClient
    http: httpx.AsyncClient
    read_to: str = ""

    async def deliver(self, letters: Sequence[Letter]) -> list[Copy]:
        """Submit ``letters``, note what is stored, let it leave; return the copies."""
        for receiver in self.receivers.values():
            receiver.kept.clear()
        await self._submit_all(letters)
        by_recipient = {name: each for each in letters for name in each.recipients}
        parcels = {parcel.recipient: (parcel, edits) for parcel, edits in self._rows()}
        assert parcels.keys() == by_recipient.keys(), "not stored as submitted"
        (await self.operator.post(RELEASE_ALL)).raise_for_status()
        async with asyncio.timeout(DEADLINE_S):
            while query(self.settings, "SELECT 1 FROM deliveries LIMIT 1"):
                assert not self.node.has_ended, self.node.text
                await asyncio.sleep(0.05)
        stop = await self.operator.post(STOP_ALL, json={"reason": "the next batch"})
        stop.raise_for_status()
        told = await self._session_edits()
        copies = []
        for name, (parcel, edits) in parcels.items():
            receiver = self.receivers[name.partition("@")[2]]
            copies.append(
                Copy(
                    by_recipient[name],
                    parcel,
                    edits,
                    told[name],
                    receiver.kept[name],
                    receiver.has_8bitmime,
                )
            )
        return copies

    async def _session_edits(self) -> dict[str, tuple[str, ...]]:
        """Return what the events since the last call say was edited, by recipient."""
        told = {}
        while True:
            answer = await self.http.get(
                "/v1/events", params={"after": self.read_to, "limit": 1000}
            )
            page = answer.raise_for_status().json()
            if not page["events"]:
                return told
            self.read_to = page["next"]
            for each in page["events"]:
                if each["type"] == "delivered":
                    told[each["recipient"]] = tuple(each["data"].get("edits", ()))

    async def _submit_all(self, letters: Sequence[Letter]) -> None:
        waiting = {door: [x for x in letters if x.door is door] for door in Door}
        by_http = [*waiting[Door.OCTETS], *waiting[Door.JSON]]
        async with asyncio.TaskGroup() as tasks:
            for place in range(_SMTP_CLIENTS):
                tasks.create_task(
                    self._submit_by_smtp(waiting[Door.SMTP][place::_SMTP_CLIENTS])
                )
            for place in range(_HTTP_CLIENTS):
                tasks.create_task(self._submit_by_http(by_http[place::_HTTP_CLIENTS]))

    async def _submit_by_smtp(self, letters: Sequence[Letter]) -> None:
        client = await SmtpClient.connect(self.node.smtp)
        try:
            for each in letters:
                await submit(client, each.recipients, each.octets)
        finally:
            await client.close()

    async def _submit_by_http(self, letters: Sequence[Letter]) -> None:
        for each in letters:
            if each.door is Door.JSON:
                answer = await self.http.post(
                    "/v1/messages", json={**each.members, "bcc": [*each.recipients]}
                )
            else:
                answer = await self.http.post(
                    "/v1/messages",
                    params={"rcpt": [*each.recipients]},
                    content=each.octets,
                    headers={"Content-Type": "message/rfc822"},
                )
            assert answer.status_code == 201, (each.token, answer.text)

    def _rows(self) -> list[tuple[Parcel, tuple[str, ...]]]:
        return [
            (self._parcel(row[:-1]), tuple(json.loads(row[-1])))
            for row in query(self.settings, _ROWS)
        ]

    def _parcel(self, row: Sequence[Any]) -> Parcel:
        number, recipient, selector, message, domain, at, path, header, body, file = row
        if file is not None:
            body = (self.settings.parent / "state" / "bodies" / file).read_bytes()
        return Parcel(
            DeliveryId(number),
            1,
            MessageId(message),
            header,
            body,
            recipient,
            path,
            from_micros(at),
            SendingDomainId(domain),
            selector,
        )


async def submit(client: SmtpClient, recipients: Sequence[str], octets: bytes) -> None:
    """Hand a message in by SMTP; it is taken on return."""
    eight = b"" if octets.isascii() else b" BODY=8BITMIME"
    await client.say(b"MAIL FROM:<%b>%b\r\n" % (AUTHOR.encode(), eight), b"250")
    for name in recipients:
        await client.say(b"RCPT TO:<%b>\r\n" % name.encode(), b"250")
    await client.say(b"DATA\r\n", b"354")
    await client.say(stuffed(octets), b"250")


def stuffed(octets: bytes) -> bytes:
    """Return what follows DATA, with the final dot (RFC 5321 §4.5.2)."""
    assert octets.endswith(b"\r\n"), "DATA ends in whole lines"
    return (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


@asynccontextmanager
async def bench(
    folder: Path, *, command: Sequence[str] = (*SERVE, _HELD), delivery: str = ""
) -> AsyncIterator[Bench]:
    """Run a node whose mail is stopped, and its receivers.

    ``delivery`` is lines for that table of its settings.
    """
    async with contextlib.AsyncExitStack() as stack:
        receivers = {
            EIGHT: KeepingReceiver(has_8bitmime=True),
            SEVEN: KeepingReceiver(has_8bitmime=False),
        }
        hops = []
        for domain, receiver in receivers.items():
            await stack.enter_async_context(receiver)
            hops.append(Hop(domain, f"127.0.0.1:{receiver.port}"))
        settings = _write(folder, hops, delivery)
        node = await stack.enter_async_context(NodeProcess(settings, command))
        operator = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url="http://operator",
                transport=httpx.AsyncHTTPTransport(
                    uds=str(folder / "state" / SOCKET_NAME)
                ),
                timeout=DEADLINE_S,
            )
        )
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url="http://{}:{}".format(*node.http),
                headers={"Authorization": f"Bearer {API_KEY}"},
                timeout=DEADLINE_S,
                trust_env=False,
            )
        )
        yield Bench(node, settings, receivers, operator, http)
        assert await node.stop() == 0, node.text


def _write(folder: Path, hops: Sequence[Hop], delivery: str) -> Path:
    """Write the node's files into a new folder, with our sending domain."""
    folder.mkdir()
    settings = write_node(folder, routes=hops, delivery=delivery, more=_LIMITS)
    setup = folder / "setup.toml"
    domain = 'domain = "{}"'.format
    setup.write_text(setup.read_text().replace(domain("example.com"), domain(DOMAIN)))
    return settings


async def measure(
    bench: Bench,
    judges: Judges,
    count: int,
    *,
    seed: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Return what becomes of ``count`` letters."""
    tally = Tally()
    preparer = Preparer(Keys())
    begun = time.monotonic()
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        copies = await bench.deliver([letter(seed, number) for number in numbers])
        await add(tally, copies, judges, preparer)
        say(f"{tally}  [{time.monotonic() - begun:.0f} s]")
    return tally


async def add(
    tally: Tally, copies: Sequence[Copy], judges: Judges, preparer: Preparer
) -> None:
    """Compare and judge ``copies`` and count their letters."""
    doors = {copy.letter.token: copy.letter.door for copy in copies}
    wrong = [await asyncio.to_thread(faults, copy, preparer) for copy in copies]
    bad = {"identical": _complain(tally, "", copies, ["; ".join(x) for x in wrong])}
    verdicts = await judges.judge([copy.kept.content for copy in copies])
    for name, said in verdicts.items():
        bad[name] = _complain(tally, name, copies, said)
    tally.copies += len(copies)
    tally.messages += len(doors)
    tally.doors.update(doors.values())
    tally.identical += len(doors) - len(bad.pop("identical"))
    for name, tokens in bad.items():
        tally.verified[name] += len(doors) - len(tokens)


def _complain(
    tally: Tally, who: str, copies: Sequence[Copy], said: Sequence[str]
) -> set[str]:
    """Note what is not ``""``; return the letters that it is about."""
    wrong = [
        (copy.letter.token, text)
        for copy, text in zip(copies, said, strict=True)
        if text
    ]
    for token, text in wrong:
        if len(tally.complaints) < _COMPLAINTS_MAX:
            tally.complaints.append(f"{who} {token}: {text}".strip())
    return {token for token, _ in wrong}
