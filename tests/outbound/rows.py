"""The rows of ``make outbound``, each with a node of its own in an empty folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from fakes.dkim_judges import Judges
from mailwright.mta.preparing import Preparer
from outbound import real_mail
from outbound import tampering as tampered
from outbound.letters import DOMAIN, letter
from outbound.truth import (
    BATCH,
    CONTROL,
    OTHER,
    Keys,
    Tally,
    add,
    bench,
    measure,
    published,
)

CONTROL_LETTERS: Final = 100


def _quietly(_: str) -> None:
    """Say nothing of the progress."""


async def truth(
    folder: Path, count: int, *, seed: int = 1, say: Callable[[str], None] = _quietly
) -> Tally:
    """Send ``count`` letters, compare and judge what arrives."""
    async with (
        Judges(folder / "judges", published(), DOMAIN) as judges,
        bench(folder / "node") as running,
    ):
        return await measure(running, judges, count, seed=seed, say=say)


async def control(folder: Path) -> Tally:
    """Do the same with a node that signs before it edits."""
    async with (
        Judges(folder / "judges", published(), DOMAIN) as judges,
        # What is wrong with it is in the node's own process.
        bench(
            folder / "node", command=CONTROL, delivery="session_processes = 0"
        ) as running,
    ):
        tally = Tally()
        copies = await running.deliver([letter(1, n) for n in range(CONTROL_LETTERS)])
        await add(tally, copies, judges, Preparer(Keys()))
        return tally


async def tampering(folder: Path, messages: int, *, seed: int = 1) -> tampered.Outcome:
    """Tamper in every way with ``messages`` messages that a receiver got."""
    other = generate_private_key(65_537, 2048)
    found: list[tampered.Message] = []
    async with (
        Judges(folder / "judges", published(**{OTHER: other}), DOMAIN) as judges,
        bench(folder / "node") as running,
    ):
        start = 0
        while len(found) < messages:
            numbers = range(start, start + BATCH)
            copies = await running.deliver([letter(seed, each) for each in numbers])
            found += tampered.fit(copies)
            start += BATCH
        return await tampered.tamper(found[:messages], judges)


async def corpus(folder: Path) -> real_mail.Outcome:
    """Offer the mails of the corpus as they are, then in our name."""
    async with (
        Judges(folder / "judges", published(), DOMAIN) as judges,
        bench(folder / "node") as running,
    ):
        return await real_mail.send(running, judges, real_mail.mails())
