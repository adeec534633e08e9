"""Ten thousand guesses at a secret, from one address and from a thousand.

Meanwhile the owner logs in from an address never seen before, from one that has logged in
before, and from the very address that guesses. Guesses that are looked at stay within
the limits; the owner elsewhere waits no second; at the guessing address the owner is told
454 and to wait, unless that address had logged in before (accounts/guesses.py). Then a
credential opens 200 connections a second, each with TLS and AUTH. Control: a node that
looks at every secret, with a hash that takes its time.
"""

import asyncio
import base64
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from fakes.node_process import API_KEY, SERVE
from faults.bystanders import CLOSED_DOOR, Scene, scene_of
from faults.ledger import Row, Size
from faults.pulse import percentile, pulse_of
from mailwright.accounts.guesses import GuessLimits

_CONTROL = (str(Path(__file__).with_name("unlimited_logins_node.py")),)
_LIMITS = "\n[limits]\nconnections = 2000\nconnections_per_ip = 1000\n"
_TLS_DOOR = """
[[smtp]]
listen = "127.0.0.1:0"
tls = "implicit"
certificate_file = "tls.pem"
key_file = "tls.key"
"""
_GUESSERS = 50
_CONTROL_GUESSES = 600
_OWNER_S = 1.0
_RATE = 200
_ACCOUNT = "crm"
_ELSEWHERE, _KNOWN, _GUESSER = "127.9.{}.1", "127.8.0.1", "127.7.0.1"


def _plain(secret: str) -> bytes:
    return base64.b64encode(f"\0{_ACCOUNT}\0{secret}".encode())


_RIGHT = b"AUTH PLAIN " + _plain(API_KEY) + b"\r\n"


async def _reply(reader: asyncio.StreamReader) -> str:
    """Return the last line of a reply; nothing at the end."""
    while line := (await reader.readline()).decode():
        if line[3:4] == " ":
            return line.strip()
    return ""


