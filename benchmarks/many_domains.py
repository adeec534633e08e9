"""A job for very many domains: does the node stay well, and does all of it arrive?

``many_domains.py --domains 40000`` submits a message to one recipient in each domain, a
thousand at a time, through the node's own door. Every domain has an MX host of its own.
Its name server answers after a moment, counts how many questions are open at once, and is
dead for the first seconds. Exit status 1: something is missing, came twice, or a bound
does not hold.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self, cast

from typing_extensions import override

from mailwright.daemon.room_settings import LANES_MAX
from mailwright.sandbox.internet import Internet
from watched import LAUNCHER, Watched, metrics_of
from wide_internet import add_small_domains, make_internet, small_domains, write_node

PER_MESSAGE: Final = 1_000
#: What the resolver keeps: questions open at once, and queries to dead resolvers.
OPEN_MAX: Final = 64
DEAD_PER_S: Final = 50
#: What the loop may be busy with in one go, by the processor.
BUSY_MS: Final = 250.0
#: Memory beyond what the node had when it ran, with room for what each domain takes.
GROWTH_MB: Final = 40.0
GROWTH_KB_PER_DOMAIN: Final = 4.0
_DNS_DELAY_S: Final = 0.01


@dataclass
class Figures:
    """What was measured."""

    domains: int
    submitted_s: float = 0.0
    delivered_s: float = 0.0
    delivered: int = 0
    duplicates: int = 0
    lanes_max: int = 0
    lanes_limit: int = LANES_MAX
    lookups_max: int = 0
    questions: int = 0
    questions_open_max: int = 0
    dead_s: float = 0.0
    dead_questions: int = 0
    rss_start_mb: float = 0.0
    rss_max_mb: float = 0.0
    rss_with_processes_start_mb: float = 0.0
    rss_with_processes_mb: float = 0.0
    cpu_ms_each: float = 0.0
    loop: dict[str, Any] = field(default_factory=dict)

    def broken(self, busy_ms: float = BUSY_MS) -> list[str]:
        """Return what should not be, for people; ``busy_ms`` is what the loop may."""
        growth = self.rss_max_mb - self.rss_start_mb
        allowed = GROWTH_MB + self.domains * GROWTH_KB_PER_DOMAIN / 1000
        # Those that were open when the name server died wait beside those after.
        dead = OPEN_MAX + DEAD_PER_S * (self.dead_s + 1)
        checks = {
            "some mail did not arrive": self.delivered == self.domains,
            "some mail came twice": self.duplicates == 0,
            "too many lanes": 0 < self.lanes_max <= self.lanes_limit,
            "too many questions at once": 0 < self.questions_open_max <= OPEN_MAX,
            "a dead resolver is beaten": self.dead_questions <= dead,
            f"memory grew by {growth:.0f} MB": growth <= allowed,
            "the loop was busy for too long": self.loop["busy_max_ms"] <= busy_ms,
        }
        return [text for text, holds in checks.items() if not holds]


class SlowDns(asyncio.DatagramProtocol):
    """Passes questions on to a sandbox after a moment; use as ``async with``.

    Attributes:
        is_dead: whether nothing is answered.
        open_now: questions that were asked and not answered.
    """

    def __init__(
        self, answer: Callable[[bytes], bytes | None], delay_s: float = _DNS_DELAY_S
    ) -> None:
        self.is_dead = False
        self.open_now = self.open_max = 0
        self.counts: Counter[bool] = Counter()
        self._answer = answer
        self._delay_s = delay_s
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.counts[self.is_dead] += 1
        if self.is_dead:
            return
        self.open_now += 1
        self.open_max = max(self.open_max, self.open_now)
        loop = asyncio.get_running_loop()
        loop.call_later(self._delay_s, self._say, data, addr)

    def _say(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.open_now -= 1
        answer = self._answer(data)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


async def submit(address: tuple[str, int], domains: list[str]) -> None:
    """Submit a message to a recipient in each of ``domains``."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        await _expect(reader, b"220")
        writer.write(b"EHLO client.example\r\n")
        await _expect(reader, b"250")
        for at in range(0, len(domains), PER_MESSAGE):
            some = domains[at : at + PER_MESSAGE]
            writer.write(b"MAIL FROM:<a@s1.example>\r\n")
            await _expect(reader, b"250")
            writer.write(b"".join(b"RCPT TO:<r@%s>\r\n" % x.encode() for x in some))
            for _ in some:
                await _expect(reader, b"250")
            writer.write(b"DATA\r\n")
            await _expect(reader, b"354")
            writer.write(
                b"From: <a@s1.example>\r\nSubject: %d\r\n\r\nHello\r\n.\r\n" % at
            )
            await _expect(reader, b"250")
    finally:
        writer.close()
        await writer.wait_closed()


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    while line := await reader.readline():
        if not line.startswith(code):
            raise RuntimeError(line.decode())
        if line[3:4] == b" ":
            return
    raise ConnectionResetError("closed")


