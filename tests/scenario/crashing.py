"""Kills a node again and again under load, and keeps a ledger of every letter.

A round is one life of the node: it starts on the state that the last one left, clients
load it, and it dies by ``kill -9`` at a point that chance picks. What the receivers took
in a round is what that life delivered: the next one starts when their connections to it
are closed.
"""

import asyncio
import contextlib
import re
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, islice, pairwise
from pathlib import Path
from random import Random

from fakes.node_process import SERVE, Hop, NodeProcess, query, query_days, write_node
from fakes.submitting import Book, HttpClient, Letter, SmtpClient
from mailwright.sandbox.behaviour import Behaviour, TlsOffer
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

SMTP_CLIENTS = 5
HTTP_CLIENTS = 2
DRAIN_S = 300.0
#: What DESIGN allows to be unsettled beside what connections hold.
SETTLE_S = 0.05
#: The pace at a kill is measured over this time.
PACE_S = 0.5
_TICK_S = 0.02
_SUBJECT = re.compile(rb"^Subject: letter (\S+)\r$", re.MULTILINE)

ROUTED = "routed.example"
DOMAINS = (
    SandboxDomain("plain.example", Behaviour(tls=TlsOffer.NONE)),
    SandboxDomain("secure.example"),
    SandboxDomain("slow.example", Behaviour(tls=TlsOffer.NONE, reply_delay_s=0.03)),
    # Its MX is asked by nobody: a route goes to its receiver, and pipelines all it can.
    SandboxDomain(ROUTED, Behaviour(tls=TlsOffer.NONE)),
)
#: How often each of them is written to.
_WEIGHTS = (45, 20, 5, 30)


def letters(rng: Random) -> Iterator[Letter]:
    """Yield letters for ever: some to many, some large."""
    names = [domain.name for domain in DOMAINS]
    for number in count():
        token = f"t{number}"
        kind = rng.random()
        # Over 100 recipients a submission is several commits; over 64 KB a file.
        to = 120 if kind < 0.004 else rng.randint(2, 5) if kind < 0.1 else 1
        octets = 90_000 if kind > 0.98 else rng.randint(100, 5_000)
        domains = rng.choices(names, _WEIGHTS, k=to)
        recipients = tuple(f"{token}.{n}@{name}" for n, name in enumerate(domains))
        yield Letter(token, recipients, octets)


