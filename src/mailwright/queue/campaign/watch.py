"""Watch: a campaign that goes badly is held, with the numbers that say so.

The rules (★, pure) look at what has ended so far. Only shares of enough are believed:
of 20 recipients two that are gone mean nothing. A person who lets a held campaign go on
has seen the numbers, so a rule holds it again only when they get worse by as much again.

* ``hard_bounces``: recipients that are not there, above 5 %. A list that was asked for and
  mailed lately has under 2 %; one that was bought or has lain for years has more, and
  receivers block whoever mails it (Amazon SES reviews accounts at 5 %, stops them at 10 %).
* ``refused``: refused for any other reason, above 10 %. One in ten is no accident: the
  content, the address it is sent from or the signature is what they refuse.
* ``unrendered``: not made for lack of a field, above 1 %. The list and the template do not
  fit; more of the list changes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, select
from typing_extensions import override

from mailwright.clock import Clock
from mailwright.errors import MailwrightError
from mailwright.events.log import masked
from mailwright.ids import CampaignId
from mailwright.queue.campaign.job import Campaign, JobState
from mailwright.queue.campaign.tables import recipients
from mailwright.queue.delivery import State
from mailwright.queue.settle import UNRENDERED
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Query

logger = logging.getLogger(__name__)

#: How often the sums in memory are looked at.
LOOK_S: Final = 0.25
#: Replies that are kept as evidence.
EXAMPLES: Final = 5

_HARD: Final = ("invalid_mailbox", "invalid_domain", "inactive")
#: What recipients came to that says something of the campaign.
_FINISHED: Final = frozenset({State.DELIVERED, State.BOUNCED, State.EXPIRED})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Above which shares of what has ended a campaign is held.

    Attributes:
        shares: by rule, 0 to 1; ``None``: it holds nothing.
        after: how many must have ended before a share is believed.
    """

    shares: Mapping[str, float | None]
    after: int


DEFAULTS: Final = Thresholds(
    MappingProxyType({"hard_bounces": 0.05, "refused": 0.10, UNRENDERED: 0.01}), 500
)


class ThresholdError(MailwrightError):
    """Thresholds are not spelled as they must be: ``field``, ``reason``."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that was broken.

    Attributes:
        share: of what has ended.
        threshold: above which it is held; counts what was overridden.
    """

    rule: str
    count: int
    finished: int
    share: float
    threshold: float

    @override
    def __str__(self) -> str:
        what = _SPOKEN[self.rule]
        return (
            f"{self.count} of {self.finished} {what} ({self.share:.1%}, "
            f"more than {self.threshold:.1%})"
        )


_SPOKEN: Final = {
    "hard_bounces": "recipients are not there",
    "refused": "were refused",
    UNRENDERED: "could not be rendered",
}


def parse_thresholds(given: object) -> Thresholds:
    """Return the thresholds that a JSON object spells; what it leaves out is as usual.

    ``{"hard_bounces": 0.05, "refused": null, "unrendered": 0.01, "after": 500}``.

    Raises:
        ThresholdError: it spells none.
    """
    if given is None:
        return DEFAULTS
    if not isinstance(given, Mapping):
        raise ThresholdError("thresholds", "must be an object")
    shares, after = dict(DEFAULTS.shares), DEFAULTS.after
    for name, value in given.items():
        field = f"thresholds.{name}"
        if name == "after":
            if not _is_number(value) or int(value) != value or value < 1:
                raise ThresholdError(field, "must be a whole number from 1 on")
            after = int(value)
        elif name not in shares:
            raise ThresholdError(field, f"is none of after, {', '.join(shares)}")
        elif value is None:
            shares[name] = None
        elif not _is_number(value) or not 0 <= value <= 1:
            raise ThresholdError(field, "must be a share from 0 to 1, or null")
        else:
            shares[name] = float(value)
    return Thresholds(MappingProxyType(shares), after)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def breach_of(
    totals: Mapping[tuple[int, str], int],
    thresholds: Thresholds,
    overridden: Mapping[str, object] = MappingProxyType({}),
) -> Breach | None:
    """Return the rule that ``totals`` break, the first of those there are.

    Args:
        totals: recipients by state and category.
        thresholds: of the campaign.
        overridden: the shares at which a person let it go on, by rule.
    """
    finished, counts = 0, dict.fromkeys(DEFAULTS.shares, 0)
    for (state, category), count in totals.items():
        if state in _FINISHED:
            finished += count
        if state == State.BOUNCED:
            counts[_rule_of(category)] += count
    if finished < thresholds.after:
        return None
    for rule, count in counts.items():
        allowed = thresholds.shares.get(rule)
        if allowed is None:
            continue
        before = overridden.get(rule, 0.0)
        limit = allowed + (float(before) if isinstance(before, int | float) else 0.0)
        if count / finished > limit:
            return Breach(rule, count, finished, count / finished, limit)
    return None