async def run(
    folder: Path,
    domains: int,
    *,
    within_s: float,
    dead_s: float,
    launcher: Path = LAUNCHER,
    dns_delay_s: float = _DNS_DELAY_S,
) -> Figures:
    """Submit the job and watch it; returns when all arrived, or the time is over.

    The longer ``dns_delay_s``, the more questions are open at once, if they may.
    """
    figures = Figures(domains, dead_s=dead_s)
    async with make_internet() as net, SlowDns(net.dns.answer, dns_delay_s) as dns:
        add_small_domains(net, domains)
        settings = write_node(folder, net, nameserver=dns.address)
        text = settings.read_text()
        settings.write_text(
            text.replace("[delivery]\n", '[delivery]\nretry = ["2s"]\n')
        )
        node = Watched(settings, launcher)
        await node.start()
        try:
            await node.wait_running()
            async with asyncio.TaskGroup() as tasks:
                draining = tasks.create_task(node.drain())
                await _job(node, net, dns, figures, within_s)
                figures.loop = await node.stop()
                await draining
        finally:
            await node.kill()
    return figures


async def _job(
    node: Watched, net: Internet, dns: SlowDns, figures: Figures, within_s: float
) -> None:
    figures.rss_start_mb = node.rss_mb()[0]
    figures.rss_with_processes_start_mb = node.rss_with_processes_mb()[0]
    cpu_s, began_at = node.cpu_s(), time.perf_counter()
    dns.is_dead = True
    await submit(node.smtp, small_domains(figures.domains))
    figures.submitted_s = time.perf_counter() - began_at
    deadline = began_at + within_s
    while time.perf_counter() < deadline:
        if dns.is_dead and time.perf_counter() - began_at > figures.dead_s:
            figures.dead_s = time.perf_counter() - began_at
            dns.is_dead = False
        found = await metrics_of(node.http)
        figures.lanes_max = max(figures.lanes_max, int(found["mailwright_lanes"]))
        figures.lookups_max = max(figures.lookups_max, int(found["mailwright_lookups"]))
        if net.inbox.totals.distinct == figures.domains:
            break
        await asyncio.sleep(0.5)
    figures.delivered_s = time.perf_counter() - began_at
    figures.delivered = net.inbox.totals.distinct
    figures.duplicates = net.inbox.totals.duplicates
    figures.questions = dns.counts[False]
    figures.dead_questions = dns.counts[True]
    figures.questions_open_max = dns.open_max
    figures.rss_max_mb = node.rss_mb()[1]
    figures.rss_with_processes_mb = node.rss_with_processes_mb()[1]
    figures.cpu_ms_each = (node.cpu_s() - cpu_s) * 1000 / figures.domains


def main() -> None:
    """Run it as the options say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domains", type=int, default=40_000)
    parser.add_argument("--within", type=float, default=1800.0, help="seconds")
    parser.add_argument("--dead", type=float, default=5.0, help="seconds without DNS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="domains-"))
    try:
        figures = asyncio.run(
            run(folder, options.domains, within_s=options.within, dead_s=options.dead)
        )
    finally:
        shutil.rmtree(folder)
    print(json.dumps(asdict(figures)) if options.json else report(figures))
    broken = figures.broken()
    if broken:
        sys.exit(f"many-domains: {'; '.join(broken)}")


def report(figures: Figures) -> str:
    """Return ``figures`` for people."""
    loop = figures.loop
    return (
        f"{figures.delivered} of {figures.domains} domains got their message in "
        f"{figures.delivered_s:.0f} s ({figures.duplicates} twice), "
        f"{figures.cpu_ms_each:.1f} ms of processor time each; lanes "
        f"{figures.lanes_max} of {figures.lanes_limit}, look-ups waiting "
        f"{figures.lookups_max}; {figures.questions} questions, "
        f"{figures.questions_open_max} at once, {figures.dead_questions} in "
        f"{figures.dead_s:.1f} s to the dead name server; node "
        f"{figures.rss_start_mb:.0f} → {figures.rss_max_mb:.0f} MB, with its processes "
        f"{figures.rss_with_processes_start_mb:.0f} → "
        f"{figures.rss_with_processes_mb:.0f} MB; "
        f"the loop was late by {loop['late_max_ms']} ms at most, busy for "
        f"{loop['busy_max_ms']} ms (p99 {loop['busy_p99_ms']})"
    )


if __name__ == "__main__":
    main()
