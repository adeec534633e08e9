"""Cursors: where a reader of the event log is.

Opaque to clients. Inside it is, for each node, the number of the last event that was
passed, and the day from which its followers are looked for.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from mailwright.errors import MailwrightError
from mailwright.store.days import number_of

#: Before the first event.
START: Final = ""


class CursorError(MailwrightError):
    """Not a cursor that we gave out."""


@dataclass(frozen=True, slots=True)
class Position:
    """A cursor, taken apart.

    Attributes:
        nodes: by node, the number of the last event passed and the day to look from: an
            event that follows it happened no earlier than the day before.
    """

    nodes: Mapping[int, tuple[int, date]] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str) -> "Position":
        """Return the position that ``cursor`` stands for.

        Raises:
            CursorError: it stands for none.
        """
        if not cursor:
            return cls()
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            octets = base64.b64decode(padded, altchars=b"-_", validate=True)
            return cls(dict(_positions(octets.decode("ascii").split(","))))
        except (binascii.Error, ValueError) as error:
            raise CursorError("not a cursor of this server") from error

    def of(self, node: int) -> tuple[int, date]:
        """Return the number passed and the day to look from."""
        return self.nodes.get(node, (0, date.min))

    def at(self, node: int, seq: int, day: date) -> "Position":
        """Return the position that has passed ``seq`` of ``node`` as well."""
        return Position({**self.nodes, node: (seq, day)})

    def cursor(self) -> str:
        """Return it as clients get it."""
        text = ",".join(
            # Not strftime, which writes the year of `date.min` with one digit.
            f"{node}:{seq}:{number_of(day):08}"
            for node, (seq, day) in sorted(self.nodes.items())
        )
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _positions(parts: Iterable[str]) -> Iterable[tuple[int, tuple[int, date]]]:
    for part in parts:
        node, seq, day = part.split(":")
        at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()
        number = int(seq)
        if not 0 <= number < 1 << 63:
            raise ValueError(part)
        yield int(node), (number, at)
