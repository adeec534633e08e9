"""A thousand connections, of which 950 trickle; the others want to be served.

Those that trickle stand everywhere where a client can be slow: before EHLO, amid a
command, amid a login, amid a header, amid a body; each sends an octet now and then, from
one of many addresses. Control: a door with half as many connections, all in their hands.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from faults.bystanders import DOMAIN, Scene, scene_of
from faults.ledger import Row, Size
from faults.pulse import percentile, pulse_of

_CONNECTIONS = 1_000
_SLOW = 950
_ADDRESSES = 50
_LIMITS = "\n[limits]\nconnections = {connections}\nconnections_per_ip = 50\n"
_CONNECTS_AT_ONCE = 50
_GAP_S = 0.2
_SERVED_S = 2.0
_ENVELOPE = (
    b"MAIL FROM:<a@example.com>\r\nRCPT TO:<slow@%s>\r\nDATA\r\n" % DOMAIN.encode()
)
_EHLO = b"EHLO slow.example.com\r\n"
#: What is sent at once; then one octet of the second after another.
_PLACES = (
    (b"", b"EHLO slow.example.com" + b"x" * 1_000),
    (_EHLO, b"MAIL FROM:<" + b"a" * 1_000),
    (_EHLO, b"AUTH PLAIN " + b"A" * 1_000),
    (_EHLO + _ENVELOPE, b"From: <a@example.com>" + b"x" * 1_000),
    (_EHLO + _ENVELOPE + b"From: <a@example.com>\r\n\r\n" + b"x" * 2_000, b"y" * 1_000),
)


@dataclass(slots=True)
class Crowd:
    """Slow connections.

    Attributes:
        held: those that were not refused at once.
        octets: that they have sent one by one.
    """

    held: int = 0
    octets: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)


async def _join(crowd: Crowd, address: tuple[str, int], number: int) -> None:
    source = f"127.77.0.{number % _ADDRESSES + 1}"
    reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
    crowd.writers.append(writer)
    if not (await reader.readline()).startswith(b"220"):
        return
    crowd.held += 1
    writer.write(_PLACES[number % len(_PLACES)][0])


async def _trickle(crowd: Crowd, address: tuple[str, int], rng: Random) -> None:
    """Send one octet on some connection, again and again."""
    at = [0] * len(crowd.writers)
    while True:
        for number in rng.sample(range(len(crowd.writers)), len(crowd.writers) // 10):
            writer, trickled = crowd.writers[number], _PLACES[number % len(_PLACES)][1]
            if writer.is_closing() or at[number] == len(trickled):
                continue
            writer.write(trickled[at[number] : at[number] + 1])
            at[number] += 1
            crowd.octets += 1
        await asyncio.sleep(_GAP_S)


@asynccontextmanager
async def crowd_at(address: tuple[str, int], size: int) -> AsyncIterator[Crowd]:
    """Keep ``size`` slow connections open."""
    crowd = Crowd()
    joins = iter(range(size))

    async def join() -> None:
        for number in joins:
            await _join(crowd, address, number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CONNECTS_AT_ONCE):
            tasks.create_task(join())
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(_trickle(crowd, address, Random(1)))  # noqa: S311
        try:
            yield crowd
        finally:
            slow.cancel()
            for writer in crowd.writers:
                writer.transport.abort()


async def _serve(scene: Scene, letters: int) -> None:
    """Let the others submit, each over connections of its own."""
    left = iter(range(letters))

    async def submit() -> None:
        for _ in left:
            await scene.submit()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CONNECTIONS - _SLOW):
            tasks.create_task(submit())


async def run(folder: Path, size: Size) -> Row:
    """Let the others submit amid the crowd."""
    letters = size.pick(200, 2_000)
    limits = _LIMITS.format(connections=2 * _CONNECTIONS)
    async with scene_of(folder, "node", more=limits) as scene:
        async with (
            pulse_of(scene.node.smtp, scene.node.pid) as pulse,
            crowd_at(scene.node.smtp, _SLOW) as crowd,
        ):
            scene.seconds.clear()
            await _serve(scene, letters)
        lost = await scene.lost()
        p99_s = percentile(scene.seconds, 0.99)
        complaints = list(scene.refused)
        if crowd.held < _SLOW:
            complaints.append(f"only {crowd.held} slow connections were held")
        if not pulse.is_lean:
            complaints.append(f"+{pulse.memory >> 20} MB")
        if p99_s > size.budget(_SERVED_S) + 20 * pulse.bare_p99_s:
            complaints.append(f"p99 {p99_s:.2f} s")
        acknowledged = len(scene.book.acknowledged)
    limits = _LIMITS.format(connections=_CONNECTIONS // 2)
    async with (
        scene_of(folder, "control", more=limits) as full,
        crowd_at(full.node.smtp, _SLOW),
    ):
        await _serve(full, 50)
    return Row(
        "1 000 connections, 95 % slow",
        crowd.held,
        acknowledged,
        lost,
        len(complaints),
        len(full.refused) > 0,
        {
            "trickled_octets": crowd.octets,
            "memory_mb": pulse.memory >> 20,
            "letter_p50_ms": round(percentile(scene.seconds, 0.5) * 1000),
            "letter_p99_ms": round(p99_s * 1000),
            "noop_p99_ms": round(pulse.p99_s * 1000, 1),
            "bare_loop_p99_ms": round(pulse.bare_p99_s * 1000, 1),
            "control_refused": len(full.refused),
        },
        tuple(complaints),
    )
