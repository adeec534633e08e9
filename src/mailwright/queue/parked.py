"""Parked lines: they wait for their due time, or for the end of a rest."""

from collections.abc import Iterator
from datetime import datetime

from mailwright.queue.line import Line
from mailwright.queue.timetable import Timetable


class Parked:
    """The lines that nobody looks at until their time comes."""

    def __init__(self) -> None:
        self._times: Timetable[Line] = Timetable()
        #: Lines that rest because of a limit.
        self._limited: set[Line] = set()

    def __len__(self) -> int:
        return len(self._times)

    def put(self, line: Line) -> bool:
        """Let ``line`` wait until it is ready; return whether it is the first now."""
        if line.waits_for_limit:
            self._limited.add(line)
        return self._times.put_earlier(line, line.ready_at())

    def rouse(self, line: Line) -> None:
        """End the rest of ``line``, and its wait if it is parked."""
        line.wake()
        self._limited.discard(line)
        # Its rest or its due time has moved: the entry of before is of no use.
        self._times.drop(line)

    def take_due(self, now: datetime) -> Iterator[Line]:
        """Yield the lines whose time has come; they are parked no more."""
        return self._times.take_due(now)

    def take_limited(self) -> list[Line]:
        """Return the lines that rest because of a limit; they are known no more."""
        limited, self._limited = list(self._limited), set()
        return limited

    def wait_s(self, now: datetime) -> float | None:
        """Return the seconds until the time of the first one."""
        return self._times.wait_s(now)
