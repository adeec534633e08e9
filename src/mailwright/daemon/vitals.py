"""What maintenance last saw of clock and disk, and why the node is not ready."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Disk(NamedTuple):
    """The file system of the state folder.

    Attributes:
        free_octets: as a process without privileges may use them.
        reserve_octets: what must stay free for mail to be accepted.
        free_inodes: ``None`` where they are not limited.
    """

    free_octets: int
    reserve_octets: int
    free_inodes: int | None


@dataclass(slots=True)
class Vitals:
    """The last measures; written and read on the event loop.

    Attributes:
        clock_ahead_s: how far the system's clock was ahead of the node's.
        is_clock_suspect: wall time is not to be believed (see ``clock.ClockTrust``).
        disk: ``None`` before the first look.
        is_database_checked: the quick check after the start has ended.
        is_database_damaged: it found damage.
    """

    clock_ahead_s: float = 0.0
    is_clock_suspect: bool = False
    disk: Disk | None = None
    is_database_checked: bool = False
    is_database_damaged: bool = False


class Readiness:
    """Why the node should not be sent work now, and what else people should know."""

    def __init__(self, notices: Callable[[], Sequence[str]] = tuple) -> None:
        """``notices`` tells what is unusual though work is taken."""
        self._notices = notices
        self._reasons: dict[str, str] = {"starting": "the node is starting"}

    def note(self, topic: str, reason: str) -> None:
        """Be unready for ``reason``; ``""`` ends it."""
        if reason:
            self._reasons[topic] = reason
        else:
            self._reasons.pop(topic, None)

    def reasons(self) -> list[str]:
        """Return every reason; empty means ready."""
        return list(self._reasons.values())

    def notices(self) -> list[str]:
        """Return what is unusual though work is taken: that all mail is stopped."""
        return list(self._notices())

    def topics(self) -> list[str]:
        """Return what the reasons are about: words of ours, few."""
        return list(self._reasons)

    def summary(self) -> str:
        """Return a line for people."""
        said = [*self._reasons.values(), *self._notices()]
        return "; ".join(said) or "ready"
