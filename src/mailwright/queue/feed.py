"""What a connection of a lane takes its deliveries from, and reports their ends to."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from mailwright.attempt import Attempt, End, Parcel
from mailwright.ids import DeliveryId, SourceId
from mailwright.permit import Permit
from mailwright.queue.claimed import Claimed, parcel_of
from mailwright.queue.dispatch import Lane
from mailwright.queue.line import Line
from mailwright.queue.settlement import UNSIGNABLE_REST
from mailwright.queue.tools import Tools
from mailwright.reply import Phase, Reply, local_reply

_ABANDONED: Final = local_reply(451, "4.3.0", "session ended by a fault", Phase.DOT)
#: Ends of attempts in which nothing was offered: what the permit granted goes back.
_UNSPENT: Final = frozenset({End.NOT_OFFERED, End.UNSIGNABLE})


class _Taken(NamedTuple):
    """A delivery under way, its octets, its permit, and when (steady) it was taken."""

    claimed: Claimed
    parcel: Parcel
    octets: int
    permit: Permit
    at: float


class LaneFeed:
    """Implements the courier's port ``Feed`` for one connection of a lane."""

    def __init__(self, lane: Lane, source: SourceId, tools: Tools) -> None:
        self._lane = lane
        self._source = source
        self._tools = tools
        self._taken: dict[int, _Taken] = {}
        #: Whether the connection got as far as asking for mail.
        self.was_asked = False
        #: Whether the receiver decided about a delivery, or may have taken one.
        self.was_used = False
        self._unoffered: list[tuple[Claimed, Attempt]] = []
        self._moved_at = tools.clock.steady()

    def waits_for_s(self, now_s: float) -> float:
        """Return for how long the receiver has let us wait, at steady time ``now_s``."""
        if self.was_asked and not self._taken:
            return 0.0  # it waits for us
        return now_s - self._moved_at

    def in_hand(self, concerns: Callable[[Line], bool]) -> set[DeliveryId]:
        """Return what a session has of the lines that ``concerns`` names."""
        return {
            each.claimed.id
            for each in self._taken.values()
            if concerns(each.claimed.line)
        }

    async def take(self, want: int) -> Sequence[Parcel]:
        """Return up to ``want`` claimed deliveries; empty: close the connection."""
        lane = self._lane
        if not self.was_asked:
            self.was_asked = True
            lane.is_connecting = False
            lane.no_more_until = None
            self._tools.permits.connected(lane.keys, lane.site.profile, self._source)
        parcels = []
        taken = await lane.take(self._source, want)
        now = self._moved_at = self._tools.clock.steady()
        for claimed, content, permit in taken:
            parcel = parcel_of(claimed, content)
            octets = content.octets
            light = parcel.without_large_body
            self._taken[claimed.id] = _Taken(claimed, light, octets, permit, now)
            parcels.append(parcel)
        return parcels

    def settle(self, attempt: Attempt) -> None:
        """Move the delivery on. Never blocks."""
        taken = self._taken.pop(attempt.parcel.delivery)
        tools = self._tools
        self._moved_at = tools.clock.steady()
        tools.budget.release(taken.octets)
        if attempt.end is End.NOT_OFFERED and not self.was_used:
            # What becomes of it depends on how the connection ends.
            tools.permits.give_back(taken.permit, 1)
            self._unoffered.append((taken.claimed, attempt))
            return
        if attempt.end is End.UNRENDERED:
            # Nothing to do with this receiver: it says nothing of provider or source.
            tools.permits.give_back(taken.permit, 1)
            self._settle(taken.claimed, attempt, is_receivers=False)
            return
        if attempt.end is not End.NOT_OFFERED:
            self.was_used = True
            took_s = tools.clock.steady() - taken.at
            tools.tally.attempted(self._lane.site.profile.provider, took_s)
        if attempt.end in _UNSPENT:
            tools.permits.give_back(taken.permit, 1)
        if attempt.end is End.UNSIGNABLE:
            until = tools.clock.now() + UNSIGNABLE_REST
            taken.claimed.line.rest(until, str(attempt.reply))
        self._settle(taken.claimed, attempt)

    def ended_in_vain(self, reply: Reply) -> None:
        """Let ``reply`` end an attempt of what was taken and could not be offered.

        Put back as it was, it would be due at once: a receiver that greets and hangs up
        at the first MAIL would be connected to again and again.
        """
        for claimed, attempt in self._unoffered:
            self._settle(claimed, replace(attempt, end=End.REPLIED, reply=reply))
        self._unoffered.clear()

    def abandon(self) -> None:
        """Put back what was not offered.

        What a faulty session left is settled: it may have arrived.
        """
        for claimed, attempt in self._unoffered:
            self._settle(claimed, attempt)
        self._unoffered.clear()
        for taken in list(self._taken.values()):
            self.was_used = True
            self._tools.budget.release(taken.octets)
            attempt = Attempt(taken.parcel, End.AMBIGUOUS, _ABANDONED)
            self._settle(taken.claimed, attempt)
        self._taken.clear()

    def _settle(
        self, claimed: Claimed, attempt: Attempt, *, is_receivers: bool = True
    ) -> None:
        profile = self._lane.site.profile
        self._tools.settlement.settle(
            claimed,
            attempt,
            source=self._source if is_receivers else None,
            ladder=profile.retry,
            provider=profile.provider if is_receivers else "",
        )