def _rule_of(category: str) -> str:
    if category in _HARD:
        return "hard_bounces"
    return UNRENDERED if category == UNRENDERED else "refused"


_c = recipients.c


def _examples(rule: str, condition: ColumnElement[bool]) -> Query:
    return Query(
        f"examples of {rule}",
        select(_c.category, _c.code, _c.enhanced, _c.reply)
        .where(
            _c.campaign == bindparam("campaign_id"),
            _c.state == int(State.BOUNCED),
            condition,
        )
        .limit(bindparam("most")),
    )


_EXAMPLES: Final = {
    "hard_bounces": _examples("hard bounces", _c.category.in_(_HARD)),
    "refused": _examples("refusals", _c.category.not_in((*_HARD, UNRENDERED))),
    UNRENDERED: _examples("what was not rendered", _c.category == UNRENDERED),
}

#: Holds a campaign with what is kept as the reason.
Hold = Callable[[CampaignId, Mapping[str, object]], Awaitable[None]]


class Watch:
    """Looks at the sums of what runs, and holds what breaks a rule."""

    def __init__(
        self,
        *,
        store: UnitStore,
        campaigns: Iterable[Campaign],
        hold: Hold,
        clock: Clock,
        look_s: float = LOOK_S,
    ) -> None:
        self._store = store
        self._campaigns = campaigns
        self._hold = hold
        self._clock = clock
        self._look_s = look_s

    async def run(self) -> None:
        """Look once in a while, until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                logger.warning("a campaign could not be held: %s", error)
            await asyncio.sleep(self._look_s)

    async def look(self) -> None:
        """Hold every campaign that breaks a rule.

        Raises:
            StoreError: one of them goes on until the next look.
        """
        for campaign in self._campaigns:
            if campaign.state is not JobState.RUNNING or not campaign.totals:
                continue
            breach = breach_of(
                campaign.totals,
                _thresholds_of(campaign),
                _overridden(campaign.reason or {}),
            )
            if breach is not None:
                evidence = await self._evidence(campaign.id, breach, self._clock.now())
                await self._hold(campaign.id, evidence | _kept(campaign))
                logger.warning("campaign %d is held: %s", campaign.id, breach)

    async def _evidence(
        self, campaign: CampaignId, breach: Breach, now: datetime
    ) -> dict[str, object]:
        query = _EXAMPLES[breach.rule]
        (rows,) = await self._store.read(query(campaign_id=campaign, most=EXAMPLES))
        return {
            "by": "the node",
            "at": now.isoformat(timespec="seconds"),
            "reason": str(breach),
            "rule": breach.rule,
            "rate": breach.share,
            "threshold": breach.threshold,
            "count": breach.count,
            "finished": breach.finished,
            "examples": [
                {
                    "category": category,
                    "code": code,
                    "enhanced": enhanced,
                    "reply": masked(reply),
                }
                for category, code, enhanced, reply in rows
            ],
        }


def _thresholds_of(campaign: Campaign) -> Thresholds:
    try:
        return parse_thresholds(campaign.thresholds)
    except ThresholdError:
        return DEFAULTS  # none is worse than the usual


def _overridden(reason: Mapping[str, Any]) -> Mapping[str, object]:
    overridden = reason.get("overridden")
    return overridden if isinstance(overridden, Mapping) else {}


def _kept(campaign: Campaign) -> dict[str, object]:
    """Return what people have overridden before: it stays so for the other rules."""
    overridden = _overridden(campaign.reason or {})
    return {"overridden": dict(overridden)} if overridden else {}
