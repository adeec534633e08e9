"""Whether wall time may be believed: watched every minute, settled by a person.

While it may not, the node delivers, but nothing expires and no day's allowance begins. As
soon as it may again, whoever was kept waiting asks anew.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from mailwright.api.ports import ClockRecord, Settled
from mailwright.clock import Clock, ClockTrust, SystemClock
from mailwright.daemon.vitals import Vitals

logger = logging.getLogger(__name__)


class Timekeeping:
    """Compares the clocks; implements the API's port ``TimeDoor``."""

    def __init__(
        self,
        clock: Clock,
        trust: ClockTrust,
        vitals: Vitals,
        reconsider: Callable[[], Awaitable[None]],
    ) -> None:
        """``reconsider`` lets those ask again who waited for the time to be right."""
        self._clock = clock
        self._trust = trust
        self._vitals = vitals
        self._reconsider = reconsider
        self._settled: Settled | None = None

    def judge_start(self, last_event_at: datetime | None, *, has_mail: bool) -> None:
        """Judge the time at a start by the last event that was written."""
        self._trust.start(self._clock.now(), last_event_at, has_mail=has_mail)
        self._note()

    async def look(self) -> None:
        """Compare our clock with the system's; every minute."""
        if isinstance(self._clock, SystemClock):
            ahead = self._clock.reread()
            self._vitals.clock_ahead_s = ahead.total_seconds()
            self._trust.compared(ahead)
        await self._judged()

    def state(self) -> ClockRecord:
        """Return what is thought of the clock."""
        return ClockRecord(
            self._clock.now(),
            self._trust.suspicion or None,
            self._vitals.clock_ahead_s,
            self._settled,
        )

    async def settle(self, author: str, reason: str) -> ClockRecord:
        """Believe our time as it is, on the word of ``author``."""
        suspicion = self._trust.suspicion
        if suspicion:
            now = self._clock.now()
            logger.warning(
                "the clock is settled by %s (%s): %s", author, suspicion, reason
            )
            self._settled = Settled(author, reason, now, suspicion)
            self._trust.settle()
            await self._judged()
        return self.state()

    def notices(self) -> list[str]:
        """Return what people should know of the clock."""
        suspicion = self._trust.suspicion
        return [f"the clock is suspect: {suspicion}"] if suspicion else []

    async def _judged(self) -> None:
        was_suspect = self._vitals.is_clock_suspect
        self._note()
        if was_suspect and not self._trust.is_suspect:
            logger.info("the clock is believed again")
            await self._reconsider()

    def _note(self) -> None:
        self._vitals.is_clock_suspect = self._trust.is_suspect
        if self._trust.is_suspect:
            logger.warning(
                "the clock is suspect: %s; mail is delivered, but nothing expires; once "
                "it is right: mailwright clock settle",
                self._trust.suspicion,
            )
