"""Zones that lie: each has one outcome, and nothing is sent where it must not be.

The honest receiver is at 127.3.0.1, which alone is allowed; a canary listens on the same
port of other loopback addresses, and must never see a connection. Control: a node that
connects wherever an answer leads, whoever gave it.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.rcode

from fakes.node_process import SERVE, NodeProcess, write_node
from fakes.scripted_receiver import ScriptedReceiver
from fakes.submitting import Book, Letter, submit_all
from faults.ledger import Row, Size
from faults.lying_dns import (
    Lie,
    LyingDns,
    forged,
    in_turn,
    octets,
    only,
    records,
    truncated,
)
from faults.outcomes import DELIVERED, TIMEOUTS, Expected, Verdict, judge, outcomes

_CONTROL = (str(Path(__file__).with_name("trustful_dns_node.py")),)
_GOOD = "127.3.0.1"
_CANARIES = ("127.0.0.1", "127.4.0.1")
_BAD = "127.4.0.1"


def _other_id(packet: bytes) -> bytes:
    (number,) = struct.unpack_from("!H", packet)
    return struct.pack("!H", number ^ 1) + packet[2:]


def _other_name(packet: bytes) -> bytes:
    return packet[:13] + bytes((packet[13] ^ 1,)) + packet[14:]


def _as_query(packet: bytes) -> bytes:
    return packet[:2] + bytes((packet[2] & 0x7F,)) + packet[3:]


def _mx(name: str, *hosts: str) -> Lie:
    return records(*(f"{name}.example 60 MX {host}." for host in hosts))


_WAITS = "451 4.4.[34]"
_NOT_GLOBAL = Expected("deferred", "451 4.4.4 .*not globally routable")
_FAILED = Expected("deferred", "451 4.4.3")
_NO_MX = Expected("deferred", "451 4.4.4 .*names a host")
_NULL = Expected("bounced", "556 5.1.10")
_NO_DOMAIN = Expected("bounced", "550 5.1.2")

#: By domain (without ``.example``): what is answered about it, and what comes of it.
ZONES: Mapping[str, tuple[Lie, Expected]] = {
    "good": (_mx("good", "10 good.hosts.example"), DELIVERED),
    "null": (records("null.example 60 MX 0 ."), _NULL),
    "null-mixed": (
        records(
            "null-mixed.example 60 MX 0 .",
            "null-mixed.example 60 MX 10 good.hosts.example.",
        ),
        DELIVERED,
    ),
    "null-and-address": (
        records(
            "null-and-address.example 60 MX 0 .",
            f"null-and-address.example 60 A {_GOOD}",
        ),
        _NULL,
    ),
    "to-loopback": (_mx("to-loopback", "10 loopback.hosts.example"), _NOT_GLOBAL),
    "to-private": (_mx("to-private", "10 private.hosts.example"), _NOT_GLOBAL),
    "to-metadata": (_mx("to-metadata", "10 metadata.hosts.example"), _NOT_GLOBAL),
    "to-any": (_mx("to-any", "10 any.hosts.example"), _NOT_GLOBAL),
    "to-multicast": (_mx("to-multicast", "10 multicast.hosts.example"), _NOT_GLOBAL),
    "to-broadcast": (_mx("to-broadcast", "10 broadcast.hosts.example"), _NOT_GLOBAL),
    "to-bad": (_mx("to-bad", "10 bad.hosts.example"), _NOT_GLOBAL),
    "implicit-loopback": (
        records("implicit-loopback.example 60 A 127.0.0.1"),
        _NOT_GLOBAL,
    ),
    "mixed-addresses": (
        _mx("mixed-addresses", "10 mixed.hosts.example"),
        DELIVERED,
    ),
    "bad-then-good": (
        _mx("bad-then-good", "10 bad.hosts.example", "20 good.hosts.example"),
        DELIVERED,
    ),
    "literal": (_mx("literal", "10 127.0.0.1"), _NO_MX),
    "one-label": (_mx("one-label", "10 localhost"), _NO_MX),
    "spaces": (records(r"spaces.example 60 MX 10 a\032b.example."), _NO_MX),
    "controls": (records(r"controls.example 60 MX 10 a\000\013\010.example."), _NO_MX),
    "huge": (
        truncated(
            _mx(
                "huge",
                "1 good.hosts.example",
                *(f"{n} h{n}.hosts.example" for n in range(2, 1_200)),
            )
        ),
        DELIVERED,
    ),
    "huge-bad": (
        truncated(
            _mx("huge-bad", *(f"{n} bad{n}.hosts.example" for n in range(1, 1_200)))
        ),
        Expected("deferred", _WAITS),
    ),
    "many-addresses": (
        _mx("many-addresses", "10 crowd.hosts.example"),
        _NOT_GLOBAL,
    ),
    "alias": (
        records(
            "alias.example 60 CNAME good.example.",
            "!good.example 60 MX 10 good.hosts.example.",
        ),
        DELIVERED,
    ),
    "alias-loop": (
        records(
            "alias-loop.example 60 CNAME other.example.",
            "!other.example 60 CNAME alias-loop.example.",
        ),
        _FAILED,
    ),
    "alias-itself": (
        records("alias-itself.example 60 CNAME alias-itself.example."),
        _FAILED,
    ),
    "alias-long": (
        records(
            "alias-long.example 60 CNAME a0.example.",
            *(f"!a{n}.example 60 CNAME a{n + 1}.example." for n in range(40)),
            "!a40.example 60 MX 10 good.hosts.example.",
        ),
        _FAILED,
    ),
    "mx-at-alias": (_mx("mx-at-alias", "10 alias.hosts.example"), DELIVERED),
    "mx-at-loop": (_mx("mx-at-loop", "10 loop.hosts.example"), _FAILED),
    "mx-nowhere": (_mx("mx-nowhere", "10 gone.hosts.example"), _FAILED),
    "mx-itself": (
        _mx("mx-itself", "10 mx-itself.example"),
        Expected("deferred", _WAITS),
    ),
    "nothing": (records(), _NO_DOMAIN),
    "missing": (records(rcode=dns.rcode.NXDOMAIN), _NO_DOMAIN),
    "servfail": (records(rcode=dns.rcode.SERVFAIL), _FAILED),
    "refused": (records(rcode=dns.rcode.REFUSED), _FAILED),
    "not-implemented": (records(rcode=dns.rcode.NOTIMP), _FAILED),
    "silent": (octets(), _FAILED),
    "empty-packet": (octets(b""), _FAILED),
    "garbage": (octets(b"\x81\x80" + bytes(range(200))), _FAILED),
    "half": (
        forged(_mx("half", "10 good.hosts.example"), lambda packet: packet[:-9]),
        _FAILED,
    ),
    "pointer-loop": (
        forged(
            records("pointer-loop.example 60 A 127.3.0.1"),
            lambda packet: packet + b"\xc0\x0c" * 40,
        ),
        _FAILED,
    ),
    "oversize": (octets(b"\x81\x80" + b"\0" * 60_000), _FAILED),
    "wrong-id": (forged(_mx("wrong-id", "10 bad.hosts.example"), _other_id), _FAILED),
    "forger-first": (
        forged(
            _mx("forger-first", "10 bad.hosts.example"),
            _other_id,
            then=_mx("forger-first", "10 good.hosts.example"),
        ),
        DELIVERED,
    ),
    "wrong-question": (
        forged(_mx("wrong-question", "10 bad.hosts.example"), _other_name),
        _FAILED,
    ),
    "echo": (forged(_mx("echo", "10 bad.hosts.example"), _as_query), _FAILED),
    "stray-records": (
        records(
            "stray-records.example 60 MX 10 good.hosts.example.",
            f"!good.hosts.example 60 A {_BAD}",
            "!good.example 60 MX 1 bad.hosts.example.",
        ),
        DELIVERED,
    ),
    "tcp-garbage": (truncated(octets(b"\x81\x80" + b"\xff" * 50)), _FAILED),
    "tcp-wrong-id": (
        truncated(forged(_mx("tcp-wrong-id", "10 bad.hosts.example"), _other_id)),
        _FAILED,
    ),
    "tcp-truncated": (truncated(truncated(octets())), _FAILED),
    "flips": (_mx("flips", "10 flips.hosts.example"), DELIVERED),
    "zero-ttl": (records("zero-ttl.example 0 MX 10 good.hosts.example."), DELIVERED),
    "long-ttl": (
        records("long-ttl.example 2147483647 MX 10 good.hosts.example."),
        DELIVERED,
    ),
}


def _address(name: str, *literals: str) -> Lie:
    return records(*(f"{name}.hosts.example 60 A {literal}" for literal in literals))


HOSTS: Mapping[str, Lie] = {
    "good": _address("good", _GOOD),
    "bad": _address("bad", _BAD),
    "loopback": _address("loopback", "127.0.0.1"),
    "private": _address("private", "10.0.0.1", "192.168.0.1", "172.16.0.1"),
    "metadata": _address("metadata", "169.254.169.254"),
    "any": _address("any", "0.0.0.0"),  # noqa: S104 - that nobody connects to
    "multicast": _address("multicast", "224.0.0.1"),
    "broadcast": _address("broadcast", "255.255.255.255"),
    "mixed": _address("mixed", _BAD, "127.0.0.1", _GOOD),
    "crowd": _address("crowd", *(f"127.4.{n}.1" for n in range(60))),
    "alias": records(
        "alias.hosts.example 60 CNAME good.hosts.example.",
        f"!good.hosts.example 60 A {_GOOD}",
    ),
    "loop": records("loop.hosts.example 60 CNAME loop.hosts.example."),
    # Looked at once, dialled once: it is the same answer.
    "flips": only("A", in_turn(_address("flips", _GOOD), _address("flips", _BAD))),
    **{f"bad{n}": _address(f"bad{n}", _BAD) for n in range(1, 30)},
}


@dataclass(slots=True)
class Canary:
    """Listens where nobody may connect.

    Attributes:
        peers: who did.
    """

    peers: list[str] = field(default_factory=list)

    async def serve(
        self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Note it, and close."""
        self.peers.append(str(writer.get_extra_info("sockname")[0]))
        writer.close()


