"""Uploads end in the same rows however they come; what was told to be done is there."""

import errno
import gzip
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.uploaded import (
    CSV,
    NDJSON,
    NOW,
    no_progress,
    none_suppressed,
    open_area,
    prepare,
    recipients,
    subject_of,
    suppressing,
    to_ndjson,
    upload,
)
from mailwright.queue.campaign import chunk_writer
from mailwright.queue.campaign.chunk_file import StagingDamagedError
from mailwright.queue.campaign.chunk_results import KEPT, remove_old_results
from mailwright.queue.campaign.chunk_writer import ChunkConflictError, StagingFullError
from mailwright.queue.campaign.rows import RowsError
from mailwright.queue.campaign.staging import (
    ChunkBusyError,
    StagingSealedError,
    UnfinishedChunksError,
)
from mailwright.queue.campaign.staging_limits import StagingLimits
from mailwright.store.health import Reserve
from mailwright.store.ports import StoreFullError


def test_rows_are_numbered_over_the_chunks_in_the_order_of_their_arrival(
    tmp_path: Path,
) -> None:
    area = open_area(tmp_path)
    second_ends_first = area.open_chunk(1, "a", NDJSON)
    upload(area, "b", to_ndjson(recipients(3, first=10)))
    with second_ends_first as writer:
        writer.feed(to_ndjson(recipients(2)))
        writer.finish()
    job = prepare(open_area(tmp_path))
    assert {row: address for _, row, address, *_ in job.ready} == {
        1: "r0@d0.example",
        2: "r1@d1.example",
        3: "r10@d1.example",
        4: "r11@d2.example",
        5: "r12@d0.example",
    }


