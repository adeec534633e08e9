"""Uploads: durable as they come, once however often they are sent, never whole in memory."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.campaign_rig import PATH, Rig, drive
from mailwright.api.campaigns.uploads import UploadLimits

DONE = "Upload-Rows-Done"
SMALL = UploadLimits(block_octets=2_000, silence_s=0.3, octets=100_000)


def rows(*numbers: int) -> bytes:
    return b"".join(b'{"email":"a%d@b.example"}\n' % number for number in numbers)


async def in_pieces(content: bytes, octets: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), octets):
        yield content[start : start + octets]


async def chunk(rig: Rig, ident: str, key: str = "k1") -> Any:
    answer = await rig.get(f"{PATH}/{ident}/chunks/{key}")
    head = await rig.client.head(f"{PATH}/{ident}/chunks/{key}", headers=rig.auth())
    assert head.status_code == answer.status_code == 200
    assert head.headers[DONE] == answer.headers[DONE] == str(answer.json()["rows"])
    return answer.json()


@pytest.mark.parametrize("octets", [1, 7, 5_000, 1_000_000])
def test_a_body_in_any_pieces_is_the_same_rows(tmp_path: Path, octets: int) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        answer = await rig.put(ident, in_pieces(rows(*range(300)), octets))
        assert answer.status_code == 200, answer.text
        assert answer.headers[DONE] == "300"
        assert answer.json() == {
            "key": "k1",
            "rows": 300,
            "staged": 300,
            "invalid": 0,
            "finished": True,
        }
        assert await chunk(rig, ident) == answer.json()

    drive(tmp_path, test, upload_limits=SMALL)


def test_csv_and_gzip_are_read(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        text = b"email,name\r\na@b.example,Ada\r\nbad,Bob\r\n"
        plain = await rig.put(ident, text, media_type="text/csv; charset=utf-8")
        assert (plain.json()["staged"], plain.json()["invalid"]) == (1, 1)
        packed = await rig.put(
            ident, gzip.compress(rows(1, 2)), key="k2", Content_Encoding="gzip"
        )
        assert packed.json()["rows"] == 2
        bomb = await rig.put(
            ident, gzip.compress(b" " * 30_000_000), key="k3", Content_Encoding="gzip"
        )
        assert bomb.status_code == 422, "a bomb is no rows"

    drive(tmp_path, test)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"media_type": "application/json"}, 415),
        ({"media_type": "text/csv; charset=latin-1"}, 415),
        ({"Content_Encoding": "br"}, 415),
        ({"Upload_Rows_Done": "x"}, 422),
        ({"key": "a/b"}, 422),
        ({"key": ""}, 422),
    ],
)
def test_what_cannot_be_read_is_told_by_its_header(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        answer = await rig.put(ident, rows(1), **headers)
        assert answer.status_code == status, answer.text

    drive(tmp_path, test)


def test_a_repeat_of_a_finished_chunk_answers_the_same(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        first = await rig.put(ident, rows(1, 2, 3))
        again = await rig.put(ident, rows(1, 2, 3))
        assert (again.status_code, again.content) == (200, first.content)
        other = await rig.put(ident, rows(1, 2, 4))
        assert other.status_code == 422
        assert other.json()["type"] == "/docs#chunk-reused"
        assert (await chunk(rig, ident))["rows"] == 3

    drive(tmp_path, test)


def test_a_repeat_is_answered_after_the_start_too(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        first = await rig.put(ident, rows(1))
        assert (await rig.post(f"{PATH}/{ident}/start")).status_code == 200
        again = await rig.put(ident, rows(1))
        assert again.content == first.content
        assert (await rig.put(ident, rows(2), key="k2")).status_code == 409

    drive(tmp_path, test)


def test_a_malformed_file_is_told_with_line_and_column(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        answer = await rig.put(ident, rows(1, 2) + b'{"email": \n')
        assert answer.status_code == 422
        assert answer.json()["type"] == "/docs#malformed-rows"
        (error,) = answer.json()["errors"]
        assert error["line"] == 3
        assert error["column"] >= 1
        assert "line 3" in answer.json()["detail"]
        found = await chunk(rig, ident)
        assert (found["rows"], found["finished"]) == (2, False)

    drive(tmp_path, test)


def test_an_upload_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield rows(1, 2, 3)[:-5]
        await asyncio.Event().wait()

    async def test(rig: Rig) -> None:
        ident = await rig.created()
        broke = await rig.put(ident, silent())
        assert broke.status_code == 408
        assert broke.headers["Connection"] == "close"
        found = await chunk(rig, ident)
        assert (found["rows"], found["finished"]) == (2, False)
        sealed = await rig.post(f"{PATH}/{ident}/start")
        assert sealed.status_code == 409
        assert "k1" in sealed.json()["detail"]
        wrong = await rig.put(ident, rows(3), Upload_Rows_Done="1")
        assert wrong.status_code == 409
        assert wrong.json()["type"] == "/docs#wrong-position"
        assert wrong.headers[DONE] == "2"
        rest = await rig.put(ident, rows(3, 4), Upload_Rows_Done="2")
        assert rest.json()["rows"] == 4
        whole = await rig.put(ident, rows(1, 2, 3, 4))
        assert whole.content == rest.content
        assert (await rig.post(f"{PATH}/{ident}/start")).status_code == 200

    drive(tmp_path, test, upload_limits=SMALL)


def test_the_rest_may_be_nothing(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        assert (await rig.put(ident, rows(1) + b"x\n")).status_code == 422
        ended = await rig.put(ident, b"", Upload_Rows_Done="1")
        assert ended.status_code == 200, ended.text
        assert ended.json()["finished"] is True

    drive(tmp_path, test)


def test_two_at_once_of_one_chunk_are_one(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        goes_on, reached = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield rows(1)
            reached.set()
            await goes_on.wait()
            yield rows(2)

        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(rig.put(ident, slow()))
            await reached.wait()
            second = await rig.put(ident, rows(1, 2))
            assert second.status_code == 409
            assert second.json()["type"] == "/docs#upload-in-progress"
            sealed = await rig.post(f"{PATH}/{ident}/seal")
            assert sealed.status_code == 409
            other = await rig.put(ident, rows(9), key="k2")
            assert other.status_code == 200
            goes_on.set()
        assert first.result().json()["rows"] == 2

    drive(tmp_path, test)


def test_too_many_octets_are_refused(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        told = await rig.put(ident, rows(*range(10_000)))
        assert told.status_code == 413
        untold = await rig.put(ident, in_pieces(rows(*range(10_000)), 1_000))
        assert untold.status_code == 413
        assert untold.headers["Connection"] == "close"

    drive(tmp_path, test, upload_limits=SMALL)


def test_rows_are_parsed_away_from_the_loop_and_in_bounded_blocks(
    tmp_path: Path,
) -> None:
    fed: list[int] = []
    coming, most_ahead = 0, 0

    async def test(rig: Rig) -> None:
        nonlocal coming, most_ahead
        ident = await rig.created()
        open_chunk = rig.staging.open_chunk

        def watched(*args: Any, **named: Any) -> Any:
            writer = open_chunk(*args, **named)
            feed = writer.feed

            def watch(octets: bytes) -> None:
                assert threading.current_thread() is not threading.main_thread()
                fed.append(len(octets))
                feed(octets)

            writer.feed = watch  # type: ignore[method-assign]
            return writer

        rig.staging.open_chunk = watched  # type: ignore[method-assign]

        async def counted() -> AsyncIterator[bytes]:
            nonlocal coming, most_ahead
            async for piece in in_pieces(rows(*range(3_000)), 500):
                coming += len(piece)
                most_ahead = max(most_ahead, coming - sum(fed))
                yield piece

        answer = await rig.put(ident, counted())
        assert answer.json()["rows"] == 3_000
        assert max(fed) < 2_500
        # A block that is staged, one that waits for it, and a piece on its way.
        assert most_ahead <= 3 * 2_500

    drive(tmp_path, test, upload_limits=SMALL)
