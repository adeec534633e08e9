"""What an end of a delivery does to its campaign: statements for the unit of the end.

The recipient's row and the sums move in the commit that moves the delivery, so the sums
are what a recount would find, whatever died when.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, update

from mailwright.clock import to_micros
from mailwright.ids import CampaignId, MessageId
from mailwright.queue.campaign.slices import ADD_TO_TOTAL
from mailwright.queue.campaign.tables import campaign_totals, recipients
from mailwright.queue.delivery import State
from mailwright.reply import Reply
from mailwright.store.statements import Bound, Query

_SAID: Final[Mapping[str, ColumnElement[Any]]] = {
    name: bindparam(f"new_{name}") for name in ("category", "code", "enhanced", "reply")
}
_OF_MESSAGE: Final = recipients.c.message == bindparam("message_id")
_ENDED: Final = Query(
    "recipient ended",
    update(recipients)
    .where(_OF_MESSAGE)
    .values(state=bindparam("new_state"), at=bindparam("new_at"), **_SAID),
)
#: Without a reply: what was said last stays, as the reason for which it waited.
_ENDED_IN_SILENCE: Final = Query(
    "recipient ended in silence",
    update(recipients)
    .where(_OF_MESSAGE)
    .values(
        state=bindparam("new_state"),
        at=bindparam("new_at"),
        category=bindparam("new_category"),
    ),
)
_DEFERRED: Final = Query(
    "recipient deferred", update(recipients).where(_OF_MESSAGE).values(**_SAID)
)
#: Takes one from those that are queued.
_NOT_QUEUED: Final = Query(
    "one less queued",
    update(campaign_totals)
    .where(
        campaign_totals.c.campaign == bindparam("campaign_id"),
        campaign_totals.c.state == int(State.QUEUED),
        campaign_totals.c.category == "",
    )
    .values(count=campaign_totals.c.count - 1),
)


def recipient_ended(
    campaign: CampaignId | None,
    message: MessageId,
    state: State,
    category: str,
    reply: Reply | None,
    now: datetime,
) -> tuple[Bound, ...]:
    """Return what ends a recipient; nothing for mail of no campaign."""
    if campaign is None:
        return ()
    row = {"message_id": message, "new_state": int(state), "new_at": to_micros(now)}
    return (
        _ENDED_IN_SILENCE(**row, new_category=category)
        if reply is None
        else _ENDED(**row, **_said(category, reply)),
        _NOT_QUEUED(campaign_id=campaign),
        ADD_TO_TOTAL(campaign=campaign, state=int(state), category=category, count=1),
    )


def recipient_deferred(
    campaign: CampaignId | None, message: MessageId, category: str, reply: Reply
) -> tuple[Bound, ...]:
    """Return what notes a temporary refusal; nothing for mail of no campaign."""
    if campaign is None:
        return ()
    return (_DEFERRED(message_id=message, **_said(category, reply)),)


def _said(category: str, reply: Reply) -> dict[str, int | str]:
    return {
        "new_category": category,
        "new_code": reply.code,
        "new_enhanced": reply.enhanced,
        "new_reply": reply.text,
    }
