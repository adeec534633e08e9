"""How long a transactional message takes while a campaign of a million runs.

``make bench-transactional``. A node, a receiver, and one message every 100 ms through the
HTTP API; meanwhile a job of a million recipients is uploaded, sealed and delivered, a second
one of half a million is uploaded and sealed, the first one's recipients are exported, the
second one is cancelled, and what is old is purged every 15 s. Each phase has its own
figures. What is timed is from the answer of the API (the message is durable) to the
receiver having it whole; from the question on, in the second column.

The last line is ``p99_ms N``: over all phases but the first, which is an idle node.
"""

import argparse
import asyncio
import hashlib
import json
import math
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from mailwright.mta.dkim.keys import generate, write_new_key
from node_files import NodeFiles, folder_on_disk
from watched import Watched

EVERY_S: Final = 0.1
#: Until a message that is under way counts as lost.
PATIENCE_S: Final = 60.0
RUNS_S: Final = 20.0
KEY: Final = "mw_crm_" + "b" * 32
STREAMS: Final = (("receipts", "transactional"), ("news", "bulk"))
SHORT_MEMORY: Final = """
[retention]
contents = "1m"
"""


@dataclass
class Probes:
    """One message every 100 ms; how long each took, by phase.

    Attributes:
        phase: what goes on now; ``""`` before and after.
    """

    http: httpx.AsyncClient
    phase: str = ""
    asked: dict[str, tuple[str, float]] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)
    refused: int = 0

    async def run(self) -> None:
        """Ask until cancelled; at most a hundred at once."""
        slots = asyncio.Semaphore(100)
        due = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(sys.maxsize):
                await slots.acquire()
                task = tasks.create_task(self._ask(f"p{number}"))
                task.add_done_callback(lambda _task: slots.release())
                due = max(due + EVERY_S, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _ask(self, token: str) -> None:
        self.asked[token] = self.phase, time.monotonic()
        body = {
            "from": "shop@example.com",
            "to": [f"{token}@receipts.example"],
            "subject": f"probe {token}",
            "text": "Thank you.",
        }
        answer = await self.http.post("/v1/messages", json=body)
        if answer.status_code == 201:
            self.answered[token] = time.monotonic()
        else:
            self.refused += 1

    async def listen(self, lines: asyncio.StreamReader) -> None:
        """Take over what the receiver tells."""
        while line := await lines.readline():
            token, at = line.split()
            self.arrived[token.decode()] = float(at)

    async def settle(self) -> int:
        """Wait for what is under way; return how many never arrived."""
        until = time.monotonic() + PATIENCE_S
        while self.answered.keys() - self.arrived.keys():
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        return len(self.answered.keys() - self.arrived.keys())

    def figures(self) -> dict[str, dict[str, float]]:
        """Return counts and percentiles of each phase, in milliseconds."""
        waits: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for token, (phase, asked_at) in self.asked.items():
            if token in self.answered:
                at = self.arrived.get(token, math.inf)
                waits[phase].append((max(at - self.answered[token], 0), at - asked_at))
        return {
            phase: {
                "count": len(some),
                "p50_ms": percentile([wait for wait, _ in some], 0.5),
                "p99_ms": percentile([wait for wait, _ in some], 0.99),
                "asked_p99_ms": percentile([wait for _, wait in some], 0.99),
            }
            for phase, some in waits.items()
        }


def percentile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` are, in milliseconds."""
    ranked = sorted(values)
    return round(ranked[min(int(share * len(ranked)), len(ranked) - 1)] * 1000, 1)


def rows(count: int, domains: int, first: int) -> Iterator[bytes]:
    """Yield NDJSON for ``count`` recipients: 60 % in ten domains, as DESIGN.md §10."""
    rng = Random(first)  # noqa: S311 - spreads recipients
    lines = []
    for number in range(first, first + count):
        if rng.random() < 0.6:
            domain = f"large{rng.randrange(10)}.example"
        else:
            domain = f"d{rng.randrange(domains)}.example"
        lines.append(
            f'{{"email":"r{number}@{domain}","fields":{{"name":"Ann {number}",'
            f'"city":"Riga","points":{number},"code":"X{number}","tier":"gold"}}}}\n'
        )
        if len(lines) == 1000:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


class Api:
    """Calls that must succeed."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """Return the answer's JSON."""
        answer = await self._http.request(method, path, timeout=3600, **more)
        if answer.status_code >= 300:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    async def campaign(self, name: str) -> str:
        """Create one; return its path."""
        made = await self.ask(
            "POST",
            "/v1/campaigns",
            json={
                "name": name,
                "stream": "news",
                "from": "News <news@example.com>",
                "subject": "{{ points }} points for {{ name }}",
                "html": "<p>Dear {{ name }} of {{ city }},</p>" + "<p>text</p>" * 400,
            },
        )
        return f"/v1/campaigns/{made['id']}"

    async def upload(self, path: str, count: int, domains: int, first: int) -> None:
        """Stream recipients."""

        async def body() -> AsyncIterator[bytes]:
            for piece in rows(count, domains, first):
                yield piece

        await self.ask(
            "PUT",
            f"{path}/recipients?key=all",
            content=body(),
            headers={"Content-Type": "application/x-ndjson"},
        )

    async def until(self, path: str, *states: str) -> Any:
        """Wait for a state."""
        while True:
            seen = await self.ask("GET", path)
            if seen["state"] in states:
                return seen
            await asyncio.sleep(0.5)

    async def drained(self, path: str) -> None:
        """Wait until no delivery waits."""
        while True:
            if not (await self.ask("GET", path))["deliveries"]["queued"]:
                return
            await asyncio.sleep(0.5)

    async def export(self, path: str) -> int:
        """Read all recipients; return how many."""
        count = 0
        async with self._http.stream(
            "GET", f"{path}/recipients?format=ndjson", timeout=3600
        ) as answer:
            async for piece in answer.aiter_bytes():
                count += piece.count(b"\n")
        return count


async def measure(api: Api, probes: Probes, options: argparse.Namespace) -> None:
    """Go through the phases."""
    took: dict[str, float] = {}

    @asynccontextmanager
    async def phase(name: str) -> AsyncIterator[None]:
        probes.phase = name
        began_at = time.monotonic()
        yield
        took[name] = time.monotonic() - began_at
        print(f"{name}: {took[name]:.1f} s", file=sys.stderr)

    half = options.recipients // 2
    async with phase("idle"):
        await asyncio.sleep(options.runs)
    first = await api.campaign("first")
    async with phase("upload"):
        await api.upload(first, options.recipients, options.domains, 0)
    async with phase("seal"):
        await api.ask("POST", f"{first}/start")
        await api.until(first, "running")
    async with phase("running"):
        await asyncio.sleep(options.runs)
    second = await api.campaign("second")
    async with phase("second upload"):
        await api.upload(second, half, options.domains, options.recipients)
    async with phase("second seal"):
        await api.ask("POST", f"{second}/seal")
        await api.until(second, "ready")
    async with phase("export"):
        exported = await api.export(first)
        print(f"exported {exported} rows", file=sys.stderr)
    async with phase("cancel"):
        await api.ask("POST", f"{second}/cancel")
        await api.drained(second)
    async with phase("purge"):
        await asyncio.sleep(options.runs)
    shown = await api.ask("GET", first)
    print(f"the first campaign: {shown['deliveries']}", file=sys.stderr)
    await api.ask("POST", f"{first}/cancel")


async def bench(options: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    folder = folder_on_disk("bench-transactional-")
    here = Path(__file__).parent
    sink = await asyncio.create_subprocess_exec(
        sys.executable,
        str(here / "probing_sink.py"),
        "127.0.0.1:0",
        stdout=asyncio.subprocess.PIPE,
    )
    assert sink.stdout is not None
    node = Watched(folder / "node.toml", here / "purging_node.py")
    try:
        address = (await sink.stdout.readline()).decode().strip()
        write_new_key(folder / "s1.pem", generate("rsa-sha256"))
        key_hash = hashlib.sha256(KEY.encode()).hexdigest()
        files = NodeFiles(
            address, STREAMS, key_hash=key_hash, log_level="info", more=SHORT_MEMORY
        )
        files.write(folder, folder / "s1.pem")
        await node.start()
        await node.wait_running()
        return await _measured(node, sink.stdout, options)
    finally:
        await node.kill()
        sink.kill()
        await sink.wait()
        shutil.rmtree(folder)


async def _measured(
    node: Watched, arrivals: asyncio.StreamReader, options: argparse.Namespace
) -> int:
    base = "http://{}:{}".format(*node.http)
    headers = {"Authorization": f"Bearer {KEY}"}
    limits = httpx.Limits(max_connections=120)
    async with (
        httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as calls,
        httpx.AsyncClient(
            base_url=base, headers=headers, timeout=60, limits=limits
        ) as http,
    ):
        probes = Probes(http)
        async with asyncio.TaskGroup() as tasks:
            reading = [
                tasks.create_task(node.drain()),
                tasks.create_task(probes.listen(arrivals)),
            ]
            asking = tasks.create_task(probes.run())
            await measure(Api(calls), probes, options)
            asking.cancel()
            missing = await probes.settle()
            for task in reading:
                task.cancel()
    loop = await node.stop()
    return report(probes, missing, loop, as_json=options.json)


def report(probes: Probes, missing: int, loop: dict[str, Any], *, as_json: bool) -> int:
    """Print the figures; return the exit status."""
    figures = probes.figures()
    busy = [
        (probes.arrived.get(token, math.inf) - at)
        for token, at in probes.answered.items()
        if probes.asked[token][0] != "idle"
    ]
    p99_ms = percentile([max(wait, 0) for wait in busy], 0.99)
    if as_json:
        print(json.dumps({"phases": figures, "loop": loop, "p99_ms": p99_ms}))
    for phase, found in figures.items():
        print(
            f"{phase:14} {found['count']:6} messages  p50 {found['p50_ms']:8.1f} ms  "
            f"p99 {found['p99_ms']:8.1f} ms  (from the question {found['asked_p99_ms']:.1f})"
        )
    print(
        f"refused {probes.refused}, never arrived {missing}; the loop's longest turn "
        f"{loop['busy_max_ms']} ms, p99 below {loop['busy_p99_ms']} ms"
    )
    print(f"p99_ms {p99_ms:.0f}")
    return 1 if missing or probes.refused else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=40_000)
    parser.add_argument("--runs", type=float, default=RUNS_S, help="seconds of a phase")
    parser.add_argument("--json", action="store_true")
    return asyncio.run(bench(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