@asynccontextmanager
async def canary_at(port: int) -> AsyncIterator[Canary]:
    """Listen on ``port`` of the other addresses."""
    canary = Canary()
    async with AsyncExitStack() as stack:
        for host in _CANARIES:
            server = await asyncio.start_server(canary.serve, host, port)
            await stack.enter_async_context(server)
            stack.callback(server.close)
        yield canary


def _is_free_on_canaries(port: int) -> bool:
    for host in _CANARIES:
        with socket.socket() as trial:
            try:
                trial.bind((host, port))
            except OSError:
                return False
    return True


@asynccontextmanager
async def _receiver() -> AsyncIterator[ScriptedReceiver]:
    """Give the honest receiver, on a port that the canary can have too."""
    while True:
        async with ScriptedReceiver(host=_GOOD) as receiver:
            if _is_free_on_canaries(receiver.port):
                yield receiver
                return


async def _play(
    folder: Path, name: str, command: Sequence[str], names: Sequence[str]
) -> tuple[Verdict, Canary, int]:
    place = folder / name
    place.mkdir()
    lies = {f"{zone}.example": ZONES[zone][0] for zone in names}
    lies |= {f"{host}.hosts.example": lie for host, lie in HOSTS.items()}
    table = {f"{zone}.example": ZONES[zone][1] for zone in names}
    async with (
        _receiver() as receiver,
        canary_at(receiver.port) as canary,
        LyingDns(lies) as server,
    ):
        settings = write_node(
            place, nameserver=server.address, smtp_port=receiver.port, more=TIMEOUTS
        )
        setup = place / "setup.toml"
        text = await asyncio.to_thread(setup.read_text)
        allowed = text.replace("127.0.0.0/8", f"{_GOOD}/32")
        await asyncio.to_thread(setup.write_text, allowed)
        async with NodeProcess(settings, command) as node:
            book = Book()
            await submit_all(
                node.smtp,
                [Letter(zone, (f"x@{zone}.example",)) for zone in names],
                book,
            )
            found = await outcomes(node, table, 1)
            taken = Counter(
                line.partition(b"<")[2].partition(b">")[0].decode()
                for line in receiver.commands
                if line.startswith(b"RCPT")
            )
            acknowledged = [f"x@{token}.example" for token in book.acknowledged]
            verdict = judge(node, table, found, acknowledged, taken.__getitem__)
            if "Traceback" in node.text:
                verdict.complaints.append(node.text[-500:])
    verdict.complaints += [f"a connection to {peer}" for peer in canary.peers]
    return verdict, canary, server.asked


async def run(folder: Path, size: Size) -> Row:
    """Write to every zone."""
    del size  # they are all needed, and quick
    found, canary, asked = await _play(folder, "node", SERVE, list(ZONES))
    lies = ["good", "to-loopback", "to-bad", "wrong-id"]
    control, caught, _ = await _play(folder, "control", _CONTROL, lies)
    return Row(
        "zones that lie",
        len(ZONES),
        found.acknowledged,
        found.lost,
        len(found.complaints),
        len(caught.peers) > 0 and bool(control.complaints),
        {
            "questions": asked,
            "to_the_canary": len(canary.peers),
            "control_to_the_canary": len(caught.peers),
        },
        tuple(found.complaints[:60]),
    )
