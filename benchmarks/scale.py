"""How a node bears its standing load: memory, restart, and what a pull costs.

``make bench-scale`` builds the load S1 in a fresh state folder (a million recipients,
60 % of them in 10 domains and 40 % over 40 000, eight sources, three tenants, a history
of events), starts a node on it as a restart would, and watches it from outside:

* how long from the start of the process to the first copy at a receiver;
* its resident memory, at the first delivery and at most, alone and with the processes
  that it has started, and how many sites it has looked up by then;
* how late its event loop is, and how much of that is its own doing;
* what a pull costs: a claim of eight deliveries of a line, in the same database.

Receivers and DNS are the sandbox's. Every domain has an MX host of its own, the worst
case for lanes and look-ups.
"""

import argparse
import asyncio
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from mailwright.clock import SystemClock, to_micros
from mailwright.config.loading import load_node
from mailwright.daemon.state import DATABASE_NAME, open_state
from mailwright.ids import TenantId
from mailwright.queue.line import LineKey
from mailwright.sandbox.internet import Internet
from mailwright.store.sqlite import open_writer
from pulls import Times, time_pull
from standing_load import Queued, StandingLoad
from watched import Watched, metrics_of
from wide_internet import (
    add_small_domains,
    large_domains,
    make_internet,
    small_domains,
    write_node,
)

#: In the large domains.
LARGE_SHARE: Final = 0.6
PULLS: Final = 2_000
#: Budgets: memory at most, from the start to the first delivery, and a pull.
RSS_MB: Final = 300.0
FIRST_DELIVERY_S: Final = 5.0
PULL_MS: Final = 2.0


@dataclass
class Figures:
    """What was measured. Times in seconds or milliseconds, memory in MB (10⁶ octets)."""

    recipients: int
    lines: int
    events: int
    database_mb: float
    build_s: float
    running_s: float = 0.0
    first_delivery_s: float = 0.0
    first_delivery_cpu_s: float = 0.0
    rss_at_first_mb: float = 0.0
    rss_max_mb: float = 0.0
    rss_with_processes_mb: float = 0.0
    sites: int = 0
    delivered: int = 0
    watched_s: float = 0.0
    lanes_max: int = 0
    lookups_max: int = 0
    lookups_left: int = 0
    loop: dict[str, Any] = field(default_factory=dict)
    pull_ms: dict[str, float] = field(default_factory=dict)


async def build(settings: Path, recipients: int, domains: int, events: int) -> Figures:
    """Fill the database of a node that does not run."""
    began_at = time.perf_counter()
    clock = SystemClock()
    node = load_node(settings)
    async with open_state(node, clock) as state:
        directory = state.settings.directory()
        pool = directory.pools_by_name["main"].id
        credentials = {each.tenant: each for each in directory.credentials.values()}
        sending = {each.tenant: each for each in directory.sending_domains.values()}

        def key(tenant: TenantId, domain: str) -> LineKey:
            credential = credentials[tenant]
            stream = directory.streams[credential.stream]
            return LineKey(
                tenant,
                None,
                stream.id,
                sending[tenant].id,
                credential.id,
                stream.stream_class,
                domain,
                pool,
            )

        tenants = sorted(directory.tenants)
        large = [key(each, name) for name in large_domains() for each in tenants]
        small = [key(each, name) for each in tenants for name in small_domains(domains)]
        to_large = int(recipients * LARGE_SHARE)
        load = StandingLoad(state.store, clock.now() - timedelta(hours=1), "s1.example")
        await load.add_history(events)
        groups = [Queued(large, to_large)]
        small = small[: recipients - to_large]
        if small:
            groups.append(Queued(small, recipients - to_large))
        await load.queue(*groups)
    size = (node.state_dir / DATABASE_NAME).stat().st_size
    return Figures(
        recipients=recipients,
        lines=sum(len(group.keys) for group in groups),
        events=events,
        database_mb=size / 1e6,
        build_s=time.perf_counter() - began_at,
    )


def found_in(settings: Path) -> Figures:
    """Return what the load of a node that does not run is made of."""
    path = load_node(settings).state_dir / DATABASE_NAME
    with closing(sqlite3.connect(path)) as connection:
        [(recipients, lines)] = connection.execute(
            "SELECT sum(count), count(*) FROM lines WHERE count > 0"
        )
        [(events,)] = connection.execute("SELECT seq FROM nodes")
    return Figures(recipients, lines, events, path.stat().st_size / 1e6, 0.0)


