"""SQL of endpoints. The key is the id alone; routes look tenants up in memory."""

from typing import Final

from sqlalchemy import bindparam, delete, insert, select, update

from mailwright.api.tables import webhooks
from mailwright.api.webhooks.endpoint import COLUMNS
from mailwright.queue.campaign.tables import campaigns
from mailwright.store.statements import Query

_columns = webhooks.c

ALL: Final = Query(
    "webhooks", select(*(_columns[name] for name in COLUMNS)).order_by(_columns.id)
)
ADD: Final = Query("add webhook", insert(webhooks))
SAVE: Final = Query(
    "save webhook",
    update(webhooks)
    .where(_columns.id == bindparam("webhook_id"))
    .values({name: bindparam(name) for name in COLUMNS if name != "id"}),
)
DELETE: Final = Query(
    "delete webhook", delete(webhooks).where(_columns.id == bindparam("webhook_id"))
)
#: When a campaign of a tenant was made; its public id carries the day.
CAMPAIGN_MADE: Final = Query(
    "campaign made",
    select(campaigns.c.created_at).where(
        campaigns.c.id == bindparam("campaign"),
        campaigns.c.tenant == bindparam("tenant"),
    ),
)
