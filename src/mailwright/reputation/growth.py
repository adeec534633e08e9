"""★ How many connections a receiving side gets: few at first, more as they succeed.

A site that nobody tried yet gets :data:`FIRST` connections from a source. Each that gets
as far as asking for mail allows one more, so that the number doubles in a round; each
that fails, then or later, halves it, down to one. Limits of the profile lie above: for
each (source, site), and for all sources together.

Values in, values out: whoever opens connections says so.

Source: the positive and negative feedback of Postfix's qmgr(8)
(``default_destination_concurrency_positive_feedback``), without its dead-site state:
the queue rests what cannot be reached.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

#: Connections from a source to a site that is new to it.
FIRST: Final = 2
#: Sites whose growth is remembered when no connection to them is open.
REMEMBERED_MAX: Final = 50_000


class Growth:
    """Connections that are open, and how many each (source, site) may have.

    Every :meth:`opened` is followed by one :meth:`closed`; between them come at most one
    :meth:`succeeded` and, after it, one :meth:`failed`.
    """

    def __init__(self, *, first: int = FIRST, remembered: int = REMEMBERED_MAX) -> None:
        self._first = first
        self._remembered = remembered
        self._allowed: OrderedDict[Hashable, int] = OrderedDict()
        self._open: dict[Hashable, int] = {}

    def open_to(self, key: Hashable) -> int:
        """Return the open connections of a (source, site), or of a group."""
        return self._open.get(key, 0)

    def allowed(self, key: Hashable, limit: int) -> int:
        """Return how many a (source, site) may have now; at most ``limit``."""
        return min(self._allowed.get(key, self._first), limit)

    def opened(self, *keys: Hashable) -> None:
        """Count a connection that is being opened: its (source, site) and groups."""
        for key in keys:
            self._open[key] = self._open.get(key, 0) + 1

    def closed(self, *keys: Hashable) -> None:
        """Count it no more."""
        for key in keys:
            left = self._open[key] - 1
            if left:
                self._open[key] = left
            else:
                del self._open[key]

    def succeeded(self, key: Hashable, limit: int) -> None:
        """Allow one more: a connection stood and asked for mail."""
        self._note(key, min(self._allowed.get(key, self._first) + 1, limit))

    def failed(self, key: Hashable, limit: int) -> None:
        """Allow half: there was no connection, or it broke before mail got anywhere."""
        self._note(key, max(1, self.allowed(key, limit) // 2))

    def _note(self, key: Hashable, allowed: int) -> None:
        self._allowed[key] = allowed
        self._allowed.move_to_end(key)
        if len(self._allowed) > self._remembered:
            self._allowed.popitem(last=False)
