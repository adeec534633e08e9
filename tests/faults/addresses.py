"""Every address is on the wire as it was meant, or is refused; by SMTP and by HTTP.

The receiver writes down what RCPT says; :mod:`spelt_addresses` knows what was meant. What
was accepted and is not on the wire is lost; what is on the wire and was not meant, and
what was refused though it must be taken, is unexplained. Control: a node that repairs.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import httpx

from fakes.node_process import API_KEY, SERVE, Hop, NodeProcess, write_node
from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from faults.ledger import Row, Size
from faults.spelt_addresses import Case, cases

_CONTROL = (str(Path(__file__).with_name("repairing_node.py")),)
_A_MESSAGE = 200
_CLIENTS = 4
_ARRIVES_S = 900.0
_STALLS_S = 120.0
_RCPT = re.compile(rb"RCPT TO:<(.*)>[^>]*", re.DOTALL)
_ERROR = re.compile(r"bcc\[(\d+)\]")
#: Where these are, a line of SMTP has another end: the session is over.
_FRAMING = re.compile("[\r\n\0]")


@dataclass(slots=True)
class Tally:
    """What was said about the addresses.

    Attributes:
        taken: what must be on the wire, by how often.
        refused: addresses that were refused.
        complaints: what must not be.
    """

    taken: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    complaints: list[str] = field(default_factory=list)

    def take(self, said: Iterable[Case]) -> None:
        """Note what one message's recipients mean; each of them gets one copy."""
        meant = set()
        for case in said:
            if case.means is None:
                self.complaints.append(f"taken: {case.spelling!r}")
            else:
                meant.add(case.means)
        self.taken.update(meant)

    def refuse(self, case: Case, why: str) -> None:
        """Note that ``case`` was refused."""
        self.refused += 1
        if case.must_be_taken:
            self.complaints.append(f"refused: {case.spelling!r}: {why}")


def _batches(some: Iterable[Case]) -> Iterator[Sequence[Case]]:
    left = iter(some)
    while batch := tuple(islice(left, _A_MESSAGE)):
        yield batch


async def _replies(reader: asyncio.StreamReader) -> str:
    """Return the last line of a reply; nothing when the other side has gone."""
    while line := (await reader.readline()).decode():
        if line[3:4] == " ":
            return line.strip()
    return ""


async def _smtp(
    node: NodeProcess, left: Iterator[Sequence[Case]], tally: Tally
) -> None:
    reader, writer = await asyncio.open_connection(*node.smtp)
    await _replies(reader)
    writer.write(b"EHLO client.example.com\r\n")
    await _replies(reader)
    for some in left:
        writer.write(b"MAIL FROM:<a@example.com> SMTPUTF8\r\n")
        assert (await _replies(reader)).startswith("250")
        said = []
        for case in some:
            writer.write(b"RCPT TO:<%s>\r\n" % case.spelling.encode())
        for case in some:
            reply = await _replies(reader)
            if reply.startswith("250"):
                said.append(case)
            else:
                tally.refuse(case, reply)
        if not said:
            writer.write(b"RSET\r\n")
            await _replies(reader)
            continue
        writer.write(b"DATA\r\n")
        assert (await _replies(reader)).startswith("354")
        writer.write(b"From: <a@example.com>\r\nSubject: x\r\n\r\nx\r\n.\r\n")
        reply = await _replies(reader)
        assert reply.startswith("250"), reply
        tally.take(said)
    writer.close()


async def _smtp_broken(node: NodeProcess, some: Iterable[Case], tally: Tally) -> None:
    """Say each of ``some`` over a connection of its own: it may be two commands."""
    for case in some:
        reader, writer = await asyncio.open_connection(*node.smtp)
        writer.write(
            b"EHLO client.example.com\r\nMAIL FROM:<a@example.com> SMTPUTF8\r\n"
            b"RCPT TO:<%s>\r\nDATA\r\n" % case.spelling.encode()
        )
        replies = [await _replies(reader) for _ in range(3)]
        third = await _replies(reader)
        if third.startswith("250"):
            tally.complaints.append(f"taken: {case.spelling!r}")
        tally.refused += 1
        assert replies[2].startswith("250"), replies
        writer.close()


