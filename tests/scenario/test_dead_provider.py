"""A provider that holds every connection it gets, and another one that is well."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from fakes.node_process import SERVE, NodeProcess, write_node
from fakes.submitting import Book, Letter, submit_all
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain
from pulls import percentile

pytestmark = [pytest.mark.scenario, pytest.mark.alone]

CONNECTIONS = 24
#: Kept from any one provider: an eighth.
DEAD_MAX = CONNECTIONS - CONNECTIONS // 8
#: Sites of the provider that is dead, each with mail: enough to take every connection.
DEAD_SITES = 2 * CONNECTIONS
#: What the other one takes for each reply. It is what a letter's time is made of, so
#: that a busy machine changes little.
REPLY_S = 0.15
#: Letters to it, all at once: enough for every connection that a site gets.
LETTERS: Final = 100
#: To find that only an eighth of the connections is left takes fewer.
LETTERS_OF_CONTROL: Final = 2 * CONNECTIONS
#: Rounds of which the best counts.
TRIES: Final = 3
#: A round that takes longer is stuck.
ROUND_S: Final = 300.0
#: An answer of the machine's that is no fault of the node's, in either round.
NOISE_S = 0.05

WELL = "well.example"
#: MX hosts under this name are of a provider with a profile of its own; it limits
#: connections to a site, not those of a source.
DEAD_HOST = "s{}.rambler.ru"


def dead(number: int) -> SandboxDomain:
    """Return a domain whose host says nothing, or every octet after long seconds."""
    silent, tarpit = Behaviour(banner_delay_s=600), Behaviour(trickle_s=5)
    behaviour = silent if number % 2 else tarpit
    return SandboxDomain(
        f"dead{number}.example", behaviour, (DEAD_HOST.format(number),)
    )


class Round:
    """A run of letters to the provider that is well."""

    def __init__(self, name: str, letters: int) -> None:
        self.name = name
        self.letters = letters
        self.began_at = 0.0
        self.times_s: list[float] = []
        self.took_s = 0.0

    @property
    def p95_s(self) -> float:
        return percentile(self.times_s, 95)

    @property
    def per_s(self) -> float:
        return self.letters / self.took_s

    async def run(self, address: tuple[str, int], net: Internet) -> None:
        """Submit the letters and wait until all have arrived."""
        names = [f"{self.name}{number}@{WELL}" for number in range(self.letters)]
        letters = [Letter(name, (name,)) for name in names]
        self.began_at = time.monotonic()
        async with asyncio.timeout(ROUND_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(net))
            await submit_all(address, letters, Book())
        self.took_s = time.monotonic() - self.began_at

    async def _watch(self, net: Internet) -> None:
        seen = net.inbox.totals.copies
        goal = seen + self.letters
        while seen < goal:
            await net.inbox.wait_copies(seen + 1)
            now, new = time.monotonic(), net.inbox.totals.copies - seen
            self.times_s += [now - self.began_at] * new
            seen += new


async def hold_connections(address: tuple[str, int], net: Internet) -> None:
    """Submit mail to the dead provider until it holds all that it may."""
    letters = [
        Letter(f"x{number}", (f"a@dead{number}.example", f"b@dead{number}.example"))
        for number in range(DEAD_SITES)
    ]
    await submit_all(address, letters, Book())
    async with asyncio.timeout(120):
        while held(net) < DEAD_MAX:
            await asyncio.sleep(0.05)


def held(net: Internet) -> int:
    """Return how many connections the dead provider holds."""
    return sum(tally.open for name, tally in net.tallies.items() if "rambler" in name)


async def best(
    node: NodeProcess, net: Internet, name: str, tries: int, letters: int
) -> Round:
    """Return the fastest of so many rounds."""
    done = [Round(f"{name}{number}-", letters) for number in range(tries)]
    for each in done:
        await each.run(node.smtp, net)
    return min(done, key=lambda each: each.took_s)


async def rounds(
    folder: Path,
    *,
    command: Sequence[str] = SERVE,
    tries: int = TRIES,
    letters: int = LETTERS,
) -> tuple[Round, Round]:
    """Return the best round without the dead provider's mail, and beside it.

    The best of a few: what else runs on the machine only ever takes away.
    """
    domains = [
        SandboxDomain(WELL, Behaviour(reply_delay_s=REPLY_S)),
        *map(dead, range(DEAD_SITES)),
    ]
    async with Internet(domains, inbox=InboxSettings(verify_share=0)) as net:
        settings = write_node(
            folder,
            nameserver=net.nameserver,
            smtp_port=net.smtp_port,
            delivery=f"connections = {CONNECTIONS}",
        )
        async with NodeProcess(settings, command) as node:
            # The first one finds the host and lets the connections grow.
            await Round("warm", letters).run(node.smtp, net)
            alone = await best(node, net, "alone", tries, letters)
            await hold_connections(node.smtp, net)
            # Who says nothing for some seconds is not counted for others from then on.
            await Round("again", letters).run(node.smtp, net)
            beside = await best(node, net, "beside", tries, letters)
            assert held(net) == DEAD_MAX, "it never let go, and never got more"
    return alone, beside


def is_well(alone: Round, beside: Round) -> bool:
    """Say whether the dead provider cost the other one nothing that counts.

    Who is left with an eighth of the connections is several times slower; so there is
    room for a machine that does other things in one of the two rounds.
    """
    return (
        beside.per_s >= 0.6 * alone.per_s
        and beside.p95_s <= 1.6 * alone.p95_s + NOISE_S
    )


def test_a_dead_provider_costs_the_other_neither_rate_nor_time(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    alone, beside = asyncio.run(rounds(tmp_path))
    publish(
        f"a dead provider on {DEAD_MAX} of {CONNECTIONS} connections: the other gets "
        f"{beside.per_s:.2f}/s, p95 {beside.p95_s:.2f} s; without it "
        f"{alone.per_s:.2f}/s, p95 {alone.p95_s:.2f} s"
    )
    assert is_well(alone, beside)


def test_a_node_that_counts_who_is_silent_is_found_out(tmp_path: Path) -> None:
    patient = (str(Path(__file__).with_name("patient_node.py")),)
    found = asyncio.run(
        rounds(tmp_path, command=patient, tries=1, letters=LETTERS_OF_CONTROL)
    )
    assert not is_well(*found)
