"""Days of events that a reader has not read are kept for longer, within limits."""

import logging
from datetime import date, timedelta
from typing import Final

from mailwright.daemon.eventlog import EventFile
from mailwright.daemon.webhooks import Webhooks
from mailwright.events.following import last_numbers
from mailwright.events.position import Position
from mailwright.store.store import Store

logger = logging.getLogger(__name__)

#: How long a day that is over waits for its readers.
KEPT_LONGER: Final = timedelta(days=7)


class UnreadDays:
    """Says which days may go: those that webhooks and the events file have read.

    After :data:`KEPT_LONGER` a day goes all the same. Webhooks that had not read it are
    paused first, and tell of the gap when they are resumed.
    """

    def __init__(
        self, store: Store, webhooks: Webhooks, event_file: EventFile | None
    ) -> None:
        self._store = store
        self._webhooks = webhooks
        self._event_file = event_file

    async def may_drop(self, day: date, horizon: date) -> bool:
        """Return whether ``day``, which is over since before ``horizon``, may go.

        Raises:
            StoreError: it is to be kept.
        """
        last = (await last_numbers(self._store, [day])).get(day)
        if last is None:
            return True
        is_in_file = self._is_in_file(last)
        if horizon - day <= KEPT_LONGER:
            return is_in_file and not self._webhooks.has_unread(last)
        if not is_in_file:
            logger.warning("events of %s go before they are in the events file", day)
        await self._webhooks.lose(day, last)
        return True

    def _is_in_file(self, seq: int) -> bool:
        file = self._event_file
        if file is None:
            return True
        return Position.parse(file.cursor).of(self._store.node)[0] >= seq
