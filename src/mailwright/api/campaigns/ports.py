"""What the routes of campaigns are given; ``daemon/campaigns.py`` plugs it in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from mailwright.accounts.directory import Directory
from mailwright.api.campaigns.records import PreviewOut
from mailwright.api.campaigns.uploads import Uploads
from mailwright.api.ports import ApiLimits, Budget, Gate
from mailwright.clock import Clock
from mailwright.ids import CampaignId, PublicId, TenantId
from mailwright.mta.ports import Intake
from mailwright.queue.campaign.job import (
    CampaignRecord,
    Change,
    JobState,
    NewCampaign,
    RecipientRecord,
    RejectRecord,
)
from mailwright.queue.campaign.results import Page
from mailwright.queue.campaign.templates import TemplateRecord
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Bound

#: Makes the statements that commit with a campaign, once its id is given; see
#: ``mta.ports.Guards``.
CampaignGuards: TypeAlias = Callable[[CampaignRecord], Sequence[Bound]]


class Jobs(Protocol):
    """The campaigns of the node. ``queue.campaign.jobs.Jobs``.

    What is asked of another tenant's campaign is ``None``, as of one that never was.
    The moves raise ``JobStateError`` where its state does not allow them.
    """

    async def create(
        self, new: NewCampaign, guards: CampaignGuards | None = None
    ) -> CampaignRecord:
        """Return when it is on stable storage, with ``guards``.

        Raises:
            StoreConflictError: a guard's key is already there; nothing is stored.
        """
        ...

    async def get(
        self, tenant: TenantId, campaign: CampaignId
    ) -> CampaignRecord | None:
        """Return a campaign with its counts."""
        ...

    async def list(
        self,
        tenant: TenantId,
        *,
        after: str = "",
        limit: int = 100,
        state: JobState | None = None,
    ) -> Page[CampaignRecord]:
        """Return campaigns, newest first.

        Raises:
            PageKeyError: ``after`` is no key that was given out; likewise below.
        """
        ...

    async def seal(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Begin to turn rows into deliveries."""
        ...

    async def start(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Let it run as soon as it is sealed; seals it."""
        ...

    async def pause(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Let nothing more leave."""
        ...

    async def resume(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Let it go on."""
        ...

    async def cancel(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Take back what is queued, for good."""
        ...

    async def change(
        self, tenant: TenantId, campaign: CampaignId, change: Change
    ) -> CampaignRecord | None:
        """Change what was asked for; acts within 2 s."""
        ...

    async def recipients(
        self,
        tenant: TenantId,
        campaign: CampaignId,
        *,
        state: str | None = None,
        category: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> Page[RecipientRecord] | None:
        """Return recipients by key; from a snapshot of their own."""
        ...

    async def rejects(
        self,
        tenant: TenantId,
        campaign: CampaignId,
        *,
        after: str = "",
        limit: int = 1000,
    ) -> Page[RejectRecord] | None:
        """Return the rows that got no delivery, by row."""
        ...

    async def content(self, tenant: TenantId, campaign: CampaignId) -> bytes | None:
        """Return the JSON of its content, or ``None`` when it is not kept any more."""
        ...


TemplateGuards: TypeAlias = Callable[[TemplateRecord], Sequence[Bound]]


class Templates(Protocol):
    """Stored contents, by tenant. ``queue.campaign.templates``."""

    async def create(
        self,
        tenant: TenantId,
        name: str,
        content: bytes,
        *,
        author: str,
        note: str = "",
        guards: TemplateGuards | None = None,
    ) -> TemplateRecord:
        """Return the next version when it is on stable storage, with ``guards``."""
        ...

    async def get(
        self, tenant: TenantId, name: str, version: int | None = None
    ) -> TemplateRecord | None:
        """Return a version, or the newest."""
        ...

    async def list(
        self, tenant: TenantId, after: str = "", limit: int = 100
    ) -> Page[TemplateRecord]:
        """Return the newest version of each, by name."""
        ...

    async def versions(self, tenant: TenantId, name: str) -> Sequence[TemplateRecord]:
        """Return the versions of one, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """For whom a content is to be rendered.

    Attributes:
        recipient: canonical address.
        dated_at: value of Date.
        message_ident: left side of Message-ID; never the same twice.
    """

    recipient: str
    fields: Mapping[str, object]
    variant: str
    dated_at: datetime
    message_ident: str


@dataclass(frozen=True, slots=True)
class Unrendered:
    """Why a content cannot be rendered; ``field`` is the template at fault."""

    field: str
    reason: str


class Rendering(Protocol):
    """Renders contents, away from the event loop. ``daemon.campaigns``."""

    async def preview(self, content: bytes, wanted: Wanted) -> PreviewOut | Unrendered:
        """Return what a recipient would see of a content's JSON."""
        ...

    async def render(
        self, content: bytes, wanted: Wanted
    ) -> tuple[bytes, bytes] | Unrendered:
        """Return header section and body of a recipient's message."""
        ...

    async def rendered(self, tenant: TenantId, ident: PublicId) -> bytes | str | None:
        """Return a message's octets as they go out, signed.

        A text says why there are none; ``None``: there is no such message.
        """
        ...


@dataclass(frozen=True, slots=True)
class CampaignPorts:
    """Everything that the routes of campaigns work with, at each of the API's doors.

    Attributes:
        uploads: those under way, whichever door they came by.
        hostname: of the node, for the Received field of test copies.
        fresh_id: gives the left side of a Message-ID, never the same twice.
    """

    jobs: Jobs
    templates: Templates
    uploads: Uploads
    rendering: Rendering
    directory: Callable[[], Directory]
    admission: Gate
    intake: Intake
    store: UnitStore
    budget: Budget
    clock: Clock
    hostname: str
    fresh_id: Callable[[], str]
    limits: Callable[[], ApiLimits]
