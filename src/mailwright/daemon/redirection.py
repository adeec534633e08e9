"""Mail that is under way takes another way when the settings say so.

A line that goes on over its old way, or that rests because of it, would not notice by
itself: a lane lives as long as it has mail, and a site is remembered for its DNS answer's
time.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from mailwright.accounts.directory import Directory
from mailwright.queue.book import LineBook
from mailwright.queue.line import Line

#: Lines started anew before other work gets its turn.
_LINES_AT_ONCE: Final = 1_000


class Lines(Protocol):
    """Starts lines. ``queue.scheduler.Scheduler``."""

    def forget_sites(self) -> None:
        """Ask the router anew for every line that starts from now on."""
        ...

    def restart(self, line: Line) -> None:
        """Let ``line`` begin anew; what is out for it goes on."""
        ...


class Redirection:
    """Starts lines anew when routes, pools, sources, networks or keys changed."""

    def __init__(
        self, directory: Callable[[], Directory], book: LineBook, lines: Lines
    ) -> None:
        self._directory = directory
        self._book = book
        self._lines = lines
        self._known = directory()

    async def look(self) -> None:
        """Look whether the settings in force send mail another way than before."""
        known, now = self._known, self._directory()
        if now.version == known.version:
            return
        self._known = now
        if _ways(now) == _ways(known):
            return
        self._lines.forget_sites()
        for number, line in enumerate(list(self._book), 1):
            self._lines.restart(line)
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)


def _ways(directory: Directory) -> tuple[object, ...]:
    """Return all that decides how mail leaves."""
    keys = {ident: each.keys for ident, each in directory.sending_domains_by_id.items()}
    return (
        directory.routes,
        directory.pools,
        directory.sources,
        directory.allowed_networks,
        keys,
    )
