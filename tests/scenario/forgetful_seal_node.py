"""A node that seals in one breath: it only remembers that a seal is done.

The control of the crashes of campaigns. A crash makes it begin anew, beside what it has
written already.
"""

from typing import Final

from sqlalchemy import bindparam, case, update

from mailwright.cli.main import main
from mailwright.queue.campaign import slices
from mailwright.queue.campaign.tables import campaigns
from mailwright.store.statements import Query

_FORGETFUL: Final = Query(
    "advance seal",
    update(campaigns)
    .where(
        campaigns.c.id == bindparam("campaign_id"),
        campaigns.c.state == "sealing",
        bindparam("after") >= 0,
    )
    .values(
        sealed_rows=case(
            (bindparam("to") == campaigns.c.rows, bindparam("to")), else_=0
        )
    )
    .returning(campaigns.c.id),
)

slices._ADVANCE = _FORGETFUL
main()
