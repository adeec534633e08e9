"""Whether the write-ahead log must be there: it holds what was committed last.

SQLite opens a database whose log is gone without a word, as it was at the last
checkpoint. So a file stands beside the database while its log may hold what the
database does not: made when the database was opened, removed before it is closed. A
killed node leaves it, and its log.
"""

import logging
from pathlib import Path

from mailwright.store.folders import sync_folder
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)


class LogLostError(StoreError):
    """The database was in use, and its log is gone."""


def refuse_lost_log(database: Path) -> None:
    """Refuse a database that was not closed and has no log; blocks.

    Call it before anything opens the database: SQLite would make a new log.

    Raises:
        LogLostError: it would come up without what was committed last.
    """
    log = database.with_name(f"{database.name}-wal")
    if _note(database).exists() and not log.exists():
        raise LogLostError(
            f"the database {database} was in use when its node ended, and its log "
            f"{log.name} is gone, with what was accepted last: put it back, or restore "
            "a backup (mailwright restore); if another program has taken the log into "
            f"the database (sqlite3 does so at its end), remove {_note(database)}"
        )


def expect_log(database: Path) -> None:
    """Remember, durably, that the log belongs to the database; blocks.

    Raises:
        OSError: it cannot be written.
    """
    note = _note(database)
    if not note.exists():
        note.touch(mode=0o600)
        sync_folder(note.parent)


def release_log(database: Path) -> None:
    """Let the log go with the next close; blocks. Works on a full disk, too."""
    try:
        _note(database).unlink(missing_ok=True)
    except OSError as error:  # of a disk that failed; the next start will ask
        logger.warning("cannot note that the log is closed: %s", error.strerror)


def _note(database: Path) -> Path:
    return database.with_name(f"{database.name}.open")
