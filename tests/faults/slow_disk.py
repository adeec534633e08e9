"""Each sync takes half a second: clients wait for theirs, and nobody for another's.

A client that only says NOOP is the measure: its answers come from the event loop and
need no disk. A loop that waits for syncs, its own or those behind a lock, lets it wait
for half a second again and again; a machine that is busy with other things does so once
in a while. So the middle of the windows is held against the limit, and those that last
for half a sync are counted. Control: a node that syncs on its loop.
"""

import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fakes.node_process import SERVE, NodeProcess, query, write_node
from fakes.submitting import Book, HttpClient, Letter, SmtpClient
from faults.ledger import Row, Size
from faults.under_strace import under_strace
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet

_CONTROL = (str(Path(__file__).with_name("syncing_loop_node.py")),)
_HEARTBEAT = str(Path(__file__).with_name("heartbeat.py"))
SYNC_MS = 500
STALL_MOST_MS = 20.0
_CLIENTS = 6
_ENDS_S = 300.0
_LARGE = 90_000


@dataclass(frozen=True, slots=True)
class _Measured:
    acknowledged: int
    lost: int
    syncs: int
    windows: Sequence[float]

    @property
    def middle(self) -> float:
        return statistics.median(self.windows)

    @property
    def stalls(self) -> int:
        """Windows in which somebody waited as if for a sync."""
        return sum(window >= SYNC_MS / 2 for window in self.windows)

    def is_stalled(self, share: float) -> bool:
        """Whether that is no accident: more than ``share`` of the windows, and one."""
        return self.stalls > max(1, len(self.windows) * share)


async def _submit(node: NodeProcess, number: int, book: Book) -> None:
    """Submit until cancelled: small letters and large ones, by both doors."""
    http = HttpClient(node.http)
    smtp = await SmtpClient.connect(node.smtp)
    try:
        for at in count():
            token = f"c{number}.{at}"
            octets = _LARGE if at % 5 == 4 else 600
            letter = Letter(token, (f"{token}@a.example",), octets)
            book.offer(letter)
            await (http if number % 3 == 2 else smtp).submit(letter)
            book.acknowledge(letter)
    finally:
        await smtp.close()
        await http.close()


async def _beat(node: NodeProcess, seconds: int) -> list[float]:
    host, port = node.smtp
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, _HEARTBEAT, host, str(port), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    windows: list[float] = json.loads(said)
    return windows


async def _measure(
    parent: Path, name: str, command: Sequence[str], seconds: int
) -> _Measured:
    folder = parent / name
    folder.mkdir()
    async with Internet(["a.example"], inbox=InboxSettings(verify_share=0)) as net:
        settings = write_node(
            folder, nameserver=net.nameserver, smtp_port=net.smtp_port
        )
        async with NodeProcess(settings) as node:
            assert await node.stop() == 0, node.text
        book, output = Book(), folder / "trace"
        strace = under_strace(
            *("-o", str(output), "-e", "trace=fsync,fdatasync"),
            *("-e", f"inject=fsync,fdatasync:delay_enter={SYNC_MS}ms"),
            command=command,
        )
        async with NodeProcess(settings, strace) as node:
            async with asyncio.timeout(_ENDS_S), asyncio.TaskGroup() as tasks:
                clients = [
                    tasks.create_task(_submit(node, number, book))
                    for number in range(_CLIENTS)
                ]
                await book.wait_acknowledged(_CLIENTS)
                windows = await _beat(node, seconds)
                for client in clients:
                    client.cancel()
            assert await node.stop(within_s=_ENDS_S) == 0, node.text
        arrived = {to for to, _ in net.inbox.copies}
        rows = query(settings, "SELECT recipient FROM deliveries")
        arrived |= {recipient for (recipient,) in rows}
        syncs = await asyncio.to_thread(output.read_text)
        expected = {f"{token}@a.example" for token in book.acknowledged}
        return _Measured(
            len(expected), len(expected - arrived), syncs.count("sync("), windows
        )


async def run(folder: Path, size: Size) -> Row:
    """Measure how long a client waits that needs no disk."""
    found = await _measure(folder, "node", SERVE, size.pick(5, 60))
    control = await _measure(folder, "control", _CONTROL, 5)
    complaints = []
    # For some seconds anything may be in the way of a machine: less than what it is for
    # the control, whose every other window is one of waiting for a sync, is well then.
    is_full = size is Size.FULL
    most_ms = STALL_MOST_MS if is_full else SYNC_MS / 4
    share = 0.01 if is_full else 0.4
    if found.middle > most_ms:
        complaints.append(f"half of the windows stall for over {found.middle} ms")
    if found.is_stalled(share):
        complaints.append(f"{found.stalls} windows stall as if for a sync")
    return Row(
        "syncs of half a second",
        found.syncs,
        found.acknowledged,
        found.lost,
        len(complaints),
        control.is_stalled(share) and control.middle > most_ms,
        {
            "windows": len(found.windows),
            "stall_median_ms": round(found.middle, 2),
            "stall_max_ms": max(found.windows),
            "over_250_ms": found.stalls,
            "within_20_ms": sum(each <= STALL_MOST_MS for each in found.windows),
            "control_median_ms": round(control.middle, 1),
        },
        tuple(complaints),
    )
