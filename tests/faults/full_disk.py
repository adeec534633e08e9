"""The disk has no room, or no inodes, before, during and after DATA and while settling.

The node's state lies on a small tmpfs that is filled at that moment. Whoever submits is
told to come again (452 or 451; 507 by HTTP), what is with receivers is recorded, nothing
else leaves, and ten seconds after there is room again mail is taken and leaves. Control:
a node that holds no room back for outcomes.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from time import monotonic

from fakes.node_process import SERVE, NodeProcess, query, write_node
from fakes.submitting import Book, HttpClient, Letter, RefusedError, SmtpClient
from faults.ledger import Row, Size
from faults.power import run as run_program
from mailwright.queue.delivery import State
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

_CONTROL = (str(Path(__file__).parents[1] / "scenario" / "unballasted_node.py"),)
HEALS_S = 10.0
_WITHIN_S = 300.0
#: Its body is a file, which takes an inode.
_LARGE = 90_000
_DISK = "size=32m,nr_inodes=3000,mode=700"
_IN_FLIGHT = 40
_SENDING = f"SELECT count(*) FROM deliveries WHERE state = {int(State.SENDING)}"

Fill = Callable[[Path], None]


def fill_blocks(state: Path) -> None:
    """Take every octet that is free."""
    folder = state / "filler"
    folder.mkdir()
    file = os.open(folder / "0", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for size in (1_000_000, 65_536, 4096):
            with contextlib.suppress(OSError):
                while os.write(file, bytes(size)) == size:
                    pass
    finally:
        os.close(file)


def fill_inodes(state: Path) -> None:
    """Make files until there can be no more."""
    folder = state / "filler"
    folder.mkdir()
    with contextlib.suppress(OSError):
        for number in count():
            (folder / str(number)).touch()


def empty(state: Path) -> None:
    """Give back what :func:`fill_blocks` or :func:`fill_inodes` took."""
    for path in (state / "filler").iterdir():
        path.unlink()
    (state / "filler").rmdir()


@dataclass(slots=True)
class _Trial:
    """One node on one small disk."""

    settings: Path
    net: Internet
    fill: Fill
    size: Size
    book: Book = field(default_factory=Book)
    complaints: list[str] = field(default_factory=list)
    fills: int = 0
    refusals: int = 0
    slowest_s: float = 0.0
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def state(self) -> Path:
        return self.settings.parent / "state"

    def letter(self, domain: str = "quick.example") -> Letter:
        token = f"t{next(self._numbers)}"
        return Letter(token, (f"{token}@{domain}",), _LARGE)

    def refused(self, what: str, reply: str) -> None:
        """Judge a refusal: it must be temporary, and say nothing of our paths."""
        self.refusals += 1
        if not re.match(r"45[12] 4\.3\.|507 ", reply) or str(self.state) in reply:
            self.complaints.append(f"{what}: {reply.strip()}")

    async def take_smtp(self, node: NodeProcess, what: str, filled_at: str) -> bool:
        """Submit a letter; the disk is filled at ``filled_at``. Return if it was taken."""
        letter = self.letter()
        self.book.offer(letter)
        client = await SmtpClient.connect(node.smtp)
        try:
            await client.say(b"MAIL FROM:<a@example.com>\r\n", b"250")
            await client.say(
                b"RCPT TO:<%s>\r\n" % letter.recipients[0].encode(), b"250"
            )
            await client.say(b"DATA\r\n", b"354")
            content = letter.to_wire()
            if filled_at == "during":
                await self.filled()
            client._writer.write(content[: -len(b".\r\n")])
            await client._writer.drain()
            if filled_at == "after":
                await self.filled()
            await client.say(b".\r\n", b"250")
        except RefusedError as refused:
            self.refused(f"{what}, {filled_at}", str(refused))
            return False
        finally:
            await client.close()
        self.book.acknowledge(letter)
        return True

    async def take_http(self, node: NodeProcess, what: str) -> bool:
        letter = self.letter()
        client = HttpClient(node.http)
        try:
            self.book.offer(letter)
            await client.submit(letter)
        except RefusedError as refused:
            self.refused(f"{what}, http", str(refused))
            return False
        finally:
            await client.close()
        self.book.acknowledge(letter)
        return True

    async def filled(self) -> None:
        self.fills += 1
        await asyncio.to_thread(self.fill, self.state)

    async def heal(self, node: NodeProcess, what: str) -> None:
        """Make room, and wait until mail is taken again and leaves."""
        await asyncio.to_thread(empty, self.state)
        begun = monotonic()
        while not (await self.take_smtp(node, what, "healing")):
            await asyncio.sleep(0.05)
        while not (await self.take_http(node, what)):
            await asyncio.sleep(0.05)
        last = self.book.offered[self.book.acknowledged[-1]][0]
        while not self.net.inbox.count_of(last):
            await asyncio.sleep(0.05)
        took_s = monotonic() - begun
        self.slowest_s = max(self.slowest_s, took_s)
        if took_s > self.size.budget(HEALS_S):
            self.complaints.append(f"{what}: healed after {took_s:.1f} s")


async def _around_data(trial: _Trial, node: NodeProcess, what: str) -> None:
    for moment in ("before", "during", "after"):
        if moment == "before":
            await trial.filled()
        if await trial.take_smtp(node, what, moment):
            # The rest of its room may have been enough; the next one must fail.
            while await trial.take_smtp(node, what, "more"):
                pass
        while await trial.take_http(node, what):
            pass
        await trial.heal(node, f"{what}, {moment}")


async def _in_flight(trial: _Trial, node: NodeProcess) -> None:
    """Fill the disk while deliveries are with receivers that take their time."""
    client = await SmtpClient.connect(node.smtp)
    copies = trial.net.inbox.totals.copies
    try:
        for _ in range(_IN_FLIGHT):
            letter = Letter(
                (token := f"f{next(trial._numbers)}"), (f"{token}@slow.example",), 2000
            )
            trial.book.offer(letter)
            await client.submit(letter)
            trial.book.acknowledge(letter)
    finally:
        await client.close()
    await trial.net.inbox.wait_copies(copies + 2)
    await trial.filled()
    while await trial.take_http(node, "settling"):
        pass  # what is left of the last page


async def _settling(trial: _Trial, node: NodeProcess, what: str) -> None:
    await _in_flight(trial, node)
    while _sending(trial.settings):
        await asyncio.sleep(0.05)
    await trial.heal(node, f"{what}, settling")


def _sending(settings: Path) -> int:
    [[number]] = query(settings, _SENDING)
    assert isinstance(number, int)
    return number


@asynccontextmanager
async def _trial(
    parent: Path, name: str, fill: Fill, size: Size
) -> AsyncIterator[_Trial]:
    folder = parent / name
    state = folder / "state"
    state.mkdir(mode=0o700, parents=True)
    await run_program("mount", "-t", "tmpfs", "-o", _DISK, "none", str(state))
    slow = SandboxDomain("slow.example", Behaviour(reply_delay_s=0.2))
    try:
        async with Internet(
            [slow, "quick.example"], inbox=InboxSettings(verify_share=0)
        ) as net:
            settings = write_node(
                folder,
                nameserver=net.nameserver,
                smtp_port=net.smtp_port,
                more="\n[limits]\nmax_message = 1000000\n",
            )
            yield _Trial(settings, net, fill, size)
    finally:
        await run_program("umount", str(state))


async def _play(folder: Path, name: str, fill: Fill, size: Size) -> Row:
    rounds = size.pick(1, 5)
    async with _trial(folder, name, fill, size) as trial:
        async with NodeProcess(trial.settings, SERVE) as node:
            async with asyncio.timeout(_WITHIN_S * rounds):
                for _ in range(rounds):
                    await _around_data(trial, node, name)
                    if fill is fill_blocks:  # outcomes take no inodes
                        await _settling(trial, node, name)
                await trial.net.inbox.wait_copies(len(trial.book.acknowledged))
            if "Traceback" in node.text:
                trial.complaints.append(f"{name}: {node.text.splitlines()[-1]}")
            assert await node.stop() == 0, node.text
        copies = trial.net.inbox.totals
        if copies.duplicates:
            trial.complaints.append(f"{name}: {copies.duplicates} copies")
        arrived = {to for to, _ in trial.net.inbox.copies}
        expected = {trial.book.offered[token][0] for token in trial.book.acknowledged}
        return Row(
            f"no {name} left",
            trial.fills,
            len(expected),
            len(expected - arrived),
            len(trial.complaints),
            None,
            {"refused": trial.refusals, "slowest_heal_s": round(trial.slowest_s, 1)},
            tuple(trial.complaints),
        )


async def _is_control_caught(folder: Path, command: Sequence[str], size: Size) -> bool:
    """Whether outcomes stay unwritten where no room is held back for them."""
    async with (
        _trial(folder, "control", fill_blocks, size) as trial,
        NodeProcess(trial.settings, command) as node,
    ):
        async with asyncio.timeout(_WITHIN_S):
            await _in_flight(trial, node)
            # As long as an honest node may take to record them.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEALS_S):
                    while _sending(trial.settings):
                        await asyncio.sleep(0.05)
        return _sending(trial.settings) > 0


async def _run(folder: Path, size: Size, name: str, fill: Fill) -> Row:
    row = await _play(folder, name, fill, size)
    control = await _is_control_caught(folder, _CONTROL, size)
    return replace(row, control=control)


async def run_blocks(folder: Path, size: Size) -> Row:
    """Take every octet."""
    return await _run(folder, size, "blocks", fill_blocks)


async def run_inodes(folder: Path, size: Size) -> Row:
    """Take every inode."""
    return await _run(folder, size, "inodes", fill_inodes)
