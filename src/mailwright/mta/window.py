"""How many deliveries a connection holds ahead of the receiver.

What a connection holds says ``sending`` in the store, and a crash makes all of it
ambiguous; so it holds two, and beyond these only what the receiver takes within the time
that claiming and signing the next ones takes. A fast receiver is thus kept busy, and a
slow one is never given more than the next message.
"""

from typing import Final

#: Held whatever the pace: the one in flight and the next.
LEAST: Final = 2
#: Held at most: two batches of what signs.
MOST: Final = 16
#: One batch: a hop to a thread costs more than a hash.
BATCH: Final = 8
#: A claim is committed and a batch signed within this.
AHEAD_S: Final = 0.05
#: Weight of the newest message in the mean.
_WEIGHT: Final = 0.25


class Window:
    """The pace of one connection. Pure: times are steady seconds.

    Attributes:
        size: deliveries that may be in hand.
    """

    __slots__ = ("_busy_since", "_mean_s", "size")

    def __init__(self) -> None:
        self.size = LEAST
        self._busy_since = 0.0
        self._mean_s = 0.0

    def room(self, in_hand: int) -> int:
        """Return how many to take now: none until half the window is free."""
        if in_hand > self.size // 2:
            return 0
        return min(self.size - in_hand, BATCH)

    def began(self, now: float, in_hand: int) -> None:
        """Note that deliveries are offered while ``in_hand`` are in hand."""
        if not in_hand:
            self._busy_since = now  # the time before was ours, not the receiver's

    def ended(self, now: float) -> None:
        """Note that one delivery ended."""
        took_s = now - self._busy_since
        self._busy_since = now
        mean_s = self._mean_s or took_s
        self._mean_s = mean_s = mean_s + _WEIGHT * (took_s - mean_s)
        ahead = MOST if mean_s * MOST <= AHEAD_S else int(AHEAD_S / mean_s)
        self.size = min(LEAST + ahead, MOST)
