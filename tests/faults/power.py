"""Power loss: what the disk holds when the machine is gone.

The node's folder lies on ext4 in a file. When the node has been killed, the *file* is
copied: it has what this file system wrote, and lacks what is only in its memory (dirty
pages, the running journal transaction). The copy is mounted and the next life starts
there; what was mounted is thrown away.

Limits: a sector is never torn, the disk's own cache never lies, and pages that the
kernel wrote by itself before the kill (those older than half a minute) are on the disk.
Control: a node whose database is not synced at each commit (``synchronous=NORMAL``).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from typing_extensions import override

from fakes.node_process import SERVE, NodeProcess
from faults.kill import DOORS, NamedTrial, row_of
from faults.ledger import Row, Size
from scenario.crashing import Ledger, trial

CONTROL = (str(Path(__file__).with_name("unsynced_node.py")), "wal")
_IMAGE_OCTETS = 192 << 20
#: The journal commits when a sync demands it, not because five seconds are over.
_OPTIONS = "loop,noatime,commit=300"
#: At most: it is over with the first letter that is lost.
_CONTROL_ROUNDS = 12


class Disk:
    """A file system in a file, mounted; use it with :func:`disk`.

    Attributes:
        mounted: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._image = self._kept = folder / "disk0"
        self.mounted = folder / "none"

    async def make(self) -> None:
        """Make an empty one and mount it."""
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_OCTETS)
        await run("mkfs.ext4", "-q", "-F", "-J", "size=4", str(self._image))
        await self._mount(self._image)

    async def copy(self) -> None:
        """Keep what the file holds now: as if power went this moment."""
        self._kept = self._folder / f"disk{next(self._numbers)}"
        await run("cp", "--sparse=always", str(self._image), str(self._kept))

    async def start_again(self) -> None:
        """Go on with what was kept; all else is forgotten."""
        await self.unmount()
        self._image.unlink()
        await self._mount(self._kept)

    async def unmount(self) -> None:
        if self.mounted.exists():
            await run("umount", str(self.mounted))
            self.mounted.rmdir()

    async def _mount(self, image: Path) -> None:
        self._image, self.mounted = image, self._folder / "mounted"
        self.mounted.mkdir()
        try:
            await run("mount", "-o", _OPTIONS, str(image), str(self.mounted))
        except BaseException:
            self.mounted.rmdir()
            raise


@asynccontextmanager
async def disk(folder: Path) -> AsyncIterator[Disk]:
    """Make a disk in ``folder`` and take it away in the end."""
    made = Disk(folder)
    await made.make()
    try:
        yield made
    finally:
        await made.unmount()


async def run(*command: str) -> str:
    """Run a program and return what it said; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, (command, said)
    return said.decode()


class PowerTrial(NamedTrial):
    """Rounds whose kill takes the machine with it."""

    disk: Disk

    @override
    async def _kill(self, node: NodeProcess, connections: int, rate: float) -> None:
        await node.kill()
        await self.disk.copy()
        await super()._kill(node, connections, rate)


async def _series(
    parent: Path, name: str, rounds: int, *, is_busy: bool, command: Sequence[str]
) -> Ledger:
    """Cut the power ``rounds`` times; with the control, until something is lost."""
    folder = parent / name
    folder.mkdir()
    async with disk(folder) as made:
        # What was set up before the first cut is no matter of this test.
        place = made.mounted / "node"
        place.mkdir()
        async with trial(place, seed=3, command=command) as plain:
            os.sync()
            series = PowerTrial(plain.settings, plain.net, command, plain.rng)
            series.disk = made
            if command is CONTROL:
                # What is delivered cannot be lost any more: let none be.
                behaviours = series.net.conduct.behaviours
                for domain, behaviour in behaviours.items():
                    behaviours[domain] = replace(behaviour, defer_first=None)
            await series.set_up()
            for number in range(rounds):
                if is_busy:
                    await series.round()
                else:
                    await series.round_idle(DOORS[number % 2])
                await made.start_again()
                ledger = series.ledger([])
                if command is CONTROL and ledger.lost:
                    return ledger
            if command is CONTROL:
                return ledger
            return series.ledger(await series.drain())


async def _row(folder: Path, size: Size, *, is_busy: bool) -> Row:
    rounds = size.pick(2, 50)
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(
            _series(folder, "trial", rounds, is_busy=is_busy, command=SERVE)
        )
        failing = tasks.create_task(
            _series(
                folder, "control", _CONTROL_ROUNDS, is_busy=is_busy, command=CONTROL
            )
        )
    ledger, control = playing.result(), failing.result()
    row = row_of(
        f"power loss, {'busy' if is_busy else 'idle'}", ledger, control.lost > 0
    )
    row.notes["control_lost"] = f"{control.lost}/{control.acknowledged}"
    return row


async def run_busy(folder: Path, size: Size) -> Row:
    """Lose power under load."""
    return await _row(folder, size, is_busy=True)


async def run_idle(folder: Path, size: Size) -> Row:
    """Lose power while a letter comes now and then: nothing else syncs for it."""
    return await _row(folder, size, is_busy=False)
