"""The statements that read contents."""

from sqlalchemy import and_, bindparam, case, func, literal_column, select

from mailwright.envelope import Ret
from mailwright.queue.campaign.tables import campaigns, recipients
from mailwright.queue.tables import contents, messages
from mailwright.store.statements import Query

#: What a session needs of a message. One of a campaign has its recipient's part here; its
#: body, which all recipients share, is read once, with ``CAMPAIGN_BODY``.
MESSAGE_CONTENT = Query(
    "message content",
    select(
        messages.c.id,
        messages.c.reverse_path,
        messages.c.ret,
        messages.c.envid,
        messages.c.sending_domain,
        func.coalesce(campaigns.c.dated_at, messages.c.accepted_at),
        contents.c.header,
        case((recipients.c.message.is_(None), contents.c.body)),
        contents.c.body_file,
        contents.c.checksum,
        contents.c.id,
        recipients.c.fields,
        recipients.c.variant,
        recipients.c.address,
        messages.c.message_id,
    )
    .select_from(
        messages.join(contents, messages.c.content == contents.c.id)
        .outerjoin(recipients, recipients.c.message == messages.c.id)
        .outerjoin(campaigns, campaigns.c.id == recipients.c.campaign)
    )
    .where(messages.c.id == bindparam("message_id")),
)
#: The content that all recipients of a campaign share.
CAMPAIGN_BODY = Query(
    "campaign body",
    select(
        contents.c.id, contents.c.body, contents.c.body_file, contents.c.checksum
    ).where(contents.c.id == bindparam("content_id")),
)
#: Larger bodies are not returned in reports, whatever RET says.
RETURNED_OCTETS = 50_000
#: What a report tells of a message; its body only if it is to be returned.
ORIGINAL = Query(
    "original of a report",
    select(
        messages.c.id,
        messages.c.reverse_path,
        messages.c.envid,
        messages.c.sending_domain,
        messages.c.accepted_at,
        contents.c.header,
        case(
            (
                and_(
                    messages.c.ret == literal_column(f"'{Ret.FULL.value}'"),
                    contents.c.body_octets <= literal_column(str(RETURNED_OCTETS)),
                ),
                contents.c.body,
            ),
        ),
    )
    .select_from(messages.outerjoin(contents, messages.c.content == contents.c.id))
    .where(messages.c.id == bindparam("message_id")),
)
