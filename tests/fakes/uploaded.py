"""Uploads into a staging area, and what became of every row."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailwright.clock import ManualClock
from mailwright.ids import Subject
from mailwright.queue.campaign.chunk_file import Chunk
from mailwright.queue.campaign.staging import StagingArea
from mailwright.queue.campaign.staging_limits import StagingLimits
from mailwright.queue.campaign.uploads import RowFormat

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NDJSON = RowFormat()
CSV = RowFormat("csv")


def open_area(folder: Path, limits: StagingLimits | None = None) -> StagingArea:
    """Return an area as a node that has just started has it."""
    return StagingArea(folder / "staging", ManualClock(NOW), limits)


def to_ndjson(rows: Sequence[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def recipients(count: int, first: int = 0) -> list[dict[str, object]]:
    """Return plain rows in several domains."""
    return [
        {"email": f"r{n}@d{n % 3}.example", "fields": {"n": n}}
        for n in range(first, first + count)
    ]


def upload(
    area: StagingArea,
    key: str,
    body: bytes,
    fmt: RowFormat = NDJSON,
    *,
    campaign: int = 1,
    gzip: bool = False,
    continues_at: int | None = None,
) -> Chunk:
    """Upload ``body`` as it comes from a network and return the finished chunk."""
    with area.open_chunk(
        campaign, key, fmt, gzip=gzip, continues_at=continues_at
    ) as writer:
        for at in range(0, len(body), 7000):
            writer.feed(body[at : at + 7000])
        return writer.finish()


def subject_of(address: str) -> Subject:
    return Subject(hashlib.sha256(address.encode()).digest()[:16])


def none_suppressed(_subjects: Sequence[bytes]) -> Mapping[bytes, str]:
    return {}


def suppressing(addresses: Mapping[str, str]) -> Callable[..., Mapping[bytes, str]]:
    """Return an answer for ``addresses`` with their reasons."""
    known = {bytes(subject_of(each)): reason for each, reason in addresses.items()}
    return lambda subjects: {s: known[s] for s in subjects if s in known}


def no_progress(_done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Job:
    """A prepared job, as values.

    Attributes:
        ready: (position, row, address, band, timezone, fields) in line order.
        rejects: (row, address, outcome, reason) by row.
    """

    ready: tuple[tuple[int, int, str, int, str, bytes], ...]
    rejects: tuple[tuple[int, str, str, str], ...]


def prepare(
    area: StagingArea,
    suppressed: Callable[..., Mapping[bytes, str]] = none_suppressed,
    campaign: int = 1,
) -> Job:
    """Prepare a job; see that every row has one outcome and the sums are right."""
    prepared = area.prepare(campaign, subject_of, suppressed, no_progress)
    ready = list(prepared.records(0))
    rejects = list(prepared.rejects(0))
    assert len(ready) == prepared.row_count
    assert len(rejects) == prepared.reject_count
    rows = sorted([each.row for each in ready] + [each.row for each in rejects])
    assert rows == list(range(1, prepared.rows + 1))
    assert all(each.subject == subject_of(each.address) for each in ready)
    assert [each.position for each in ready] == list(range(1, len(ready) + 1))
    return Job(
        tuple(
            (r.position, r.row, r.address, r.band, r.timezone, r.fields) for r in ready
        ),
        tuple((r.row, r.address, r.outcome, r.reason) for r in rejects),
    )