def test_accepted_rows_come_in_the_order_of_lines_and_bands(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    recent = (NOW - timedelta(days=3)).date().isoformat()
    rows = [
        {"email": "1@b.example"},
        {"email": "2@b.example", "engaged_at": recent},
        {
            "email": "3@a.example",
            "timezone": "Europe/Berlin",
            "engaged_at": "2001-01-01",
        },
        {"email": "4@a.example", "timezone": "Asia/Tokyo"},
        {"email": "5@a.example"},
        {"email": "6@a.example.example"},
        {"email": "7@b.example"},
    ]
    upload(area, "k", to_ndjson(rows))
    ready = prepare(area).ready
    # Within a line and a band by subject, whose order is nobody's.
    ones = sorted((1, 7), key=lambda row: subject_of(f"{row}@b.example"))
    assert [row for _, row, *_ in ready] == [5, 4, 3, 6, 2, *ones]
    assert [band for _, _, _, band, *_ in ready] == [4, 4, 7, 4, 0, 4, 4]


def test_every_row_has_one_outcome_and_the_first_of_a_subject_wins(
    tmp_path: Path,
) -> None:
    area = open_area(tmp_path)
    body = "email a@x.example b@x.example A@X.example @x c@x.example b@x.example"
    upload(area, "k", body.replace(" ", "\n").encode(), CSV)
    upload(area, "l", to_ndjson([{"email": "a@x.example"}, {"email": "d@x.example"}]))
    job = prepare(area, suppressing({"b@x.example": "complaint (tenant)"}))
    assert {address for _, _, address, *_ in job.ready} == {
        "a@x.example",
        "c@x.example",
        "d@x.example",
    }
    assert job.rejects == (
        (2, "b@x.example", "suppressed", "complaint (tenant)"),
        (3, "a@x.example", "duplicate", ""),
        (4, "@x", "invalid", "address needs a local part and a domain"),
        (6, "b@x.example", "duplicate", ""),
        (7, "a@x.example", "duplicate", ""),
    )


def test_a_repeat_of_a_finished_chunk_gets_its_result_and_stores_nothing(
    tmp_path: Path,
) -> None:
    area = open_area(tmp_path)
    body = to_ndjson([*recipients(500), {"email": "bad"}])
    first = upload(area, "k", body)
    assert (first.rows_done, first.staged, first.invalid) == (501, 500, 1)
    octets = area.octets(1)
    assert upload(area, "k", body) == first
    assert upload(open_area(tmp_path), "k", gzip.compress(body), gzip=True) == first
    assert upload(area, "k", b"", continues_at=501) == first
    assert area.octets(1) == octets
    assert area.chunks(1) == (first,)


@pytest.mark.parametrize(
    "rows",
    [
        recipients(499),
        recipients(501),
        [*recipients(499), {"email": "other@d.example"}],
        [{"email": "other@d.example"}, *recipients(499, first=1)],
        [],
    ],
)
def test_another_body_under_the_same_key_is_told(
    tmp_path: Path, rows: list[object]
) -> None:
    area = open_area(tmp_path)
    first = upload(area, "k", to_ndjson(recipients(500)))
    with pytest.raises(ChunkConflictError):
        upload(area, "k", to_ndjson(rows))
    assert area.chunk(1, "k") == first
    assert upload(area, "k", to_ndjson(recipients(500))) == first


def test_an_unfinished_chunk_goes_on_with_the_whole_file_or_with_the_rest(
    tmp_path: Path,
) -> None:
    rows = recipients(900)
    for campaign, continues in ((1, False), (2, True)):
        area = open_area(tmp_path)
        writer = area.open_chunk(campaign, "k", NDJSON)
        writer.feed(to_ndjson(rows[:400]) + b'{"email":"half')
        assert writer.abort().rows_done == 400
        area = open_area(tmp_path)
        found = area.chunk(campaign, "k")
        assert found is not None
        assert not found.is_finished
        at = found.rows_done
        chunk = upload(
            area,
            "k",
            to_ndjson(rows[at:] if continues else rows),
            campaign=campaign,
            continues_at=at if continues else None,
        )
        assert (chunk.rows_done, chunk.is_finished) == (900, True)
    assert prepare(area, campaign=1) == prepare(area, campaign=2)
    assert area.chunks(1)[0].digest == area.chunks(2)[0].digest


def test_a_rest_that_begins_elsewhere_or_a_changed_beginning_is_told(
    tmp_path: Path,
) -> None:
    area = open_area(tmp_path)
    area.open_chunk(1, "k", NDJSON).abort()
    with area.open_chunk(1, "k", NDJSON) as writer:
        writer.feed(to_ndjson(recipients(10)))
    for at in (0, 9, 11):
        with pytest.raises(ChunkConflictError):
            area.open_chunk(1, "k", NDJSON, continues_at=at)
    for rows in ([{"email": "x@y.example"}, *recipients(20, first=1)], recipients(9)):
        with pytest.raises(ChunkConflictError):
            upload(area, "k", to_ndjson(rows))
    assert upload(area, "k", to_ndjson(recipients(20))).rows_done == 20


def test_a_malformed_file_keeps_the_rows_before_the_fault(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    body = (
        to_ndjson(recipients(100)) + b"{nonsense}\n" + to_ndjson(recipients(100, 100))
    )
    with pytest.raises(RowsError) as caught:
        upload(area, "k", body)
    assert (caught.value.line, caught.value.column) == (101, 2)
    chunk = open_area(tmp_path).chunk(1, "k")
    assert chunk is not None
    assert (chunk.rows_done, chunk.is_finished) == (100, False)
    mended = body.replace(b"{nonsense}\n", b"")
    assert upload(area, "k", mended).rows_done == 200


def test_broken_gzip_is_a_malformed_file(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    packed = gzip.compress(to_ndjson(recipients(100)))
    for body in (b"email\n", packed[:-5]):
        with pytest.raises(RowsError, match="gzip"):
            upload(area, "k", body, gzip=True)
    assert upload(area, "k", packed, gzip=True).rows_done == 100


def test_two_writers_of_one_chunk_do_not_meet(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    with area.open_chunk(1, "k", NDJSON):
        with pytest.raises(ChunkBusyError):
            area.open_chunk(1, "k", NDJSON)
        area.open_chunk(1, "other", NDJSON).abort()
        area.open_chunk(2, "k", NDJSON).abort()
        with pytest.raises(ChunkBusyError):
            prepare(area)
        with pytest.raises(ChunkBusyError):
            area.forget(1)
    area.open_chunk(1, "k", NDJSON).abort()


def test_a_writer_is_free_again_after_every_error(tmp_path: Path) -> None:
    area = open_area(tmp_path, StagingLimits(rows=50))
    for body, error in (
        (b"{", RowsError),
        (to_ndjson(recipients(51)), StagingFullError),
    ):
        with pytest.raises(error):
            upload(area, "k", body)
        area.open_chunk(1, "k", NDJSON).abort()
    writer = area.open_chunk(1, "k", NDJSON)
    writer.abort()
    writer.abort()
    with pytest.raises(ValueError, match="ended"):
        writer.feed(b"")


def test_a_job_has_limits_over_all_its_chunks(tmp_path: Path) -> None:
    limits = StagingLimits(rows=100)
    area = open_area(tmp_path, limits)
    upload(area, "a", to_ndjson(recipients(60)))
    with pytest.raises(StagingFullError, match="100 rows"):
        upload(area, "b", to_ndjson(recipients(41)))
    area = open_area(tmp_path, limits)
    upload(area, "c", to_ndjson(recipients(40)))
    area = open_area(tmp_path, StagingLimits(octets=20_000))
    with pytest.raises(StagingFullError, match="20000 octets"):
        upload(area, "d", to_ndjson(recipients(1000)), campaign=2)
    assert area.octets(2) < 20_000


def test_the_reserve_of_the_disk_is_left_alone(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    area = open_area(tmp_path)
    upload(area, "k", to_ndjson(recipients(100)))
    short = open_area(tmp_path, StagingLimits(reserve=Reserve(2 * free, share=0)))
    with pytest.raises(StoreFullError):
        upload(short, "l", to_ndjson(recipients(100)))
    chunk = short.chunk(1, "l")
    assert chunk is not None
    assert chunk.rows_done == 0
    assert upload(area, "k", to_ndjson(recipients(100))).rows_done == 100
    with pytest.raises(StoreFullError):
        prepare(short, campaign=2)
    assert upload(short, "l", b"").rows_done == 0


def test_a_disk_that_fills_up_amid_a_frame_loses_no_synced_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_writer, "_FRAME_OCTETS", 2000)
    written = []

    def write(descriptor: int, octets: bytes) -> None:
        written.append(len(octets))
        if len(written) == 5:
            os.write(descriptor, octets[:100])
            raise OSError(errno.ENOSPC, "full")
        os.write(descriptor, octets)

    area = open_area(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(chunk_writer, "write_all", write)
        with pytest.raises(StoreFullError):
            upload(area, "k", to_ndjson(recipients(1000)))
    chunk = area.chunk(1, "k")
    assert chunk is not None
    assert 0 < chunk.rows_done < 1000
    assert open_area(tmp_path).chunk(1, "k") == chunk
    assert upload(area, "k", to_ndjson(recipients(1000))).rows_done == 1000
    assert len(prepare(open_area(tmp_path)).ready) == 1000


def test_no_path_comes_from_a_key(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    for key in ("../../evil", "/etc/passwd", "a\0b", "x" * 200, "ключ"):
        upload(area, key, to_ndjson(recipients(1)))
    assert open_area(tmp_path).chunks(1)[0].key == "../../evil"
    names = sorted(os.listdir(tmp_path / "staging" / "1"))
    assert [name[:9] for name in names] == [f"{n:08}-" for n in range(1, 6)]
    assert os.listdir(tmp_path) == ["staging"]
    for key in ("", "x" * 201):
        with pytest.raises(ValueError, match="key"):
            area.open_chunk(1, key, NDJSON)
    for campaign in (0, -1):
        with pytest.raises(ValueError, match="campaign"):
            area.chunks(campaign)


def test_a_job_with_an_unfinished_chunk_is_not_prepared(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    area.open_chunk(1, "begun", NDJSON).abort()
    with pytest.raises(UnfinishedChunksError) as caught:
        prepare(area)
    assert caught.value.keys == ("begun",)
    upload(area, "begun", to_ndjson(recipients(1)))
    assert len(prepare(area).ready) == 1


def test_a_prepared_job_never_changes_and_asks_nobody_again(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    body = to_ndjson(recipients(20))
    upload(area, "k", body)
    job = prepare(area)

    def asked(_subjects: object) -> dict[bytes, str]:
        raise AssertionError("asked again")

    assert prepare(area, asked) == job
    assert prepare(open_area(tmp_path), asked) == job
    assert upload(area, "k", body).rows_done == 20
    with pytest.raises(StagingSealedError):
        upload(area, "new", body)


def test_readers_go_on_from_where_they_were(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    upload(area, "k", to_ndjson([*recipients(2000), *recipients(1500)]))
    prepare(area)
    prepared = area.prepared(1)
    assert prepared is not None
    ready, rejects = list(prepared.records()), list(prepared.rejects())
    assert (len(ready), len(rejects)) == (2000, 1500)
    for after in (0, 1, 511, 512, 513, 1499, 1500, 2000):
        assert list(prepared.records(after)) == ready[after:]
        assert list(prepared.rejects(after)) == rejects[after:]


def test_a_job_without_rows_is_prepared(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    assert prepare(area).ready == ()
    upload(area, "k", b"", campaign=2)
    assert prepare(area, campaign=2).ready == ()


def test_suppression_is_asked_in_sorted_batches(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    upload(area, "k", to_ndjson(recipients(10_000)))
    batches: list[list[bytes]] = []

    def asked(subjects: object) -> dict[bytes, str]:
        batches.append(list(subjects))  # type: ignore[call-overload]
        return {}

    told: list[tuple[int, int]] = []
    area.prepare(1, subject_of, asked, lambda done, total: told.append((done, total)))
    assert max(map(len, batches)) <= 4096
    flat = [subject for batch in batches for subject in batch]
    assert flat == sorted(flat)
    assert len(set(flat)) == 10_000
    assert told == sorted(told)
    assert told[-1] == (20_000, 20_000)


def test_what_is_forgotten_leaves_the_results_of_its_chunks(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    assert area.campaigns() == []
    upload(area, "k", to_ndjson(recipients(5)))
    upload(area, "k", to_ndjson(recipients(6)), campaign=22)
    prepare(area)
    assert area.campaigns() == [1, 22]
    area.forget(1)
    area.forget(1)
    assert area.campaigns() == [22]
    assert area.octets(1) == 0
    assert open_area(tmp_path).chunk(22, "k") is not None


def test_a_late_repeat_gets_the_stored_result_and_nothing_else_is_taken(
    tmp_path: Path,
) -> None:
    area = open_area(tmp_path)
    body = to_ndjson(recipients(5))
    stored = upload(area, "k", body)
    area.open_chunk(1, "begun", NDJSON).abort()
    area.forget(1)
    for each in (area, open_area(tmp_path)):
        assert each.chunks(1) == (stored,)
        assert upload(each, "k", body) == stored
        with pytest.raises(ChunkConflictError):
            upload(each, "k", to_ndjson(recipients(6)))
        for key in ("begun", "new"):
            with pytest.raises(StagingSealedError):
                each.open_chunk(1, key, NDJSON)
        assert not (tmp_path / "staging" / "1").exists()


def test_results_are_kept_for_a_week(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    for campaign in (1, 2):
        upload(area, "k", to_ndjson(recipients(5)), campaign=campaign)
    area.forget(1)
    area.forget(2)
    staging = tmp_path / "staging"
    made = datetime.fromtimestamp((staging / "1.results").stat().st_mtime, UTC)
    remove_old_results(staging, made + KEPT - timedelta(minutes=1))
    assert sorted(os.listdir(staging)) == ["1.results", "2.results"]
    os.utime(staging / "1.results", (0, 0))
    remove_old_results(staging, made + KEPT)
    assert os.listdir(staging) == ["2.results"]


def test_results_that_are_damaged_are_told(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    upload(area, "k", to_ndjson(recipients(5)))
    area.forget(1)
    (tmp_path / "staging" / "1.results").write_text('[{"key":')
    with pytest.raises(StagingDamagedError):
        open_area(tmp_path).chunk(1, "k")


def test_damage_in_what_was_finished_is_told(tmp_path: Path) -> None:
    area = open_area(tmp_path)
    upload(area, "k", to_ndjson(recipients(1000)))
    [path] = (tmp_path / "staging" / "1").iterdir()
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    with pytest.raises(StagingDamagedError):
        open_area(tmp_path).chunk(1, "k")
    with pytest.raises(StagingDamagedError):
        area.prepare(1, subject_of, none_suppressed, no_progress)
    assert area.prepared(1) is None


def test_rows_are_durable_soon_while_an_upload_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_writer, "SYNC_ROWS", 1000)
    monkeypatch.setattr(chunk_writer, "_FRAME_OCTETS", 2000)
    area = open_area(tmp_path)
    with area.open_chunk(1, "k", NDJSON) as writer:
        for first in range(0, 3500, 100):
            writer.feed(to_ndjson(recipients(100, first)))
            assert writer.rows_done >= first - 1000
        assert 0 < writer.rows_done < 3500
        seen = open_area(tmp_path).chunk(1, "k")
        assert seen is not None
        assert seen.rows_done >= writer.rows_done