async def _http(
    node: NodeProcess, left: Iterator[Sequence[Case]], tally: Tally
) -> None:
    host, port = node.http
    async with httpx.AsyncClient(
        base_url=f"http://{host}:{port}",
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=240,
        trust_env=False,
    ) as client:
        for some in left:
            said = list(some)
            while said:
                body = {
                    "from": "a@example.com",
                    "bcc": [{"address": case.spelling} for case in said],
                    "text": "x",
                }
                answer = await client.post("/v1/messages", json=body)
                if answer.status_code == 201:
                    tally.take(said)
                    break
                assert answer.status_code == 422, answer.text
                wrong = {}
                for error in answer.json()["errors"]:
                    found = _ERROR.match(error["field"])
                    assert found, error
                    wrong[int(found[1])] = error["message"]
                for place in sorted(wrong, reverse=True):
                    tally.refuse(said.pop(place), wrong[place])


async def _offer(node: NodeProcess, all_cases: Sequence[Case], tally: Tally) -> None:
    """Say half of the addresses by SMTP, half by HTTP."""
    middle = len(all_cases) // 2
    by_smtp, by_http = all_cases[:middle], all_cases[middle:]
    broken = [case for case in by_smtp if _FRAMING.search(case.spelling)]
    whole = (case for case in by_smtp if not _FRAMING.search(case.spelling))
    smtp, http = _batches(whole), _batches(by_http)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CLIENTS):
            tasks.create_task(_smtp(node, smtp, tally))
            tasks.create_task(_http(node, http, tally))
        tasks.create_task(_smtp_broken(node, broken, tally))


async def _arrived(receiver: ScriptedReceiver, many: int) -> Counter[str]:
    """Return what RCPT said, when it was ``many`` times or comes no more."""
    seen, at = 0, time.monotonic()
    while seen < many and time.monotonic() - at < _STALLS_S:
        before = seen
        seen = sum(line.startswith(b"RCPT") for line in receiver.commands)
        if seen > before:
            at = time.monotonic()
        await asyncio.sleep(0.2)
    await asyncio.sleep(1)  # one more would be as wrong as one too few
    found: Counter[str] = Counter()
    for line in receiver.commands:
        if match := _RCPT.fullmatch(line):
            found[match[1].decode("utf-8", "replace")] += 1
    return found


async def _play(
    folder: Path, name: str, command: Sequence[str], all_cases: Sequence[Case]
) -> tuple[Tally, Counter[str]]:
    place = folder / name
    place.mkdir()
    offers = (b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES")
    tally = Tally()
    async with ScriptedReceiver(Behaviour(offers)) as receiver:
        settings = write_node(place, routes=[Hop("*", f"127.0.0.1:{receiver.port}")])
        async with NodeProcess(settings, command) as node:
            await _offer(node, all_cases, tally)
            wire = await _arrived(receiver, tally.taken.total())
            if "Traceback" in node.text:
                tally.complaints.append(node.text[-500:])
    return tally, wire


async def run(folder: Path, size: Size) -> Row:
    """Say every address to a node, and some to the control."""
    every = list(cases(size.pick(3_000, 100_000), seed=1))
    tally, wire = await _play(folder, "node", SERVE, every)
    foreign = wire - tally.taken
    complaints = [
        *tally.complaints,
        *(f"on the wire: {text!r}" for text in foreign.elements()),
    ]
    repaired, wrong = await _play(folder, "control", _CONTROL, every[-1_000:])
    return Row(
        "addresses, however spelt",
        len(every),
        tally.taken.total(),
        (tally.taken - wire).total(),
        len(complaints),
        bool(repaired.complaints) and bool(wrong - repaired.taken),
        {
            "refused": tally.refused,
            "control_not_meant": (wrong - repaired.taken).total(),
        },
        tuple(complaints[:20]),
    )
