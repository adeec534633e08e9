"""Processes of a run: started, awaited, and always ended."""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

#: For a start or an end, also on a machine that is busy with other things.
PATIENCE_S: Final = 240.0
_POLL_S: Final = 0.02


class BenchError(Exception):
    """What makes a figure worthless: a relay that does not start, lose or sign."""


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    piped: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run a process in the foreground; end it with SIGTERM, at last with SIGKILL.

    What it says goes to ``log``; with ``piped``, its input and output are pipes.
    """
    pipe = subprocess.PIPE if piped else None
    with log.open("w") as said:
        process = subprocess.Popen(
            command,
            stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or said,
            stderr=said,
            env=env,
            text=True,
            # An interrupt from the keyboard is for us; they end in our order.
            process_group=0,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def wait_open(process: "subprocess.Popen[str]", port: int, log: Path) -> None:
    """Return when a process greets whoever connects to its port.

    Raises:
        BenchError: as ``wait_for``.
    """

    def greets() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as door:
                return door.recv(3) == b"220"
        except OSError:
            return False

    wait_for(process, greets, log)


def wait_for(
    process: "subprocess.Popen[str]", ready: Callable[[], bool], log: Path
) -> None:
    """Return when a process is ready.

    Raises:
        BenchError: it has ended, or is not ready in time; with the end of its log.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} does not start: {log.read_text()}")
        time.sleep(_POLL_S)  # noqa: TID251  # there is no loop here


def read_line(stream: IO[str], timeout_s: float) -> str | None:
    """Return the next line, or ``None`` when there is none in time."""
    ready, _, _ = select.select([stream], [], [], timeout_s)
    return stream.readline() if ready else None


def version(*command: str | Path) -> str:
    """Return the first line that a program says of itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0].strip()
