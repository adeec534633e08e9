"""A content that is not what was accepted does not go out; the others do."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fakes.queueing import Queue, ScriptedCourier, make_submission, open_queue
from mailwright.queue.content import checksum_of
from mailwright.queue.delivery import State

WHOLE, SPOILT = "whole@a.example", "spoilt@a.example"


def spoil_row(folder: Path, column: str) -> None:
    """Change one octet of the older content in the database."""
    with closing(sqlite3.connect(folder / "q.db")) as connection, connection:
        [(number, octets)] = connection.execute(
            f"SELECT id, {column} FROM contents ORDER BY id LIMIT 1"
        ).fetchall()
        changed = octets[:5] + bytes([octets[5] ^ 1]) + octets[6:]
        connection.execute(
            f"UPDATE contents SET {column} = ? WHERE id = ?", (changed, number)
        )


def body_file(folder: Path) -> Path:
    [path] = (folder / "bodies").glob("*/*")
    return path


def flip(folder: Path) -> None:
    path = body_file(folder)
    octets = bytearray(path.read_bytes())
    octets[70_000] ^= 1
    path.write_bytes(octets)


def cut(folder: Path) -> None:
    path = body_file(folder)
    path.write_bytes(path.read_bytes()[:-2])


async def spoilt(folder: Path, size: int, spoil: Callable[[Path], None]) -> None:
    """Accept two messages, and spoil the content of the first."""
    async with open_queue(folder) as queue:
        body = b"x" * size + b"\r\n"
        await queue.intake.accept(make_submission(SPOILT, body=body))
        await queue.intake.accept(make_submission(WHOLE))
    spoil(folder)


async def deferral(queue: Queue) -> dict[str, object]:
    """Return what is said of the first attempt that was put off."""
    async with asyncio.timeout(120):
        while True:
            for kind, data in await queue.events():
                if kind == "deferred":
                    return json.loads(data)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("size", "spoil"),
    [
        pytest.param(10, lambda folder: spoil_row(folder, "body"), id="body"),
        pytest.param(10, lambda folder: spoil_row(folder, "header"), id="header"),
        pytest.param(90_000, flip, id="file flipped"),
        pytest.param(90_000, cut, id="file cut"),
        pytest.param(90_000, lambda f: body_file(f).unlink(), id="file gone"),
    ],
)
def test_a_damaged_content_waits_while_others_leave(
    tmp_path: Path, size: int, spoil: Callable[[Path], None]
) -> None:
    async def main() -> None:
        await spoilt(tmp_path, size, spoil)
        courier = ScriptedCourier()
        async with open_queue(tmp_path, courier=courier) as queue:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.scheduler.run())
                said = await deferral(queue)
                async with asyncio.timeout(120):
                    while await queue.finished() != {WHOLE: State.DELIVERED}:
                        await asyncio.sleep(0.005)
                queue.scheduler.stop()
            assert said["code"] == 451
            assert "damaged" in str(said["text"])
        assert SPOILT not in courier.carried

    asyncio.run(main())


def test_a_body_that_was_brought_back_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        kept: list[bytes] = []

        def take_away(folder: Path) -> None:
            kept.append(body_file(folder).read_bytes())
            body_file(folder).write_bytes(b"")

        await spoilt(tmp_path, 90_000, take_away)
        courier = ScriptedCourier()
        async with (
            open_queue(tmp_path, courier=courier) as queue,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(queue.scheduler.run())
            await deferral(queue)
            body_file(tmp_path).write_bytes(kept[0])
            async with asyncio.timeout(120):
                while len(await queue.finished()) < 2:
                    await asyncio.sleep(0.005)
            queue.scheduler.stop()
        assert courier.carried == {WHOLE: 1, SPOILT: 1}

    asyncio.run(main())


def test_every_octet_counts() -> None:
    assert checksum_of(b"ab", b"c") != checksum_of(b"ab", b"d")
    assert checksum_of(b"ab", b"") != checksum_of(b"aa", b"")
