"""Any way to upload the same rows makes the same job.

* Rows in any number of chunks, as NDJSON or CSV, packed or not, cut anywhere, broken off,
  killed with a torn end, continued or sent again, repeated when finished: the prepared
  job (rows, order, rejects) is that of one upload.
* Every row has exactly one outcome (``fakes.uploaded.prepare`` sees to it).
* A staging area that stores what it is given, again and again, is caught.
"""

import gzip
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.uploaded import (
    CSV,
    NDJSON,
    NOW,
    Job,
    open_area,
    prepare,
    subject_of,
    suppressing,
    to_ndjson,
    upload,
)
from mailwright.queue.campaign import chunk_writer, preparing, runs
from mailwright.queue.campaign.rows import Row, band_of
from mailwright.queue.campaign.staging import StagingArea

SUPPRESSED = {"a@x.example": "complaint (all)"}
QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
LETTERS = "abcdeABCDE"

Record = tuple[str, str, str]  # email, a field, timezone


@dataclass(frozen=True)
class Try:
    """One try of an upload that does not get to its end.

    Attributes:
        share: how much of the body comes, of 100.
        is_killed: the process dies; else the connection ends.
        torn: of what was not synced, how much is left, of 100; then garbage.
        continues: it begins where the chunk ended.
    """

    share: int
    is_killed: bool
    torn: int
    continues: bool


@dataclass(frozen=True)
class Sent:
    """One chunk and how it is sent."""

    records: tuple[Record, ...]
    is_csv: bool
    is_packed: bool
    tries: tuple[Try, ...]
    continues: bool
    repeats: int


EMAILS = st.one_of(
    st.builds("{}@{}.example".format, st.sampled_from(LETTERS), st.sampled_from("xyz")),
    st.sampled_from(["", "nobody", "a@b", "ä@x.example", "a@bücher.example"]),
)
RECORDS = st.tuples(
    EMAILS,
    st.text('a"\n,;é', max_size=4),
    st.sampled_from(["", "", "Europe/Berlin", "Nowhere/Land"]),
)
TRIES = st.builds(
    Try, st.integers(0, 99), st.booleans(), st.integers(0, 100), st.booleans()
)
CHUNKS = st.builds(
    Sent,
    st.lists(RECORDS, max_size=12).map(tuple),
    st.booleans(),
    st.booleans(),
    st.lists(TRIES, max_size=3).map(tuple),
    st.booleans(),
    st.integers(0, 1),
)
PLANS = st.lists(CHUNKS, min_size=1, max_size=4).map(tuple)


def octets_of(sent: Sent, skip: int = 0) -> bytes:
    records = sent.records[skip:]
    if sent.is_csv:
        cells = [("email", "x", "timezone"), *records]
        quoted = [
            ['"' + cell.replace('"', '""') + '"' for cell in row] for row in cells
        ]
        body = "".join(",".join(row) + "\r\n" for row in quoted).encode()
    else:
        body = to_ndjson(
            [{"email": e, "fields": {"x": x}, "timezone": t} for e, x, t in records]
        )
    return gzip.compress(body) if sent.is_packed else body


def done(area: StagingArea, key: str) -> int | None:
    chunk = area.chunk(1, key)
    return None if chunk is None else chunk.rows_done


