"""One content for all recipients of a campaign: held once, handed out with their own."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fakes.queueing import Queue, ScriptedCourier, make_submission, open_queue
from mailwright.attempt import End, Parcel
from mailwright.clock import to_micros
from mailwright.merge import Merge
from mailwright.queue.content import Contents, checksum_of
from mailwright.queue.delivery import State
from mailwright.reply import Phase, local_reply

ANN, BOB = "ann@a.example", "bob@b.example"
DATED = datetime(2026, 3, 1, 9, tzinfo=UTC)
CONTENT = b'{"subject":"Hello {{ name }}"}'


def insert(connection: sqlite3.Connection, table: str, **values: object) -> None:
    """Insert a row; what is not given and may not be null is zero or empty."""
    for _, name, kind, required, _, _ in connection.execute(
        f"PRAGMA table_info({table})"
    ):
        if required and name not in values:
            values[name] = "" if kind == "TEXT" else 0
    places = ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})",
        list(values.values()),
    )


def make_campaign(
    folder: Path, content: bytes = CONTENT, file: str | None = None
) -> None:
    """Make what was accepted a campaign's."""
    with closing(sqlite3.connect(folder / "q.db")) as connection, connection:
        insert(connection, "campaigns", id=5, content=9, dated_at=to_micros(DATED))
        connection.execute(
            "INSERT INTO contents (id, header, body, body_file, body_octets, checksum,"
            " refs) VALUES (9, x'', ?, ?, ?, ?, 1)",
            (None if file else content, file, len(content), checksum_of(b"", content)),
        )
        rows = connection.execute("SELECT message, id, recipient FROM deliveries")
        for message, delivery, address in rows.fetchall():
            fields = json.dumps({"name": address[:3]})
            insert(
                connection,
                "recipients",
                message=message,
                campaign=5,
                delivery=delivery,
                address=address,
                fields=fields,
                variant="b",
            )
            connection.execute(
                "UPDATE messages SET campaign = 5, content = 9, message_id = ?"
                " WHERE id = ?",
                (f"<{address}>", message),
            )


async def accept_both(folder: Path) -> None:
    async with open_queue(folder) as queue:
        await queue.intake.accept(make_submission(ANN))
        await queue.intake.accept(make_submission(BOB))


async def run_until_final(queue: Queue, count: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(queue.scheduler.run())
        async with asyncio.timeout(60):
            while len(await queue.finished()) < count:
                await asyncio.sleep(0.005)
        queue.scheduler.stop()


def test_a_session_gets_the_content_and_what_is_the_recipients_own(
    tmp_path: Path,
) -> None:
    parcels: dict[str, Parcel] = {}

    def script(parcel: Parcel, _source: object) -> object:
        parcels[parcel.recipient] = parcel
        return End.REPLIED, local_reply(250, "2.0.0", "ok", Phase.DOT)

    async def main() -> None:
        await accept_both(tmp_path)
        make_campaign(tmp_path)
        async with open_queue(tmp_path, courier=ScriptedCourier(script)) as queue:
            await run_until_final(queue, 2)
            # One after the other: two sessions at once may both find it missing.
            contents = Contents(queue.store, lambda _: CONTENT)
            one, other = [
                (await contents.get([each.message]))[each.message]
                for each in parcels.values()
            ]
            assert one is not None
            assert other is not None
            assert one.body is other.body

    asyncio.run(main())
    for address, parcel in parcels.items():
        assert (parcel.header, parcel.body) == (b"", CONTENT)
        assert parcel.accepted_at == DATED
        fields = json.dumps({"name": address[:3]}).encode()
        assert parcel.merge == Merge(9, fields, "b", address, f"<{address}>")


def test_a_large_content_is_read_from_its_file_once(tmp_path: Path) -> None:
    content = json.dumps({"html": "x" * 100_000}).encode()
    reads = []

    async def main() -> None:
        await accept_both(tmp_path)
        make_campaign(tmp_path, content, "2026-03-01/9")
        async with open_queue(tmp_path) as queue:

            def read(name: str) -> bytes:
                reads.append(name)
                return content

            contents = Contents(queue.store, read, cache_octets=1000)
            with closing(sqlite3.connect(tmp_path / "q.db")) as connection:
                found = connection.execute("SELECT id FROM messages").fetchall()
            for (message,) in found:
                got = (await contents.get([message]))[message]
                assert got is not None
                assert got.body == content
                assert got.octets > len(content)

    asyncio.run(main())
    assert reads == ["2026-03-01/9"]


@pytest.mark.parametrize("is_file", [False, True])
def test_a_damaged_content_of_a_campaign_is_handed_to_nobody(
    tmp_path: Path, *, is_file: bool
) -> None:
    async def main() -> None:
        await accept_both(tmp_path)
        make_campaign(tmp_path, file="2026-03-01/9" if is_file else None)
        with closing(sqlite3.connect(tmp_path / "q.db")) as connection, connection:
            connection.execute("UPDATE contents SET checksum = 1 WHERE id = 9")
        async with open_queue(tmp_path) as queue:
            contents = Contents(queue.store, lambda _: CONTENT)
            with closing(sqlite3.connect(tmp_path / "q.db")) as connection:
                found = connection.execute("SELECT id FROM messages").fetchall()
            messages = [message for (message,) in found]
            assert await contents.get(messages) == dict.fromkeys(messages)
            assert contents.damaged == 1

    asyncio.run(main())


def test_what_cannot_be_rendered_bounces_and_says_nothing_of_the_receiver(
    tmp_path: Path,
) -> None:
    why = local_reply(554, "5.6.0", "not rendered: name is missing", Phase.DATA)

    def script(parcel: Parcel, _source: object) -> object:
        if parcel.recipient == ANN:
            return End.UNRENDERED, why
        return End.REPLIED, local_reply(250, "2.0.0", "ok", Phase.DOT)

    async def main() -> None:
        courier = ScriptedCourier(script)
        async with open_queue(tmp_path, courier=courier) as queue:
            await queue.intake.accept(make_submission(ANN))
            await queue.intake.accept(make_submission(BOB))
            await run_until_final(queue, 2)
            assert await queue.finished() == {
                ANN: State.BOUNCED,
                BOB: State.DELIVERED,
            }
            data = {kind: json.loads(data) for kind, data in await queue.events()}
            assert data["bounced"]["category"] == "unrendered"
            assert data["bounced"]["text"] == "not rendered: name is missing"
            assert "provider" not in data["bounced"]
            assert data["bounced"]["source"] is None
            assert data["delivered"]["provider"] == "default"

    asyncio.run(main())
