"""A node as a process, watched from outside: memory, metrics, its event loop."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

LAUNCHER: Final = Path(__file__).with_name("observed_node.py")


class Watched:
    """A node as a process, watched from outside."""

    def __init__(self, settings: Path, launcher: Path = LAUNCHER) -> None:
        """``launcher`` starts the node with a heart; another one is for controls."""
        self._launcher = launcher
        self._settings = settings
        self._observed = settings.parent / "observed.json"
        self._process: asyncio.subprocess.Process | None = None
        self.started_at = 0.0
        self.smtp = self.http = ("", 0)

    async def start(self) -> None:
        """Start it; it is not ready yet."""
        self.started_at = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self._launcher),
            str(self._settings),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "OBSERVED": str(self._observed),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )

    async def wait_running(self) -> None:
        """Return when its doors are open; their addresses are known then."""
        assert self._process is not None
        assert self._process.stderr is not None
        said = []
        while line := (await self._process.stderr.readline()).decode():
            said.append(line)
            words = line.split()
            if " HTTP on " in line:
                self.http = words[-3], int(words[-1])
            if " SMTP on " in line:
                self.smtp = words[-3], int(words[-1])
            if line.rstrip().endswith("runs"):
                return
        raise RuntimeError(f"the node ended: {''.join(said)}")

    async def drain(self) -> None:
        """Read what it says, so that it need not wait."""
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            if b" WARNING " in line or b" ERROR " in line:
                sys.stderr.write(line.decode())

    def rss_mb(self) -> tuple[float, float]:
        """Return its resident memory, now and at most."""
        assert self._process is not None
        return rss_mb(self._process.pid)

    def rss_with_processes_mb(self) -> tuple[float, float]:
        """Return the same, of it and the processes that it has started together."""
        assert self._process is not None
        return rss_with_processes_mb(self._process.pid)

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        assert self._process is not None
        text = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    async def stop(self) -> dict[str, Any]:
        """Stop it in order and return what it measured of its loop."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        await self._process.wait()
        figures: dict[str, Any] = json.loads(self._observed.read_text())
        return figures

    async def kill(self) -> None:
        """End it, whatever it does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def rss_mb(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process, now and at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in {"VmRSS", "VmHWM"}:
            found[name] = int(value.split()[0]) * 1024 / 1e6
    return found["VmRSS"], found["VmHWM"]


def rss_with_processes_mb(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process and its descendants, now and at most.

    Pages that several of them share, as those of libraries, are counted in each, and the
    most of each as if all came at once: together they take no more than this.
    """
    found = [rss_mb(each) for each in _with_descendants(pid)]
    return sum(now for now, _ in found), sum(most for _, most in found)


def _with_descendants(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += _with_descendants(int(child))
    return found


async def metrics_of(address: tuple[str, int]) -> dict[str, float]:
    """Return the node's metrics without labels."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith("mailwright_") and "{" not in name:
            found[name] = float(value)
    return found
