"""What webhooks need of the rest of the node; ``daemon/webhooks.py`` plugs it in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailwright.accounts.sealing import Secret
from mailwright.api.ports import EventFilter, EventRecord
from mailwright.api.webhooks.endpoint import Endpoint
from mailwright.api.webhooks.schedule import Result
from mailwright.ids import TenantId


@dataclass(frozen=True, slots=True)
class Portion:
    """Some of the log, read on from a cursor.

    Attributes:
        events: each with the cursor after it.
        cursor: after all that was looked at.
        is_end: the log was looked at to its end.
    """

    events: Sequence[tuple[EventRecord, str]]
    cursor: str
    is_end: bool


class EventLog(Protocol):
    """The log, as tenants read it. ``daemon.webhooks.JoinedLog``."""

    async def read(
        self,
        tenant: TenantId,
        wanted: EventFilter,
        *,
        after: str,
        limit: int,
        until: str | None = None,
    ) -> Portion:
        """Return up to ``limit`` events after a cursor, and none after ``until``."""
        ...

    async def end(self) -> str:
        """Return the cursor after the last event."""
        ...

    async def since(self, at: datetime) -> str:
        """Return a cursor before all that happened from ``at`` on."""
        ...

    async def count(
        self, tenant: TenantId, wanted: EventFilter, *, after: str, up_to: int
    ) -> tuple[int, datetime | None]:
        """Return how many events follow a cursor, up to a number, and when the first was."""
        ...

    def is_behind(self, cursor: str, end: str) -> bool:
        """Return whether anything lies between ``cursor`` and the cursor ``end``."""
        ...

    async def has_campaign(self, tenant: TenantId, public: str) -> bool:
        """Return whether ``public`` is the id of a campaign of ``tenant``."""
        ...


class Seals(Protocol):
    """Keeps secrets from whoever reads the database. ``daemon.webhooks.NodeSeals``."""

    def seal(self, endpoint: int, secret: Secret) -> bytes:
        """Return the secret of an endpoint, sealed."""
        ...

    def open(self, endpoint: int, sealed: bytes) -> Secret:
        """Return a sealed secret.

        Raises:
            SealError: it was sealed with another key, or for another endpoint.
        """
        ...


class Poster(Protocol):
    """Makes one request. ``api.webhooks.posting.HttpPoster``."""

    async def post(
        self, endpoint: Endpoint, ident: str, body: bytes, at: datetime
    ) -> Result:
        """Send ``body`` under the name ``ident``; failures are results."""
        ...
