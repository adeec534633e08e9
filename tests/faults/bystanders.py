"""Honest clients of a node that somebody else is attacking, and what became of theirs."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from fakes.node_process import SERVE, Hop, NodeProcess, write_node
from fakes.submitting import Book, Letter, SmtpClient
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet

DOMAIN = "honest.example"
#: Who logs in, with a secret, over loopback in clear.
CLOSED_DOOR = '\n[[smtp]]\nlisten = "127.0.0.1:0"\ntls = "none"\n'
_DRAIN_S = 300.0


@dataclass(slots=True)
class Scene:
    """A node, a receiver, and what honest clients submit.

    Attributes:
        book: what was offered and acknowledged.
        seconds: that each acknowledged letter took, with its connection.
        refused: letters that were not taken.
        expected: letters of others that are waited for.
    """

    folder: Path
    net: Internet
    node: NodeProcess
    book: Book = field(default_factory=Book)
    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    expected: int = 0
    _numbers: "count[int]" = field(default_factory=count)

    def letter(self) -> Letter:
        """Return one that no other is like."""
        token = f"b{next(self._numbers)}"
        return Letter(token, (f"{token}@{DOMAIN}",))

    async def submit(self) -> None:
        """Submit a letter over a connection of its own."""
        letter = self.letter()
        begun = time.perf_counter()
        self.book.offer(letter)
        try:
            async with asyncio.timeout(_DRAIN_S):
                client = await SmtpClient.connect(self.node.smtp)
                try:
                    await client.submit(letter)
                finally:
                    await client.close()
        except (OSError, AssertionError) as error:  # TimeoutError is an OSError
            self.refused.append(f"{letter.token}: {str(error).strip() or 'too slow'}")
            return
        self.book.acknowledge(letter)
        self.seconds.append(time.perf_counter() - begun)

    async def submit_for_ever(self, gap_s: float = 0.05) -> None:
        """Submit one after another until cancelled."""
        while True:
            await self.submit()
            await asyncio.sleep(gap_s)

    async def wait_taken(self, local_part: str) -> None:
        """Return when the receiver has every letter to ``local_part`` that was taken."""
        self.expected += 1
        async with asyncio.timeout(_DRAIN_S):
            while True:
                taken = sum(
                    copies
                    for (recipient, _), copies in self.net.inbox.copies.items()
                    if recipient == f"{local_part}@{DOMAIN}"
                )
                if taken >= self.expected:
                    return
                await asyncio.sleep(0.02)

    async def lost(self) -> int:
        """Return how many of the acknowledged do not arrive in time."""
        try:
            async with asyncio.timeout(_DRAIN_S):
                while self._missing():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        return len(self._missing())

    def _missing(self) -> set[str]:
        arrived = {recipient for recipient, _ in self.net.inbox.copies}
        return {f"{token}@{DOMAIN}" for token in self.book.acknowledged} - arrived


@asynccontextmanager
async def scene_of(
    folder: Path,
    name: str,
    *,
    command: Sequence[str] = SERVE,
    more: str = "",
    delivery: str = "",
    routes: Sequence[Hop] = (),
) -> AsyncIterator[Scene]:
    """Run a node in a folder of its own; ``more`` are tables of its settings.

    ``delivery`` are lines of the table of that name.
    """
    place = folder / name
    place.mkdir()
    async with Internet(
        [DOMAIN], inbox=InboxSettings(letters_max=1_000, verify_share=0)
    ) as net:
        settings = write_node(
            place,
            nameserver=net.nameserver,
            smtp_port=net.smtp_port,
            more=more,
            delivery=delivery,
            routes=routes,
        )
        async with NodeProcess(settings, command) as node:
            scene = Scene(place, net, node)
            # The first ones load what is loaded once, on their way out too.
            for _ in range(5):
                await scene.submit()
            assert not scene.refused, scene.refused
            assert not await scene.lost()
            yield scene
