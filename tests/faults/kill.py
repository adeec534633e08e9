"""``kill -9`` at random and at named points, busy and idle, by SMTP and by HTTP.

The points, in the order in which a message passes them: half of its content was sent
(SMTP: after 354), before and after the commit of its acceptance, when a receiver has its
content but said nothing, when that one has said 250, before the outcome is handed to
the store. A client and a receiver kill at the points that they see; for the others
:mod:`crashing_node` does it. Control: a node that answers before it commits.
"""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count, cycle
from pathlib import Path

from fakes.node_process import NodeProcess
from fakes.submitting import HttpClient, Letter, SmtpClient
from faults.crashing_node import POINTS
from faults.ledger import Row, Size
from mailwright.sandbox.inbox import Letter as Taken
from scenario.crashing import PACE_S, Ledger, Trial, trial

_HERE = Path(__file__).parent
CONTROL = (str(_HERE.parent / "scenario" / "control_node.py"),)
#: At most: it is over with the first letter that is lost.
_CONTROL_ROUNDS = 12
#: A point that is not passed so often within this time makes no round.
_PATIENCE_S = 300.0
_TICK_S = 0.02
_GAP_S = 0.05
CONTENT, TAKEN, SAID_250 = "half-content", "before-250", "after-250"
NAMED = (CONTENT, POINTS[0], POINTS[1], TAKEN, SAID_250, POINTS[2])
DOORS = ("smtp", "http")


