"""What a message is made from, for those who want to see it again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select

from mailwright.clock import from_micros
from mailwright.ids import CampaignId, MessageId, SendingDomainId, TenantId
from mailwright.merge import Merge
from mailwright.queue.campaign.storing import StoredContents
from mailwright.queue.campaign.tables import campaigns, recipients
from mailwright.queue.tables import contents, messages
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Query

_MESSAGE: Final = Query(
    "message to be shown",
    select(
        messages.c.campaign,
        messages.c.content,
        messages.c.accepted_at,
        messages.c.sending_domain,
        messages.c.message_id,
        contents.c.header,
        recipients.c.fields,
        recipients.c.variant,
        recipients.c.address,
        campaigns.c.dated_at,
        campaigns.c.selector,
    )
    .select_from(
        messages.join(contents, messages.c.content == contents.c.id)
        .outerjoin(recipients, recipients.c.message == messages.c.id)
        .outerjoin(campaigns, campaigns.c.id == messages.c.campaign)
    )
    .where(
        messages.c.id == bindparam("message_id"),
        messages.c.tenant == bindparam("tenant"),
    ),
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a message is made from.

    Attributes:
        campaign: ``None``: it was submitted as it is.
        header: its stored header section; empty for a campaign's.
        body: its stored body; the content's JSON for a campaign's.
        merge: what belongs to the recipient; ``None``: nothing is rendered.
        dated_at: Date and DKIM ``t=``; ``None``: the campaign has not started.
        selector: of the key that signs a campaign's mail; ``""``: see its deliveries.
    """

    campaign: CampaignId | None
    header: bytes
    body: bytes
    merge: Merge | None
    dated_at: datetime | None
    sending_domain: SendingDomainId
    selector: str


async def read_rendered(
    store: UnitStore, stored: StoredContents, tenant: TenantId, message: MessageId
) -> Rendered | None:
    """Return what ``message`` of ``tenant`` is made from; ``None``: it is not kept.

    Raises:
        StoreError: it cannot be read, or is not what was stored.
    """
    (rows,) = await store.read(_MESSAGE(message_id=message, tenant=tenant))
    if not rows:
        return None
    campaign, content, accepted_at, domain, message_id, header = rows[0][:6]
    fields, variant, address, dated_at, selector = rows[0][6:]
    body = await stored.read(content, header)
    if body is None:
        return None
    if campaign is None:
        at = from_micros(accepted_at)
        domain = SendingDomainId(domain)
        return Rendered(None, bytes(header), body, None, at, domain, "")
    if fields is None:
        raise StoreError(f"message {message} of a campaign has no recipient")
    return Rendered(
        CampaignId(campaign),
        b"",
        body,
        Merge(content, fields.encode(), variant, address, message_id),
        None if dated_at is None else from_micros(dated_at),
        SendingDomainId(domain),
        selector,
    )
