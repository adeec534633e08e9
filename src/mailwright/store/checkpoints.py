"""When the write-ahead log is copied into the database: a pure rule.

A checkpoint costs two syncs and one write for each distinct page, so it pays to wait;
but the log must not grow without end. SQLite only tells the log's length when a
checkpoint is made, so between two of them it is estimated from the rows that changed.
"""

from typing import Final

#: Pages of the log at which a checkpoint is worth it (16 MB).
_PAGES: Final = 4096
#: Bounds of the estimate: rows changed since the last checkpoint.
_CHANGES_MIN: Final = 256
_CHANGES_MAX: Final = 8192
#: Pages per changed row before the first answer: a row and its indexes, some shared.
_PAGES_PER_CHANGE: Final = 2.0


class CheckpointPace:
    """Says when to make a checkpoint, learning from each one's answer."""

    def __init__(self) -> None:
        self._due_after = int(_PAGES / _PAGES_PER_CHANGE)
        self._changes_then = 0
        self._changes_now = 0

    def is_due(self, total_changes: int) -> bool:
        """Whether to make one now; ``total_changes`` is the connection's count."""
        self._changes_now = total_changes
        return total_changes - self._changes_then >= self._due_after

    def hasten(self) -> None:
        """Make the next one as soon as there is something for it: the disk is full."""
        self._due_after = 1

    def made(self, pages: int | None) -> None:
        """Learn from the answer: ``pages`` in the log; ``None`` when it failed."""
        changes = self._changes_now - self._changes_then
        self._changes_then = self._changes_now
        if pages is not None and pages > 0 and changes > 0:
            wanted = int(_PAGES * changes / pages)
            self._due_after = min(max(wanted, _CHANGES_MIN), _CHANGES_MAX)