class NamedTrial(Trial):
    """Rounds that end at a named point, or amid idleness."""

    async def set_up(self) -> None:
        """Let a node make its database, and stop it."""
        async with self._node(self.command) as node:
            assert await node.stop() == 0, node.text

    async def round_at(self, point: str, door: str, passages: int) -> None:
        """Let a node live until it dies at a passage of ``point`` that chance picks."""
        number = self.rng.randint(1, passages)
        command = self.command
        if point in POINTS:
            command = (str(_HERE / "crashing_node.py"), point, str(number))
        async with self._node(command) as node:
            with self._receivers_kill(node, point, number):
                await self._load_until_dead(node, point, door, number)

    async def round_idle(self, door: str) -> None:
        """Kill a node that gets a letter now and then."""
        async with self._node(self.command) as node:
            acknowledged = len(self.book.acknowledged)
            async with asyncio.TaskGroup() as tasks:
                client = tasks.create_task(self._submit_idly(node, door))
                async with asyncio.timeout(_PATIENCE_S):
                    more = self.rng.randint(1, 8)
                    await self.book.wait_acknowledged(acknowledged + more)
                await asyncio.sleep(self.rng.uniform(0.0, 2 * _GAP_S))
                await self._kill(node, self._open(), 1 / _GAP_S)
                client.cancel()

    @asynccontextmanager
    async def _node(self, command: Sequence[str]) -> AsyncIterator[NodeProcess]:
        node = NodeProcess(self.settings, command)
        await node.spawn()
        try:
            await node.wait_running()
            yield node
        except Exception as error:
            error.add_note(node.text)
            raise
        finally:
            await node.kill()

    async def _load_until_dead(
        self, node: NodeProcess, point: str, door: str, number: int
    ) -> None:
        pace: deque[tuple[float, int]] = deque(maxlen=int(PACE_S / _TICK_S))
        open_most: deque[int] = deque([0], maxlen=int(PACE_S / _TICK_S))
        async with asyncio.TaskGroup() as tasks:
            clients = [
                tasks.create_task(
                    self._submit_smtp(node)
                    if door == "smtp"
                    else self._submit_http(node)
                )
                for _ in range(4)
            ]
            if point == CONTENT:
                killing = kill_amid_content(node, door, number)
                clients.append(tasks.create_task(killing))
            watch = tasks.create_task(self._watch_both(pace, open_most))
            async with asyncio.timeout(_PATIENCE_S):
                assert await node.wait(within_s=_PATIENCE_S) == -signal.SIGKILL
            watch.cancel()
            for client in clients:
                client.cancel()
        (since, before), (until, after) = pace[0], pace[-1]
        rate = (after - before) / max(until - since, _TICK_S)
        await self._kill(node, max(open_most), rate)

    async def _watch_both(
        self, pace: deque[tuple[float, int]], open_most: deque[int]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            pace.append((loop.time(), self.net.inbox.totals.copies))
            open_most.append(self._open())
            await asyncio.sleep(_TICK_S)

    async def _submit_idly(self, node: NodeProcess, door: str) -> None:
        http = HttpClient(node.http)
        with contextlib.suppress(ConnectionError):
            smtp = await SmtpClient.connect(node.smtp)
            try:
                for letter in self._letters:
                    self.book.offer(letter)
                    await (smtp if door == "smtp" else http).submit(letter)
                    self.book.acknowledge(letter)
                    await asyncio.sleep(_GAP_S)
            finally:
                await smtp.close()
                await http.close()

    @contextlib.contextmanager
    def _receivers_kill(self, node: NodeProcess, point: str, number: int):
        """Let the receiver of the n-th letter from now on kill, if ``point`` is its."""
        inbox, numbers = self.net.inbox, count(1)
        take = inbox.take

        def killing(letter: Taken, content: bytes) -> None:
            take(letter, content)
            if next(numbers) != number:
                return
            if point == TAKEN:
                os.kill(node.pid, signal.SIGKILL)
            elif point == SAID_250:
                # Its reply is written before the loop turns.
                asyncio.get_running_loop().call_soon(os.kill, node.pid, signal.SIGKILL)

        inbox.take = killing  # type: ignore[method-assign]
        try:
            yield
        finally:
            inbox.take = take  # type: ignore[method-assign]

    def _open(self) -> int:
        return sum(tally.open for tally in self.net.tallies.values())


async def kill_amid_content(node: NodeProcess, door: str, number: int) -> None:
    """Let the n-th client in a row send half of its content, and kill."""
    letter = Letter("half", ("half@plain.example",), 20_000)
    for _ in range(number):
        if door == "smtp":
            client = await SmtpClient.connect(node.smtp)
            await client.say(b"MAIL FROM:<a@example.com>\r\n", b"250")
            await client.say(b"RCPT TO:<half@plain.example>\r\n", b"250")
            await client.say(b"DATA\r\n", b"354")
            writer = client._writer
            writer.write(letter.to_wire()[:10_000])
        else:
            _, writer = await asyncio.open_connection(*node.http)
            writer.write(
                b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 20000\r\n\r\n"
                + b'{"text": "'.ljust(10_000, b"x")
            )
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.transport.abort()
    node.send(signal.SIGKILL)


def row_of(name: str, ledger: Ledger, control: bool | None) -> Row:
    """Return what ``ledger`` says of a series of kills."""
    complaints = tuple(
        f"{copies} copies after a kill that explains {kill.bound:.1f}"
        for copies, kill in ledger.excesses
    )
    return Row(
        name,
        ledger.rounds,
        ledger.acknowledged,
        ledger.lost + ledger.queued,
        ledger.unexplained + len(complaints),
        control,
        {
            "copies": ledger.copies,
            "worst_share_of_bound": f"{ledger.worst:.0%}",
            "unacknowledged": ledger.durable,
        },
        complaints,
    )


async def is_control_caught(folder: Path) -> bool:
    """Whether the ledger finds what a node loses that answers first."""
    async with trial(folder, seed=1, command=CONTROL) as series:
        for _ in range(_CONTROL_ROUNDS):
            await series.round()
            if series.ledger([]).lost:  # marks of copies are of no matter here
                return True
    return False


async def _series(
    folder: Path, seed: int, play: Callable[[NamedTrial], "AsyncIterator[None]"]
) -> Ledger:
    place = folder / "trial"
    place.mkdir()
    async with trial(place, seed=seed) as plain:
        series = NamedTrial(plain.settings, plain.net, plain.command, plain.rng)
        async for _ in play(series):
            pass
        return series.ledger(await series.drain())


async def _row(
    folder: Path,
    name: str,
    seed: int,
    play: Callable[[NamedTrial], "AsyncIterator[None]"],
) -> Row:
    """Play a series with the control beside it, as they share nothing."""
    place = folder / "control"
    place.mkdir()
    async with asyncio.TaskGroup() as tasks:
        control = tasks.create_task(is_control_caught(place))
        ledger = tasks.create_task(_series(folder, seed, play))
    return row_of(name, ledger.result(), control.result())


async def run_busy(folder: Path, size: Size) -> Row:
    """Kill at random under load by both doors."""

    async def play(series: NamedTrial) -> AsyncIterator[None]:
        for _ in range(size.pick(4, 100)):
            yield await series.round()

    return await _row(folder, "kill -9, busy, random", 20261122, play)


async def run_idle(folder: Path, size: Size) -> Row:
    """Kill at random while a letter comes now and then."""

    async def play(series: NamedTrial) -> AsyncIterator[None]:
        for number in range(size.pick(3, 40)):
            yield await series.round_idle(DOORS[number % 2])

    return await _row(folder, "kill -9, idle, random", 7, play)


async def run_named(folder: Path, size: Size) -> Row:
    """Kill at each named point, by each door; in short by the doors in turn."""
    passages = size.pick(12, 40)
    points = [(point, door) for point in NAMED for door in DOORS] * 8
    if size is Size.SHORT:
        points = list(zip(NAMED, cycle(DOORS), strict=False))

    async def play(series: NamedTrial) -> AsyncIterator[None]:
        for point, door in points:
            yield await series.round_at(point, door, passages)

    return await _row(folder, "kill -9, named points", 11, play)
