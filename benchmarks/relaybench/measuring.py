"""One round: a load goes in at a door, and is counted where it comes out."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relaybench import cpu, sink
from relaybench.processes import PATIENCE_S, BenchError, read_line, running
from relaybench.relays import Relay
from relaybench.signatures import faults

#: A relay that uses less than this much of a processor has nothing left to do.
_QUIET: Final = 0.05
_QUIET_FOR_S: Final = 0.4


@dataclass(frozen=True, slots=True)
class Load:
    """What goes in, by Debian's ``smtp-source``.

    Attributes:
        length: of a message in octets; ``sessions``: connections at once.
        options: more of its command line; ``-d`` keeps connections.
    """

    messages: int = 4000
    length: int = 5000
    sessions: int = 20
    sender: str = "a@example.com"
    recipient: str = "b@dest.example"
    options: tuple[str, ...] = ()

    def command(self, port: int | str) -> list[str]:
        """Return the command that sends it to a port of loopback."""
        return [
            *("smtp-source", *self.options, "-f", self.sender, "-t", self.recipient),
            *("-l", str(self.length), "-s", str(self.sessions)),
            *("-m", str(self.messages), f"127.0.0.1:{port}"),
        ]


@dataclass(frozen=True, slots=True)
class Round:
    """What a round showed.

    Attributes:
        seconds: from the start of the load's process, so a little before its first
            connection, until the sink had the last of its messages.
        copies: messages that the sink had twice.
        verified: signatures that were checked; every one was good.
        user_ms, system_ms: processor time of the relay for a message, with what it
            did after the last had left.
        others: share of the machine that neither relay nor load nor sink used; a round
            is worth little where this is large.
    """

    relay: str
    messages: int
    seconds: float
    copies: int
    verified: int
    user_ms: float
    system_ms: float
    others: float

    @property
    def rate(self) -> float:
        """Messages a second, end to end."""
        return self.messages / self.seconds


@dataclass(slots=True)
class Sink:
    """The sink's process."""

    process: "subprocess.Popen[str]"
    port: int
    folder: Path

    def begin(self, expected: int, keep: int, sample: Path) -> None:
        """Let it count anew, for ``expected`` messages."""
        self._order(f"round {expected} {keep} {sample}")

    def wait_complete(self, relay: Relay, timeout_s: float) -> dict[str, float]:
        """Return its counts when all have arrived.

        Raises:
            BenchError: they have not, in time.
        """
        assert self.process.stdout is not None
        line = read_line(self.process.stdout, timeout_s)
        if line is None:
            self._order("report")
            line = read_line(self.process.stdout, PATIENCE_S)
            counts = json.loads(line or "{}")
            raise BenchError(f"{relay.name}: only {counts.get('arrived')} arrived")
        counts = json.loads(line)
        assert isinstance(counts, dict)
        return counts

    def _order(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()


@contextmanager
def running_sink(folder: Path, *, lose_every: int = 0) -> Iterator[Sink]:
    """Run the sink; as a control, one that answers for messages and drops them."""
    folder.mkdir()
    command = (sys.executable, sink.__file__, "--lose-every", str(lose_every))
    with running(command, folder / "log", piped=True) as process:
        assert process.stdout is not None
        port = read_line(process.stdout, PATIENCE_S)
        if not port:
            raise BenchError((folder / "log").read_text())
        yield Sink(process, int(port), folder)


def measure(
    relay: Relay,
    taker: Sink,
    load: Load,
    *,
    record: bytes | None,
    keep: int = 20,
    timeout_s: float = 120.0,
) -> Round:
    """Send a load through a relay and return what came of it.

    ``keep`` messages are checked against the key's ``record``; none if that is ``None``.

    Raises:
        BenchError: the load was refused, not all of it arrived, or one of those
            checked was not well signed.
    """
    sample = taker.folder / "sample"
    sample.mkdir()
    try:
        os.sync()  # what others left to write is not ours to wait for
        taker.begin(load.messages, keep if record else 0, sample)
        busy, spent = cpu.used_by_all(), cpu.used_by(relay.pids)
        ours = cpu.used_by((taker.process.pid,)).total + _own_and_load()
        began = time.monotonic()
        _send(load, relay, timeout_s)
        counts = taker.wait_complete(relay, began + timeout_s - time.monotonic())
        _wait_quiet(relay)
        spent = cpu.used_by(relay.pids) - spent
        ours = cpu.used_by((taker.process.pid,)).total + _own_and_load() - ours
        passed = time.monotonic() - began
        busy = cpu.used_by_all() - busy - spent.total - ours
        checked = list(sample.glob("*.eml"))
        if wrong := faults(checked, record) if record else []:
            raise BenchError(f"{relay.name}: {wrong[0]} ({len(wrong)} such)")
        if record and len(checked) < min(keep, load.messages):
            raise BenchError(f"{relay.name}: only {len(checked)} were kept to check")
    finally:
        shutil.rmtree(sample)
    return Round(
        relay=relay.name,
        messages=load.messages,
        seconds=counts["last_at"] - began,
        copies=int(counts["copies"]),
        verified=len(checked),
        user_ms=spent.user * 1000 / load.messages,
        system_ms=spent.system * 1000 / load.messages,
        others=max(0.0, busy / passed / (os.cpu_count() or 1)),
    )


def _send(load: Load, relay: Relay, timeout_s: float) -> None:
    """Run the load; it ends when the relay has answered for all of it."""
    try:
        done = subprocess.run(
            load.command(relay.port),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{relay.name} took no more in {timeout_s:g} s") from None
    if done.returncode:
        raise BenchError(f"{relay.name} refused the load: {done.stderr.strip()}")


def _wait_quiet(relay: Relay) -> None:
    """Return when a relay has finished what it does after the last delivery."""
    deadline = time.monotonic() + PATIENCE_S / 4
    while time.monotonic() < deadline:
        before = cpu.used_by(relay.pids).total
        time.sleep(_QUIET_FOR_S)  # noqa: TID251  # a measure over time, and no loop
        if cpu.used_by(relay.pids).total - before <= _QUIET * _QUIET_FOR_S:
            return


def _own_and_load() -> float:
    """Return the processor time of this process and its dead children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
