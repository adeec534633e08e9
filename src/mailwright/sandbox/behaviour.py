"""★ How the receivers of the sandbox behave. Pure, and the same for the same seed.

A :class:`Behaviour` belongs to a domain. A recipient can also ask for its own treatment
in its local part, so that a test says in one address what it wants:

* ``550-5.1.1@…`` gets that reply to RCPT, always; a ``+tag`` may follow to tell many
  such recipients apart (``550-5.1.1+7@…``);
* ``451-4.7.1-x2@…`` gets it to the first two attempts and is accepted then;
* ``550-5.7.1-dot@…`` gets it after the final dot instead;
* ``drop-data@…``, ``drop-dot@…``, ``drop-taken@…`` lose the connection at that moment
  of :class:`Moment`, ``reset-…`` likewise with a TCP reset, ``-x1`` once only.
"""

import hashlib
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from mailwright.reply import Phase


class Moment(Enum):
    """When a connection is lost."""

    RCPT = "rcpt"  # instead of the reply to RCPT
    DATA = "data"  # amid the content
    DOT = "dot"  # after the final dot; the message is not taken
    TAKEN = "taken"  # after the final dot; the message *is* taken: ambiguous


class TlsOffer(Enum):
    """What a receiver offers by STARTTLS."""

    NONE = "none"
    GOOD = "good"
    BROKEN = "broken"  # says 220, then something that is not TLS


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reply that is no success, and when it is given (RCPT or DOT)."""

    code: int
    enhanced: str
    text: str
    phase: Phase = Phase.RCPT

    def to_wire(self) -> bytes:
        """Return the reply with its CRLF."""
        return f"{self.code} {self.enhanced} {self.text}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Loss:
    """A connection that is lost; ``is_reset``: by RST, not by FIN."""

    moment: Moment
    is_reset: bool = False


#: What happens to a recipient; ``None``: accepted.
Fate = Refusal | Loss | None

DEFERRED: Final = Refusal(451, "4.3.2", "Please try again later")
UNKNOWN_USER: Final = Refusal(550, "5.1.1", "No such user here")
GREYLISTED: Final = Refusal(450, "4.7.1", "Greylisted, please try again later")
RATE_LIMITED: Final = Refusal(450, "4.7.28", "Too much mail from your address")
NOT_OURS: Final = Refusal(550, "5.7.1", "We do not relay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one domain treats its senders.

    The questions are asked in this order: the recipient's own wish, refusals, deferrals,
    greylisting, losses, the rate.

    Attributes:
        refuse_local_parts: who does not exist here.
        refuse_share: of all other recipients; always the same ones.
        refusal: what they get.
        defer_first: attempts of each recipient that are deferred; ``None``: all.
        deferral: what they get.
        greylist_s: how long (source address, reverse-path, recipient) waits; 0: not.
        rate_count: recipients taken from one source address within ``rate_window_s``;
            the others are deferred. 0: any number.
        rate_window_s: how long each of them counts.
        loss: how connections get lost.
        loss_share: of the attempts that would have been accepted.
        banner_delay_s: before the greeting.
        reply_delay_s: before every other reply.
        trickle_s: between the octets of every reply: a tarpit.
        tls: whether STARTTLS is offered and works.
        seed: of the shares.
    """

    refuse_local_parts: frozenset[str] = frozenset()
    refuse_share: float = 0.0
    refusal: Refusal = UNKNOWN_USER
    defer_first: int | None = 0
    deferral: Refusal = DEFERRED
    greylist_s: float = 0.0
    rate_count: int = 0
    rate_window_s: float = 1.0
    loss: Loss = Loss(Moment.TAKEN)
    loss_share: float = 0.0
    banner_delay_s: float = 0.0
    reply_delay_s: float = 0.0
    trickle_s: float = 0.0
    tls: TlsOffer = TlsOffer.GOOD
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Visit:
    """A recipient offered: what a receiver knows at RCPT."""

    source: str
    reverse_path: str
    local_part: str
    domain: str


