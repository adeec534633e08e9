"""Resolving: lines get the site of their domain, from memory or from the router."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from mailwright.clock import Clock
from mailwright.queue.line import Line
from mailwright.queue.lookups import Lookups
from mailwright.queue.ports import Router
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Site

logger = logging.getLogger(__name__)

_FAULT: Final = local_reply(451, "4.3.0", "internal fault", Phase.CONNECT)
#: Takes a line whose site, or the reply that says why there is none, is known.
Resolved = Callable[[Line, Site | Reply], Awaitable[None]]


class Resolving:
    """Asks the router for what is not known, some domains at a time.

    Attributes:
        tasks: owns the look-ups; ``None``: none may begin.
    """

    def __init__(self, router: Router, clock: Clock, resolved: Resolved) -> None:
        self.tasks: asyncio.TaskGroup | None = None
        self._router = router
        self._clock = clock
        self._resolved = resolved
        self._lookups = Lookups()

    def __len__(self) -> int:
        return len(self._lookups)

    def known(self, line: Line) -> Site | None:
        """Return where mail of ``line`` goes, if that is known without asking."""
        return self._lookups.known(line.key.domain, self._clock.steady())

    def remember(self, domain: str, site: Site) -> None:
        """Take over where mail of ``domain`` goes, from whoever asked the router."""
        self._lookups.remember(domain, site)

    def forget(self) -> None:
        """Ask the router anew for every line that comes from now on."""
        self._router.forget()
        self._lookups.forget()

    def add(self, line: Line) -> None:
        """Find out the site of ``line``; it is told when that is known."""
        if self._lookups.add(line) and self.tasks is not None:
            self.tasks.create_task(self._look_up(), name="look-up")

    async def _look_up(self) -> None:
        """Look domains up, one after the other, until none waits."""
        while (domain := self._lookups.next_domain()) is not None:
            try:
                answer = await self._router.site_of(domain)
            except Exception:  # the outermost loop of a worker
                logger.exception("look-up failed")
                answer = _FAULT
            for line in self._lookups.end(domain, answer):
                await self._resolved(line, answer)
            # Answers that are known already must not keep the loop from others.
            await asyncio.sleep(0)
