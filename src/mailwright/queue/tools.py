"""What lanes, and whoever drives them, work with."""

from dataclasses import dataclass, field

from mailwright.clock import Clock
from mailwright.queue.claims import Claims
from mailwright.queue.content import Contents
from mailwright.queue.in_flight import InFlight
from mailwright.queue.ports import Budget, Permits
from mailwright.queue.settlement import Settlement
from mailwright.queue.tally import Tally
from mailwright.queue.terms import NoTerms, Terms


@dataclass(frozen=True, slots=True)
class Tools:
    """What every lane works with."""

    clock: Clock
    claims: Claims
    contents: Contents
    settlement: Settlement
    permits: Permits
    budget: Budget
    in_flight: InFlight
    tally: Tally = field(default_factory=Tally)
    terms: Terms = field(default_factory=NoTerms)
