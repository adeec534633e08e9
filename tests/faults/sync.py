"""Every answer comes after its sync, and body files are made durable in order.

On ext4 the sync of the log writes the folders too, so a missing sync of a folder costs
nothing there that a power cut could show: only the order of the calls tells.
"""

import asyncio
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from fakes.node_process import SERVE, NodeProcess, query, write_node
from fakes.submitting import Book, HttpClient, Letter, SmtpClient
from faults import trace
from faults.ledger import Row, Size
from faults.trace import Call
from faults.under_strace import under_strace

_UNSYNCED = str(Path(__file__).with_name("unsynced_node.py"))
_LARGE = 90_000
_WITHIN_S = 300.0


async def submit_smtp(node: NodeProcess, letters: Sequence[Letter], book: Book) -> None:
    """Submit ``letters`` one after another."""
    client = await SmtpClient.connect(node.smtp)
    try:
        for letter in letters:
            book.offer(letter)
            await client.submit(letter)
            book.acknowledge(letter)
    finally:
        await client.close()


async def submit_http(node: NodeProcess, letters: Sequence[Letter], book: Book) -> None:
    """Likewise."""
    client = HttpClient(node.http)
    try:
        for letter in letters:
            book.offer(letter)
            await client.submit(letter)
            book.acknowledge(letter)
    finally:
        await client.close()


async def _traced(
    folder: Path, name: str, command: Sequence[str], letters: int, *, is_busy: bool
) -> tuple[list[Call], Book, int]:
    """Let a fresh node take ``letters``; return what it called, and how many it has."""
    place = folder / name
    place.mkdir()
    settings = write_node(place)
    output = place / "trace"
    book, numbers = Book(), count()

    def some(many: int, octets: int) -> list[Letter]:
        tokens = [f"t{next(numbers)}" for _ in range(many)]
        return [Letter(token, (f"{token}@a.example",), octets) for token in tokens]

    strace = under_strace(*trace.OPTIONS, "-o", str(output), command=command)
    async with NodeProcess(settings, strace) as node:
        async with asyncio.timeout(_WITHIN_S):
            if is_busy:
                async with asyncio.TaskGroup() as tasks:
                    for submit in (submit_smtp, submit_smtp, submit_http, submit_http):
                        mine = some(letters // 4, 1_000)
                        tasks.create_task(submit(node, mine, book))
            else:
                for submit in (submit_smtp, submit_http):
                    await submit(node, some(letters // 2, _LARGE), book)
        assert await node.stop(within_s=_WITHIN_S) == 0, node.text
    [[stored]] = query(settings, "SELECT count(*) FROM messages")
    lines = (await asyncio.to_thread(output.read_text, "utf-8", "replace")).splitlines()
    return trace.parse(lines), book, stored


async def run_answers(folder: Path, size: Size) -> Row:
    """Look whether a log sync lies between each content and its answer."""
    letters = size.pick(40, 400)
    calls, book, stored = await _traced(folder, "node", SERVE, letters, is_busy=True)
    seen, bad = trace.answers(calls), trace.unsynced(calls)
    names = trace.unsynced_names(calls, str(folder / "node" / "state"))
    control, _, _ = await _traced(
        folder, "control", (_UNSYNCED, "off"), 8, is_busy=True
    )
    nameless, _, _ = await _traced(
        folder, "nameless", (_UNSYNCED, "names"), 4, is_busy=True
    )
    is_caught = len(trace.unsynced(control)) == 8 and bool(
        trace.unsynced_names(nameless, str(folder / "nameless" / "state"))
    )
    return Row(
        "sync before each answer",
        len(seen),
        len(book.acknowledged),
        len(book.acknowledged) - stored,
        len(bad) + len(names) + abs(len(seen) - len(book.acknowledged)),
        is_caught,
        {"syncs": sum(call.name == "fdatasync" for call in calls)},
        (
            *(f"answered before its sync: {each.sent.arguments}" for each in bad),
            *(f"its folder was not synced: {name}" for name in names),
        ),
    )


async def run_bodies(folder: Path, size: Size) -> Row:
    """Look at the order of write, sync, rename, folder's sync, commit, answer."""
    letters = size.pick(6, 60)
    calls, book, stored = await _traced(folder, "node", SERVE, letters, is_busy=False)
    made, bad = trace.bodies(calls), trace.misplaced_bodies(calls)
    caught: list[bool] = []
    for what in ("body", "folder"):
        control, _, _ = await _traced(
            folder, f"control-{what}", (_UNSYNCED, what), 2, is_busy=False
        )
        caught.append(len(trace.misplaced_bodies(control)) == 2)
    return Row(
        "body files in order",
        len(made),
        len(book.acknowledged),
        len(book.acknowledged) - stored,
        len(bad) + abs(len(made) - len(book.acknowledged)),
        all(caught),
        {},
        tuple(f"not durable in order: {name}" for name in bad),
    )