async def log_in(
    address: tuple[str, int],
    source: str,
    *,
    context: ssl.SSLContext | None = None,
) -> tuple[str, float]:
    """Log in over a connection of its own; return the answer, and the seconds."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection(
        *address,
        local_addr=(source, 0),
        ssl=context,
        server_hostname="mta.example.com" if context else None,
    )
    try:
        if not (await _reply(reader)).startswith("220"):
            return "no greeting", time.perf_counter() - begun
        writer.write(b"EHLO client.example.com\r\n")
        await _reply(reader)
        writer.write(_RIGHT)
        return await _reply(reader), time.perf_counter() - begun
    finally:
        writer.transport.abort()


@dataclass(slots=True)
class Guesses:
    """What guessers were told, by its first four characters."""

    said: Counter[str] = field(default_factory=Counter)

    @property
    def looked_at(self) -> int:
        """Secrets that were compared."""
        return self.said["535 "]


async def _guess(
    address: tuple[str, int], sources: Iterator[str], guesses: Guesses
) -> None:
    """Guess from each of ``sources`` once, three times over a connection."""
    for source in sources:
        reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
        try:
            if not (await _reply(reader)).startswith("220"):
                guesses.said["busy"] += 1
                continue
            writer.write(b"EHLO client.example.com\r\n")
            await _reply(reader)
            for number in range(3):
                secret = f"mw_{_ACCOUNT}_{source}{number}"
                writer.write(b"AUTH PLAIN " + _plain(secret) + b"\r\n")
                if not (answer := await _reply(reader)):
                    break
                guesses.said[answer[:4]] += 1
        except ConnectionError:
            guesses.said["reset"] += 1
        finally:
            writer.transport.abort()


def _sources(many: int, guesses: int) -> Iterator[str]:
    """Yield a source address for each connection; there are three guesses on each."""
    for number in range(guesses // 3 + 1):
        place = number % many
        yield f"127.7.{place // 250}.{place % 250 + 1}"


@dataclass(slots=True)
class Owner:
    """The right secret, from three kinds of places: what was said, and how fast."""

    elsewhere: list[tuple[str, float]] = field(default_factory=list)
    known: list[tuple[str, float]] = field(default_factory=list)
    same: list[tuple[str, float]] = field(default_factory=list)

    async def log_in_for_ever(self, address: tuple[str, int]) -> None:
        """Log in again and again; from elsewhere always at an address that is new."""
        number = 0
        while True:
            place = _ELSEWHERE.format(number % 250)
            self.elsewhere.append(await log_in(address, place))
            self.known.append(await log_in(address, _KNOWN))
            self.same.append(await log_in(address, _GUESSER))
            number += 1
            await asyncio.sleep(0.02)


async def _attack(scene: Scene, many: int, count: int) -> tuple[Guesses, Owner, float]:
    """Guess from ``many`` addresses while the owner logs in; return the seconds too."""
    address = scene.node.doors[1]
    assert (await log_in(address, _KNOWN))[0].startswith("235")
    guesses, owner, left = Guesses(), Owner(), _sources(many, count)
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        honest = tasks.create_task(scene.submit_for_ever())
        owning = tasks.create_task(owner.log_in_for_ever(address))
        async with asyncio.TaskGroup() as guessers:
            for _ in range(_GUESSERS):
                guessers.create_task(_guess(address, left, guesses))
        took_s = time.perf_counter() - begun
        while len(owner.same) < 5:  # after the last guess is as good as amid them
            await asyncio.sleep(0.02)
        owning.cancel()
        honest.cancel()
    return guesses, owner, took_s


def most_looked_at(many: int, took_s: float) -> int:
    """Return how many guesses the limits let through in that time, at most.

    A network has its burst; beyond its free mistakes, all of them share the account's.
    """
    limits = GuessLimits()
    each = min(limits.pair.burst, limits.network.burst)
    if many == 1:
        return each + int(took_s / limits.pair.interval_s) + 1
    shared = limits.account.burst + int(took_s / limits.account.interval_s)
    # What is under way at once is let in before the first of it has failed.
    return many * limits.free_mistakes + shared + each * 3


def _judge(
    many: int, guesses: Guesses, owner: Owner, took_s: float, owner_s: float
) -> list[str]:
    """Return what is not as it is documented; the owner may wait ``owner_s``."""
    wrong = []
    if guesses.looked_at > most_looked_at(many, took_s):
        wrong.append(f"{guesses.looked_at} of the guesses were looked at")
    for name, said in (("elsewhere", owner.elsewhere), ("known", owner.known)):
        if any(not answer.startswith("235") for answer, _ in said):
            wrong.append(f"{name}: {Counter(answer[:4] for answer, _ in said)}")
        if percentile([seconds for _, seconds in said], 0.99) > owner_s:
            wrong.append(f"{name}: too slow")
    if many == 1 and not any(answer.startswith("454") for answer, _ in owner.same):
        wrong.append("the guessing address was never told to wait")
    return [f"from {many}: {text}" for text in wrong]


async def _run(folder: Path, size: Size, many: int) -> Row:
    count = size.pick(900, 10_000)
    more = _LIMITS + CLOSED_DOOR
    async with scene_of(folder, "node", more=more) as scene:
        async with pulse_of(scene.node.smtp, scene.node.pid) as pulse:
            guesses, owner, took_s = await _attack(scene, many, count)
            owner_s = size.budget(_OWNER_S)
        lost = await scene.lost()
        complaints = [*_judge(many, guesses, owner, took_s, owner_s), *scene.refused]
        if not pulse.is_lean:
            complaints.append(f"+{pulse.memory >> 20} MB")
        acknowledged = len(scene.book.acknowledged)
    async with scene_of(folder, "control", command=_CONTROL, more=more) as bad:
        found, served, bad_s = await _attack(bad, many, _CONTROL_GUESSES)
        control = _judge(many, found, served, bad_s, owner_s)
        # Whatever the machine takes, it keeps the owner waiting longer than the node does.
        is_slower = _p99_ms(served.elsewhere) > _p99_ms(owner.elsewhere)
    said = Counter(answer[:3] for answer, _ in owner.same)
    return Row(
        f"guesses from {many}",
        guesses.said.total(),
        acknowledged,
        lost,
        len(complaints),
        len(control) > (0 if is_slower else 1),
        {
            "looked_at": guesses.looked_at,
            "told_to_wait": guesses.said["454 "],
            "per_s": round(guesses.said.total() / took_s),
            "elsewhere_p99_ms": _p99_ms(owner.elsewhere),
            "known_p99_ms": _p99_ms(owner.known),
            "same_address": dict(said),
            "noop_p99_ms": round(pulse.p99_s * 1000, 1),
        },
        tuple(complaints),
    )


def _p99_ms(said: Sequence[tuple[str, float]]) -> int:
    return round(percentile([seconds for _, seconds in said], 0.99) * 1000)


async def run_one(folder: Path, size: Size) -> Row:
    """Guess from one address."""
    return await _run(folder, size, 1)


async def run_many(folder: Path, size: Size) -> Row:
    """Guess from a thousand addresses."""
    return await _run(folder, size, size.pick(150, 1_000))


@asynccontextmanager
async def _tls_scene(
    folder: Path, name: str, command: Sequence[str]
) -> AsyncIterator[tuple[Scene, ssl.SSLContext]]:
    authority = trustme.CA()
    certificate = authority.issue_cert("mta.example.com")
    (folder / name).mkdir()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    door = _TLS_DOOR.replace("tls.key", f"{folder}/{name}/tls.key")
    door = door.replace("tls.pem", f"{folder}/{name}/tls.pem")
    certificate.private_key_pem.write_to_path(folder / name / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(folder / name / "tls.pem")
    async with scene_of(
        folder / name, name, command=command, more=_LIMITS + door
    ) as scene:
        yield scene, context


async def _at_rate(
    rate: int, seconds: float, act: Callable[[], Awaitable[None]]
) -> float:
    """Begin ``act`` at a steady rate; return how long all of them took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            tasks.create_task(act())
    return loop.time() - begun


