"""The book of lines: the picture in memory of every line that holds mail.

This node is the only writer of the lines it owns, so the book is right without asking
the database; a restart reads it anew. Lines that have been empty for a while are closed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from mailwright.accounts.directory import StreamClass
from mailwright.clock import from_micros
from mailwright.ids import (
    CampaignId,
    CredentialId,
    HoldId,
    LineId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.queue.line import NOTHING_DUE, Line, LineKey
from mailwright.store.statements import Row

#: A dictionary is three times as fast as the enumeration, and a start asks it often.
_CLASSES: Final = {each.value: each for each in StreamClass}


class Alike:
    """Equal values of the rows of one reading, each kept once.

    Every row comes with numbers and names of its own. Most lines have them in common,
    and a node keeps a hundred thousand lines: together they are a third of what those
    take.
    """

    __slots__ = ("_numbers", "_texts", "_times")

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._texts: dict[str, str] = {}
        self._times: dict[int, datetime] = {}

    def number(self, value: int) -> int:
        """Return the number equal to ``value`` that came first."""
        return self._numbers.setdefault(value, value)

    def text(self, value: str) -> str:
        """Return the text equal to ``value`` that came first."""
        return self._texts.setdefault(value, value)

    def time(self, micros: int) -> datetime:
        """Return the instant that ``micros`` stands for."""
        known = self._times.get(micros)
        if known is None:
            known = self._times[micros] = from_micros(micros)
        return known


class LineBook:
    """Every line with mail, by id and by key."""

    def __init__(self, next_id: Callable[[], int]) -> None:
        self._next_id = next_id
        self._by_id: dict[LineId, Line] = {}
        self._by_key: dict[LineKey, Line] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Line]:
        return iter(self._by_id.values())

    def get(self, line_id: LineId) -> Line | None:
        """Return a line that is in the book."""
        return self._by_id.get(line_id)

    def line_for(self, key: LineKey, now: datetime) -> Line:
        """Return the line that accepts deliveries with this key, making it if need be.

        A new one gets its row with the first delivery that is added to it.
        """
        line = self._by_key.get(key)
        if line is None:
            line = Line(LineId(self._next_id()), key, count=0, next_due_at=now)
            self._by_id[line.id] = line
            self._by_key[key] = line
        return line

    def open(self, key: LineKey, hold: HoldId | None) -> Line:
        """Return a new line that accepts do not add to; its row comes as above.

        With ``hold`` it is held, and accepts never add to it.
        """
        line = Line(LineId(self._next_id()), key, count=0, next_due_at=NOTHING_DUE)
        line.hold, line.is_held = hold, hold is not None
        self._by_id[line.id] = line
        return line

    def move(self, line: Line, pool: PoolId) -> None:
        """Put ``line`` into another pool; accepts go on into the one they name."""
        if self._by_key.get(line.key) is line:
            del self._by_key[line.key]
        line.key = replace(line.key, pool=pool)
        if line.hold is not None:
            return
        first = self._by_key.get(line.key)
        if first is None or line.id < first.id:
            self._by_key[line.key] = line

    def load(self, rows: Iterable[Row], alike: Alike) -> int:
        """Take over rows of ``statements.LINES_WITH_MAIL``; return the last id.

        Pages of one reading have the same ``alike``.
        """
        last = 0
        for row in rows:
            line = _line_of(row, alike)
            self._by_id[line.id] = line
            # Not unique by key after a move: accepts append to the lowest id.
            if line.hold is None:
                self._by_key.setdefault(line.key, line)
            last = line.id
        return last

    def close_empty(self) -> list[Line]:
        """Drop the lines that hold nothing and return them.

        Their rows may be deleted after: a later delivery with the same key makes a new
        line, under a new id.
        """
        empty = [line for line in self._by_id.values() if line.is_idle]
        for line in empty:
            del self._by_id[line.id]
            if self._by_key.get(line.key) is line:
                del self._by_key[line.key]
        return empty


def _line_of(row: Row, alike: Alike) -> Line:
    (
        number,
        tenant,
        campaign,
        stream,
        sending_domain,
        credential,
        stream_class,
        domain,
        pool,
        count,
        next_due_at,
        hold,
        timezone,
    ) = row
    key = LineKey(
        TenantId(alike.number(tenant)),
        None if campaign is None else CampaignId(alike.number(campaign)),
        StreamId(alike.number(stream)),
        SendingDomainId(alike.number(sending_domain)),
        CredentialId(alike.number(credential)),
        _CLASSES[stream_class],
        alike.text(domain),
        PoolId(alike.number(pool)),
        alike.text(timezone),
    )
    return Line(
        LineId(number),
        key,
        count=count,
        next_due_at=alike.time(next_due_at),
        is_held=hold is not None,
        hold=None if hold is None else HoldId(hold),
    )