def try_once(area: StagingArea, key: str, sent: Sent, once: Try) -> None:
    """Send a part of the body and break off."""
    at = done(area, key) if once.continues else None
    body = octets_of(sent, at or 0)
    fmt = CSV if sent.is_csv else NDJSON
    writer = area.open_chunk(1, key, fmt, gzip=sent.is_packed, continues_at=at)
    writer.feed(body[: len(body) * once.share // 100])
    told = writer.rows_done
    if not once.is_killed:
        told = writer.abort().rows_done
    else:
        safe, path = writer._chunk.octets, writer._path
        writer._end()
        octets = path.read_bytes()
        left = safe + (len(octets) - safe) * once.torn // 100
        path.write_bytes(octets[:left] + b"MSr1\0\0\0\1garbage")
    found = open_area(area._folder.parent).chunk(1, key)
    assert found is not None
    assert found.rows_done >= told


def run(folder: Path, plan: Sequence[Sent]) -> Job:
    """Carry a plan out, each try on a node that has just started."""
    for number, sent in enumerate(plan):
        key, fmt = f"key {number}", CSV if sent.is_csv else NDJSON
        for once in sent.tries:
            try_once(open_area(folder), key, sent, once)
        area = open_area(folder)
        at = done(area, key) if sent.continues else None
        body = octets_of(sent, at or 0)
        chunk = upload(area, key, body, fmt, gzip=sent.is_packed, continues_at=at)
        assert chunk.rows_done == len(sent.records)
        for _ in range(sent.repeats):
            area = open_area(folder)
            body = octets_of(sent)
            assert upload(area, key, body, fmt, gzip=sent.is_packed) == chunk
    return prepare(open_area(folder), suppressing(SUPPRESSED))


def expected_of(plan: Sequence[Sent]) -> Job:
    """Return the job of these rows in one piece, without staging."""
    rows: list[Row] = []
    for sent in plan:
        parser = (CSV if sent.is_csv else NDJSON).parser()
        parser.feed(octets_of(replace(sent, is_packed=False)), rows)
        parser.finish(rows)
    seen: set[str] = set()
    accepted: list[tuple[str, str, int, int, Row]] = []
    rejects: list[tuple[int, str, str, str]] = []
    for number, row in enumerate(rows, 1):
        if row.reason:
            rejects.append((number, row.address, "invalid", row.reason))
        elif row.address in seen:
            rejects.append((number, row.address, "duplicate", ""))
        elif row.address in SUPPRESSED:
            rejects.append((number, row.address, "suppressed", SUPPRESSED[row.address]))
        else:
            band = band_of(row.engaged_at, NOW)
            subject = subject_of(row.address)
            accepted.append((row.domain, row.timezone, band, subject, number, row))
        if not row.reason:
            seen.add(row.address)
    accepted.sort(key=lambda each: each[:4])
    return Job(
        tuple(
            (position, number, row.address, band, row.timezone, row.fields)
            for position, (_, _, band, _, number, row) in enumerate(accepted, 1)
        ),
        tuple(rejects),
    )


def check(plan: Sequence[Sent]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        # A process that dies loses nothing that the system has; syncs are tested
        # with power cuts.
        patch.setattr(os, "fsync", lambda _descriptor: None)
        patch.setattr(chunk_writer, "_FRAME_OCTETS", 200)
        patch.setattr(chunk_writer, "SYNC_ROWS", 4)
        patch.setattr(runs, "_RUN_ENTRIES", 3)
        patch.setattr(runs, "_FRAME_ENTRIES", 2)
        assert run(Path(folder), plan) == expected_of(plan)


@QUICK
@given(PLANS)
def test_any_way_to_upload_the_rows_makes_the_same_job(plan: Sequence[Sent]) -> None:
    check(plan)


@pytest.mark.parametrize(
    ("owner", "name", "naive"),
    [
        # Nothing is compared: what comes again is stored again.
        (chunk_writer.ChunkWriter, "_compare", lambda _self, rows: rows),
        # Nobody looks for duplicates and suppressions.
        (preparing.Preparing, "_decide", lambda _self, _runs: None),
        # A torn end stays where it is.
        (os, "ftruncate", lambda _descriptor, _octets: None),
    ],
    ids=["stores again", "no duplicates", "torn"],
)
def test_a_naive_area_is_caught(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, naive: object
) -> None:
    records = (("a@y.example", "", ""), ("A@y.example", "", ""))
    killed = Try(90, is_killed=True, torn=50, continues=False)
    broken_off = Try(90, is_killed=False, torn=0, continues=False)
    plan = (Sent(records, False, False, (killed, broken_off), False, 1),)
    check(plan)
    monkeypatch.setattr(owner, name, naive)
    with pytest.raises(Exception):  # noqa: B017, PT011  in whatever way
        check(plan)
