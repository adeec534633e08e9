"""The power goes before every sync in turn: what was told is there, the job the same."""

from pathlib import Path

import pytest

from fakes.synced_disk import PowerCutError, SyncedDisk
from fakes.uploaded import (
    NDJSON,
    Job,
    open_area,
    prepare,
    recipients,
    suppressing,
    to_ndjson,
    upload,
)
from mailwright.queue.campaign import chunk_writer, runs

SUPPRESSED = suppressing({"r3@d0.example": "bounce (all)"})
ROWS: dict[str, list[dict[str, object]]] = {
    "a": [*recipients(60), {"email": "bad"}],
    "b": [*recipients(50, first=30), {"email": "A@d.example"}],
}
TORN = bytes(range(40))


class Told:
    """What an uploader was told before the power went."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.finished: set[str] = set()
        self.job: Job | None = None


def everything(folder: Path, told: Told) -> None:
    """Upload both chunks and prepare the job."""
    area = open_area(folder)
    for key, rows in ROWS.items():
        with area.open_chunk(1, key, NDJSON) as writer:
            for row in rows:
                writer.feed(to_ndjson([row]))
                told.rows[key] = writer.rows_done
            writer.finish()
            told.finished.add(key)
    told.job = prepare(area, SUPPRESSED)


def cut(
    tmp_path: Path, cut_at: int | None, ignores: str = ""
) -> tuple[int, Path, Told]:
    """Run everything until the cut; return the syncs, what is left, what was told."""
    folder = tmp_path / "node"
    folder.mkdir(parents=True)
    disk, told = SyncedDisk(folder, cut_at, ignores=ignores), Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_writer, "SYNC_ROWS", 20)
        patch.setattr(chunk_writer, "_FRAME_OCTETS", 300)
        patch.setattr(runs, "_RUN_ENTRIES", 16)
        disk.watch(patch)
        try:
            everything(folder, told)
        except PowerCutError:
            assert cut_at is not None
    left = tmp_path / "left"
    disk.survivors(left)
    return disk.syncs, left, told


def require_told(left: Path, told: Told) -> None:
    """See that everything that was told is there."""
    area = open_area(left)
    for key, rows in told.rows.items():
        chunk = area.chunk(1, key)
        assert rows == 0 or (chunk is not None and chunk.rows_done >= rows), key
        assert key not in told.finished or (chunk is not None and chunk.is_finished)
    if told.job is not None:
        assert area.prepared(1) is not None
        assert prepare(area) == told.job


def go_on(left: Path) -> Job:
    """Finish what was cut as an uploader would: with the rest, where there is one."""
    area = open_area(left)
    for key, rows in ROWS.items():
        chunk = area.chunk(1, key)
        done = chunk.rows_done if chunk else 0
        rest = to_ndjson(rows[done:])
        upload(area, key, rest, continues_at=done if chunk else None)
    return prepare(area, SUPPRESSED)


def test_no_cut_loses_what_was_told_or_changes_the_job(tmp_path: Path) -> None:
    syncs, left, told = cut(tmp_path / "whole", None)
    require_told(left, told)
    assert told.job is not None
    assert len(told.job.ready) == 80
    assert syncs > 20
    for number in range(syncs):
        _, left, partly = cut(tmp_path / str(number), number)
        require_told(left, partly)
        assert go_on(left) == told.job, number


def test_a_torn_end_after_every_cut_is_cut_off(tmp_path: Path) -> None:
    syncs, _, told = cut(tmp_path / "whole", None)
    for number in range(syncs):
        _, left, partly = cut(tmp_path / str(number), number)
        for path in left.rglob("*.open"):
            path.write_bytes(path.read_bytes() + TORN)
        require_told(left, partly)
        assert go_on(left) == told.job, number


@pytest.mark.parametrize("ignored", ["files", "folders"])
def test_a_disk_that_is_not_synced_is_caught(tmp_path: Path, ignored: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011  the control: lost in any way
        require_told(*cut(tmp_path, None, ignored)[1:])


def test_every_length_of_a_cut_file_gives_a_beginning_of_its_rows(
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_writer, "_FRAME_OCTETS", 120)
        with open_area(tmp_path).open_chunk(1, "a", NDJSON) as writer:
            writer.feed(to_ndjson(ROWS["a"][:6]))
    [path] = (tmp_path / "staging" / "1").iterdir()
    octets = path.read_bytes()
    key_frame = len(octets) - len(octets[octets.index(b"MSr1") :])
    found = []
    for length in range(key_frame, len(octets) + 1):
        path.write_bytes(octets[:length])
        chunk = open_area(tmp_path).chunk(1, "a")
        assert chunk is not None
        found.append(chunk.rows_done)
        rest = to_ndjson(ROWS["a"][chunk.rows_done :])
        with open_area(tmp_path).open_chunk(
            1, "a", NDJSON, continues_at=chunk.rows_done
        ) as writer:
            writer.feed(rest)
            assert writer.abort().rows_done == len(ROWS["a"])
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 6)
    assert len(set(found)) > 2
