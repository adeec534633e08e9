"""Mail that is under way obeys the settings when they change.

A line that goes on over its old way, or that rests because of it, would not notice by
itself: a lane lives as long as it has mail, and a site is remembered for its DNS answer's
time. And whoever waits for a limit was told a time that another limit makes wrong.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

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

    async def reconsider(self) -> None:
        """Ask again at once wherever a limit refused."""
        ...


class Profiles(Protocol):
    """Knows how providers are treated. ``reputation.provider.ProfileBook``."""

    def override(self, overrides: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what operators say, by provider."""
        ...


class Redirection:
    """Starts lines anew when routes, pools, sources, profiles or keys changed.

    When only limits changed, those that wait for one ask again.
    """

    def __init__(
        self,
        directory: Callable[[], Directory],
        book: LineBook,
        lines: Lines,
        profiles: Profiles,
    ) -> None:
        self._profiles = profiles
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
            if now.throttles != known.throttles:
                await self._lines.reconsider()
            return
        if now.provider_changes != known.provider_changes:
            self._profiles.override(now.provider_changes)
        self._lines.forget_sites()
        for number, line in enumerate(list(self._book), 1):
            self._lines.restart(line)
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # there are others to serve


def _ways(directory: Directory) -> tuple[object, ...]:
    """Return all that decides how mail leaves."""
    keys = {ident: each.keys for ident, each in directory.sending_domains_by_id.items()}
    return (
        directory.routes,
        directory.pools,
        directory.sources,
        directory.allowed_networks,
        directory.provider_changes,
        keys,
    )
