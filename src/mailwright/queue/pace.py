"""The pace at which reports go to one address. Values in, values out; bounded memory."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

#: Between two reports to one address: the 60 a minute that Gmail takes for one mailbox
#: (support.google.com/a/answer/1366776); a mailbox above it is closed for a day.
INTERVAL: Final = timedelta(seconds=1)
#: Addresses that are remembered; beyond, the one that was used longest ago is forgotten.
ADDRESSES_MAX: Final = 10_000


class Pace:
    """Gives each report the earliest time that its address has free.

    What is left of the local part before a plus names the address: submitters tag their
    reverse-paths, and all tags of one end in the same mailbox. A restart forgets; the
    times that were given are in the rows.
    """

    def __init__(
        self, interval: timedelta = INTERVAL, addresses_max: int = ADDRESSES_MAX
    ) -> None:
        self._interval = interval
        self._max = addresses_max
        self._free_at: OrderedDict[str, datetime] = OrderedDict()

    def __len__(self) -> int:
        return len(self._free_at)

    def next_at(self, address: str, now: datetime) -> datetime:
        """Return when the next report to ``address`` may leave, and take that time."""
        local_part, _, domain = address.rpartition("@")
        key = f"{local_part.partition('+')[0]}@{domain}"
        at = max(self._free_at.pop(key, now), now)
        self._free_at[key] = at + self._interval
        if len(self._free_at) > self._max:
            self._free_at.popitem(last=False)
        return at