@dataclass(frozen=True, slots=True)
class Kill:
    """What was measured when a node was killed.

    Attributes:
        connections: open at the receivers.
        rate: deliveries a second that these took, just before.
        arrived: deliveries that all receivers took until its connections had ended.
    """

    connections: int
    rate: float
    arrived: int

    @property
    def bound(self) -> float:
        """The copies that it may cause."""
        return 2 * self.connections + self.rate * SETTLE_S


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of everything; one letter to three recipients counts as three.

    Attributes:
        lost: acknowledged, and neither at its receiver nor in the queue.
        durable: taken by the node without an acknowledgement that arrived.
        copies: beyond the first, at the receivers.
        unexplained: copies that no kill explains or that no event marks, and copies
            that differ from the first.
        worst: of all kills, the highest share of its bound that one used up.
    """

    rounds: int
    acknowledged: int
    delivered: int
    queued: int
    lost: int
    durable: int
    copies: int
    unexplained: int
    worst: float
    excesses: Sequence[tuple[int, Kill]]

    def __str__(self) -> str:
        return (
            f"ledger: rounds={self.rounds} acknowledged={self.acknowledged} "
            f"delivered={self.delivered} queued={self.queued} lost={self.lost} "
            f"durable_unacknowledged={self.durable} copies={self.copies} "
            f"unexplained={self.unexplained} worst_share_of_bound={self.worst:.0%}"
        )


@dataclass(slots=True)
class Trial:
    """One series of rounds on one state.

    Attributes:
        book: what the clients know.
        kills: one for each round that is over.
    """

    settings: Path
    net: Internet
    command: Sequence[str]
    rng: Random
    book: Book = field(default_factory=Book)
    kills: list[Kill] = field(default_factory=list)
    _letters: Iterator[Letter] = field(init=False)

    def __post_init__(self) -> None:
        self._letters = letters(self.rng)

    async def round(self) -> None:
        """Let a node live under load and kill it."""
        node = NodeProcess(self.settings, self.command)
        await node.spawn()
        try:
            if self.kills and self.rng.random() < 0.1:
                # Also amid a start: recovery itself may be cut short.
                await asyncio.sleep(self.rng.uniform(0.5, 1.5))
                await self._kill(node, 0, 0.0)
            else:
                await node.wait_running()
                await self._live(node)
        except Exception as error:
            error.add_note(node.text)
            raise
        finally:
            await node.kill()

    async def drain(self) -> list[dict[str, object]]:
        """Let a node without load deliver all there is; return the events."""
        async with NodeProcess(self.settings, self.command) as node:
            async with asyncio.timeout(DRAIN_S):
                while self._queued():
                    await asyncio.sleep(0.1)
            client = HttpClient(node.http)
            try:
                events = await client.events()
            finally:
                await client.close()
            assert await node.stop() == 0, node.text
        return events

    def ledger(self, events: Sequence[dict[str, object]]) -> Ledger:
        """Account for everything, after :meth:`drain`."""
        arrivals = self._arrivals()
        queued = self._queued()
        marked = {event["recipient"] for event in events if _is_mark(event)}
        caused: Counter[int] = Counter()
        unexplained = 0
        for recipient, copies in arrivals.items():
            for (before, one), (after, other) in pairwise(copies):
                caused[before] += 1
                is_explained = before < after and recipient in marked and one == other
                unexplained += not is_explained
        acknowledged = {
            recipient
            for token in self.book.acknowledged
            for recipient in self.book.offered[token]
        }
        shares = [
            caused[number] / kill.bound
            for number, kill in enumerate(self.kills)
            if kill.bound
        ]
        return Ledger(
            rounds=len(self.kills),
            acknowledged=len(acknowledged),
            delivered=len(acknowledged & arrivals.keys()),
            queued=len(acknowledged & queued),
            lost=len(acknowledged - arrivals.keys() - queued),
            durable=len(arrivals.keys() - acknowledged),
            copies=sum(caused.values()),
            unexplained=unexplained,
            worst=max(shares, default=0.0),
            excesses=[
                (caused[number], kill)
                for number, kill in enumerate(self.kills)
                if caused[number] > kill.bound
            ],
        )

    async def _live(self, node: NodeProcess) -> None:
        """Load ``node`` until chance says that it dies."""
        delivered = self.net.inbox.totals.copies
        acknowledged = len(self.book.acknowledged)
        pace: deque[tuple[float, int]] = deque(maxlen=int(PACE_S / _TICK_S))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(SMTP_CLIENTS):
                tasks.create_task(self._submit_smtp(node))
            for _ in range(HTTP_CLIENTS):
                tasks.create_task(self._submit_http(node))
            watch = tasks.create_task(self._watch(pace))
            async with asyncio.timeout(120):
                # Early, amid much, or whenever.
                match self.rng.randrange(3):
                    case 0:
                        more = self.rng.randint(1, 200)
                        await self.book.wait_acknowledged(acknowledged + more)
                    case 1:
                        more = self.rng.randint(1, 400)
                        await self.net.inbox.wait_copies(delivered + more)
                    case _:
                        await self.book.wait_acknowledged(acknowledged + 1)
                        await asyncio.sleep(self.rng.uniform(0.0, 1.5))
            (since, before), (until, after) = pace[0], pace[-1]
            rate = (after - before) / max(until - since, _TICK_S)
            connections = sum(tally.open for tally in self.net.tallies.values())
            watch.cancel()
            await self._kill(node, connections, rate)

    async def _kill(self, node: NodeProcess, connections: int, rate: float) -> None:
        await node.kill()
        async with asyncio.timeout(120):
            # What it had written still arrives.
            while any(tally.open for tally in self.net.tallies.values()):
                await asyncio.sleep(_TICK_S)
        self.kills.append(Kill(connections, rate, len(self.net.inbox.letters)))

    async def _watch(self, pace: deque[tuple[float, int]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            pace.append((loop.time(), self.net.inbox.totals.copies))
            await asyncio.sleep(_TICK_S)

    async def _submit_smtp(self, node: NodeProcess) -> None:
        with contextlib.suppress(ConnectionError):
            client = await SmtpClient.connect(node.smtp)
            try:
                for letter in self._letters:
                    self.book.offer(letter)
                    await client.submit(letter)
                    self.book.acknowledge(letter)
            finally:
                await client.close()

    async def _submit_http(self, node: NodeProcess) -> None:
        client = HttpClient(node.http)
        try:
            for letter in self._letters:
                self.book.offer(letter)
                await client.submit(letter)
                self.book.acknowledge(letter)
        except ConnectionError:
            pass
        finally:
            await client.close()

    def _queued(self) -> set[str]:
        rows = query(
            self.settings,
            "SELECT recipient FROM deliveries d JOIN messages m ON d.message = m.id "
            "WHERE m.is_complete = 1",
        )
        return {recipient for (recipient,) in rows}

    def _arrivals(self) -> dict[str, list[tuple[int, bytes]]]:
        """Return for each recipient the round and the digest of each copy, in order."""
        arrivals: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        taken = iter(self.net.inbox.letters)
        ends = [*(kill.arrived for kill in self.kills), None]
        begin = 0
        for number, end in enumerate(ends):
            share = None if end is None else end - begin
            for letter in islice(taken, share):
                token = _token_of(letter.content or b"")
                for recipient in letter.recipients:
                    assert recipient.split(".")[0] == token, "contents were mixed up"
                    arrivals[recipient].append((number, letter.digest))
            begin = end or begin
        return arrivals


def _token_of(content: bytes) -> str:
    found = _SUBJECT.search(content)
    assert found is not None
    assert content.count(found[1]) > 1, "the body is another one"
    return found[1].decode()


def _is_mark(event: dict[str, object]) -> bool:
    data = event["data"]
    assert isinstance(data, dict)
    return event["type"] == "possible_duplicate" or "possible_duplicate" in data


@asynccontextmanager
async def trial(
    folder: Path, *, seed: int, command: Sequence[str] = SERVE
) -> AsyncIterator[Trial]:
    """Set up receivers and a node's files; nothing runs yet."""
    kept = InboxSettings(keep_content=True, letters_max=1_000_000, verify_share=0)
    async with Internet(DOMAINS, inbox=kept) as net:
        settings = write_node(
            folder,
            nameserver=net.nameserver,
            smtp_port=net.smtp_port,
            routes=[Hop(ROUTED, f"mx.{ROUTED}:{net.smtp_port}")],
        )
        yield Trial(settings, net, command, Random(seed))  # noqa: S311


def finished_states(settings: Path) -> Counter[int]:
    """Count the final deliveries by state."""
    return Counter(row[0] for row in query_days(settings, "finished", "state"))