async def run_tls(folder: Path, size: Size) -> Row:
    """Log in 200 times a second, each time over a new connection with TLS."""
    seconds = size.pick(2, 10)

    async def log_ins(command: Sequence[str], name: str) -> tuple[Scene, float, int]:
        async with _tls_scene(folder, name, command) as (scene, context):
            refused = 0
            took: list[float] = []

            async def one() -> None:
                nonlocal refused
                answer, each_s = await log_in(
                    scene.node.doors[1], "127.0.0.1", context=context
                )
                refused += not answer.startswith("235")
                took.append(each_s)

            async with asyncio.TaskGroup() as tasks:
                honest = tasks.create_task(scene.submit_for_ever())
                whole_s = await _at_rate(_RATE, seconds, one)
                honest.cancel()
            lost = await scene.lost()
            complaints.extend([f"{name}: {text}" for text in scene.refused])
            figures[name] = {
                "held_per_s": round(len(took) / whole_s, 1),
                "p50_ms": round(percentile(took, 0.5) * 1000),
                "p99_ms": round(percentile(took, 0.99) * 1000),
            }
            if refused:
                complaints.append(f"{name}: {refused} logins were refused")
            return scene, lost, len(took)

    complaints: list[str] = []
    figures: dict[str, dict[str, float]] = {}
    scene, lost, many = await log_ins(SERVE, "node")
    mine = len(complaints)
    await log_ins(_CONTROL, "control")
    held, slow = figures["node"]["held_per_s"], figures["control"]["held_per_s"]
    return Row(
        "new TLS logins, 200 a second",
        many,
        len(scene.book.acknowledged),
        int(lost),
        mine,
        slow < held / 1.5 or len(complaints) > mine,
        {**figures["node"], "control_held_per_s": slow},
        tuple(complaints[:mine]),
    )
