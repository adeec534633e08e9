"""What became of a sealed job's uploads, once their rows are gone.

A client whose answer was lost repeats its upload, maybe after the job was sealed. One small
file a job, beside its folder, still knows which chunks were finished, how many rows they had
and what these were; it stays for as long as keys of other creates do.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from mailwright.queue.campaign.chunk_file import Chunk, StagingDamagedError
from mailwright.store.folders import sync_folder

SUFFIX: Final = ".results"
_PASSING: Final = ".results.new"
#: As long as an ``Idempotency-Key`` is (DESIGN.md §12).
KEPT: Final = timedelta(days=7)


def write_results(path: Path, chunks: Iterable[Chunk]) -> None:
    """Keep the finished ones of ``chunks`` in ``path``; durable on return; blocks.

    Raises:
        OSError: it cannot be written.
    """
    kept = [asdict(chunk) for chunk in chunks if chunk.is_finished]
    passing = path.with_name(path.name.removesuffix(SUFFIX) + _PASSING)
    with passing.open("w", encoding="utf-8") as file:
        json.dump(kept, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    passing.rename(path)
    sync_folder(path.parent)


def read_results(path: Path) -> list[Chunk]:
    """Return what :func:`write_results` kept; nothing if there is no such file.

    Raises:
        StagingDamagedError: it is not what was written.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        return [Chunk(**each) for each in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise StagingDamagedError(f"{path.name} is damaged") from error


def remove_old_results(folder: Path, now: datetime) -> None:
    """Remove the results in ``folder`` that are older than :data:`KEPT`; blocks.

    Raises:
        OSError: the folder cannot be read, or a file not be removed.
    """
    before = (now - KEPT).timestamp()
    for each in folder.glob(f"*{SUFFIX}"):
        if each.stat().st_mtime < before:
            each.unlink(missing_ok=True)