async def restart(
    settings: Path, net: Internet, figures: Figures, watch_s: float
) -> None:
    """Start a node on the load, watch it for a while, and stop it."""
    node = Watched(settings)
    await node.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(_first_copy(net, node, figures))
            await node.wait_running()
            figures.running_s = time.perf_counter() - node.started_at
            draining = tasks.create_task(node.drain())
            await first
            await _watch(node, figures, watch_s)
            figures.delivered = net.inbox.totals.copies
            figures.sites = sum(kind == "MX" for kind, _ in net.dns.queries)
            figures.rss_max_mb = node.rss_mb()[1]
            figures.rss_with_processes_mb = node.rss_with_processes_mb()[1]
            figures.loop = await node.stop()
            await draining
    finally:
        await node.kill()


async def _first_copy(net: Internet, node: Watched, figures: Figures) -> None:
    await net.inbox.wait_copies(1)
    figures.first_delivery_s = time.perf_counter() - node.started_at
    figures.first_delivery_cpu_s = node.cpu_s()
    figures.rss_at_first_mb = node.rss_mb()[0]


async def _watch(node: Watched, figures: Figures, watch_s: float) -> None:
    end = time.perf_counter() + watch_s
    while time.perf_counter() < end:
        await asyncio.sleep(1)
        found = await metrics_of(node.http)
        figures.lanes_max = max(figures.lanes_max, int(found["mailwright_lanes"]))
        figures.lookups_left = int(found["mailwright_lookups"])
        figures.lookups_max = max(figures.lookups_max, figures.lookups_left)
    figures.watched_s = time.perf_counter() - node.started_at


def measure_pulls(settings: Path, count: int = PULLS) -> dict[str, float]:
    """Return what claims of lines cost in the database of a node that does not run."""
    path = load_node(settings).state_dir / DATABASE_NAME
    chance = random.Random(1)  # noqa: S311
    now, times = to_micros(SystemClock().now()), Times()
    with closing(open_writer(path)) as connection:
        lines = connection.execute("SELECT id FROM lines WHERE count > 0").fetchall()
        for _ in range(count):
            time_pull(connection, chance.choice(lines)[0], now, times)
    return times.percentiles()


async def run(options: argparse.Namespace, folder: Path) -> Figures:
    """Build, restart, watch, measure."""
    say = (lambda _text: None) if options.json else print
    async with make_internet() as net:
        add_small_domains(net, options.domains)
        settings = write_node(folder, net)
        if load_node(settings).state_dir.exists():
            figures = found_in(settings)
            say("starting a node on the load that is there …")
        else:
            say(f"building {options.recipients} recipients, {options.events} events …")
            figures = await build(
                settings, options.recipients, options.domains, options.events
            )
            say(f"built in {figures.build_s:.0f} s; starting the node …")
        await restart(settings, net, figures, options.watch)
    try:
        figures.pull_ms = await asyncio.to_thread(measure_pulls, settings)
    except sqlite3.Error as error:
        sys.exit(f"bench-scale: pulls: {error}")
    return figures


def main() -> None:
    """Run it as the options say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=40_000, help="small ones")
    parser.add_argument("--events", type=int, default=1_000_000, help="of history")
    parser.add_argument("--watch", type=float, default=60.0, help="seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--folder", type=Path, help="kept; the load in it is used again"
    )
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="scale-"))
    folder.mkdir(exist_ok=True)
    try:
        figures = asyncio.run(run(options, folder))
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    if options.json:
        print(json.dumps(asdict(figures)))
    else:
        report(figures)


def report(figures: Figures) -> None:
    """Print ``figures`` for people."""
    loop, pull = figures.loop, figures.pull_ms
    print(
        f"""\
load             {figures.recipients} recipients in {figures.lines} lines, \
{figures.events} events, {figures.database_mb:.0f} MB
node runs        {figures.running_s:.2f} s after its start
first delivery   {figures.first_delivery_s:.2f} s, \
{figures.first_delivery_cpu_s:.2f} s of processor time
RSS              {figures.rss_at_first_mb:.0f} MB at the first delivery, \
node {figures.rss_max_mb:.0f} MB at most, with its processes \
{figures.rss_with_processes_mb:.0f} MB
delivered        {figures.delivered} in {figures.watched_s:.0f} s
lanes, look-ups  {figures.lanes_max}, {figures.lookups_max} at most; \
{figures.sites} sites looked up, \
{figures.lookups_left} look-ups left
loop             late by {loop["late_max_ms"]} ms at most (p99 {loop["late_p99_ms"]}), \
busy for {loop["busy_max_ms"]} ms at most (p99 {loop["busy_p99_ms"]})
pull             p50 {pull["wall_p50"]} ms, p99 {pull["wall_p99"]} ms; \
processor {pull["cpu_p50"]}, {pull["cpu_p99"]} ms"""
    )


if __name__ == "__main__":
    main()