@dataclass(slots=True)
class Conduct:
    """The memory behind the behaviours: attempts, greylist, rates. No I/O, no clock.

    Attributes:
        behaviours: by domain; may change at any time. A domain that is not here is not
            ours.
        visits: how often each was made.
        rate_limited: how many were deferred because of the rate.
    """

    behaviours: dict[str, Behaviour]
    _attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    visits: Counter[Visit] = field(default_factory=Counter)
    rate_limited: int = 0
    _first_seen: dict[Visit, float] = field(default_factory=dict)
    _taken: dict[tuple[str, str], deque[float]] = field(default_factory=dict)

    def decide(self, visit: Visit, now: float) -> Fate:
        """Return what becomes of this attempt, and count it.

        Args:
            visit: who is offered, by whom.
            now: seconds of any steady clock.
        """
        behaviour = self.behaviours.get(visit.domain)
        if behaviour is None:
            return NOT_OURS
        self.visits[visit] += 1
        recipient = (visit.local_part, visit.domain)
        self._attempts[recipient] += 1
        attempt = self._attempts[recipient]
        wish = _wish_of(visit.local_part)
        if wish is not None:
            return wish.fate if wish.times is None or attempt <= wish.times else None
        first_seen = now
        if behaviour.greylist_s:
            first_seen = self._first_seen.setdefault(visit, now)
        fate = decide(behaviour, visit, attempt, now - first_seen)
        if fate is None and behaviour.rate_count:
            return self._by_rate(behaviour, visit, now)
        return fate

    def _by_rate(self, behaviour: Behaviour, visit: Visit, now: float) -> Fate:
        taken = self._taken.setdefault((visit.source, visit.domain), deque())
        while taken and now - taken[0] >= behaviour.rate_window_s:
            taken.popleft()
        if len(taken) >= behaviour.rate_count:
            self.rate_limited += 1
            return RATE_LIMITED
        taken.append(now)
        return None


def decide(
    behaviour: Behaviour, visit: Visit, attempt: int, known_for_s: float
) -> Fate:
    """Return what ``behaviour`` does with attempt number ``attempt`` (from 1).

    ``known_for_s`` is the time since this visit was made first.
    """
    if visit.local_part in behaviour.refuse_local_parts:
        return behaviour.refusal
    who = f"{behaviour.seed} {visit.local_part}@{visit.domain}"
    if behaviour.refuse_share and _share_of(f"refuse {who}") < behaviour.refuse_share:
        return behaviour.refusal
    if behaviour.defer_first is None or attempt <= behaviour.defer_first:
        return behaviour.deferral
    if known_for_s < behaviour.greylist_s:
        return GREYLISTED
    lost = behaviour.loss_share and _share_of(f"lose {attempt} {who}")
    return behaviour.loss if lost < behaviour.loss_share else None


def _share_of(text: str) -> float:
    """Return a number in [0, 1) that depends on ``text`` only."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


@dataclass(frozen=True, slots=True)
class _Wish:
    fate: Fate
    times: int | None


_WISH: Final = re.compile(
    r"(?:(?P<code>[45]\d\d)-(?P<enhanced>[45]\.\d{1,3}\.\d{1,3})(?P<dot>-dot)?"
    r"|(?P<how>drop|reset)-(?P<moment>rcpt|data|dot|taken))"
    r"(?:-x(?P<times>\d{1,4}))?(?:\+.*)?",
    re.ASCII | re.DOTALL,
)


def _wish_of(local_part: str) -> _Wish | None:
    found = _WISH.fullmatch(local_part)
    if found is None:
        return None
    times = None if found["times"] is None else int(found["times"])
    if found["how"] is not None:
        loss = Loss(Moment(found["moment"]), is_reset=found["how"] == "reset")
        return _Wish(loss, times)
    phase = Phase.DOT if found["dot"] else Phase.RCPT
    refusal = Refusal(int(found["code"]), found["enhanced"], "As you wish", phase)
    return _Wish(refusal, times)
