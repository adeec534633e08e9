"""The queue as the API shows it: names for ids, and what an asker may see of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mailwright.address import AddressError, canonical_domain
from mailwright.api.ports import QueueDoor
from mailwright.api.problems import FieldError, Kind, ProblemError, invalid
from mailwright.ids import (
    DeliveryId,
    LineId,
    MessageId,
    PoolId,
    StreamId,
    TenantId,
    format_public,
    parse_public,
)
from mailwright.ids import Kind as IdKind
from mailwright.queue.explain import block_of, words_of
from mailwright.queue.holds import Hold
from mailwright.queue.line import NOTHING_DUE, Line
from mailwright.queue.operations import Extent
from mailwright.queue.selection import Selection, SelectionError

_Name: TypeAlias = Annotated[str | None, Field(max_length=255)]
#: No id of ours: what names nothing selects nothing.
_NOTHING: Final = -1


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks; ``tenant`` is ``None`` for operators, who see everything."""

    author: str
    tenant: TenantId | None = None


class SelectionIn(BaseModel):
    """What it is for; every part that is given must hold, and one must be given."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: _Name = None
    stream: _Name = None
    domain: _Name = None
    provider: _Name = None
    pool: _Name = None
    line: Annotated[
        str | None, Field(max_length=20, pattern="^[0-9]+$", description="Its id")
    ] = None
    id: Annotated[
        str | None, Field(max_length=40, description="`msg_…` or `dlv_…`")
    ] = None


class GroupBy(StrEnum):
    """What a summary adds up by."""

    TENANT = "tenant"
    STREAM = "stream"
    DOMAIN = "domain"
    PROVIDER = "provider"
    POOL = "pool"


@dataclass(frozen=True, slots=True)
class ExtentOut:
    """What an operation is for, or was.

    Attributes:
        deliveries: that wait.
        under_way: in a session at this moment; they are left alone.
        unresolved: domains whose provider is not known; they are left out.
        hold: made by it; null otherwise.
        dry_run: nothing was done.
    """

    lines: int
    deliveries: int
    under_way: int
    unresolved: int
    hold: str | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class HoldOut:
    """A hold in force.

    Attributes:
        selection: names of what it stops.
        cancels: what it stops is being cancelled.
    """

    id: str
    selection: dict[str, str]
    reason: str
    author: str
    created_at: datetime
    ends_at: datetime | None
    cancels: bool


@dataclass(frozen=True, slots=True)
class ReleasedOut:
    """Which holds ended, and what they had stopped."""

    holds: Sequence[HoldOut]
    extent: ExtentOut


@dataclass(frozen=True, slots=True)
class BlockOut:
    """What stops a line: hold, rest, time, permit, connections, lookup."""

    by: str
    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class LineOut:
    """A line with mail.

    Attributes:
        due_at: of its next delivery; null when all are under way.
        blocked: what stops it now; null when nothing does.
    """

    id: str
    tenant: str
    stream: str
    domain: str
    provider: str | None
    pool: str
    deliveries: int
    under_way: int
    due_at: datetime | None
    blocked: BlockOut | None


@dataclass(frozen=True, slots=True)
class LinesOut:
    """Lines by id.

    Attributes:
        next: ``after`` of the next question; null at the end.
    """

    lines: Sequence[LineOut]
    next: str | None


@dataclass(slots=True)
class GroupOut:
    """What waits, added up."""

    name: str
    lines: int = 0
    deliveries: int = 0
    under_way: int = 0
    held: int = 0
    blocked: int = 0


@dataclass(frozen=True, slots=True)
class SummaryOut:
    """The queue, added up; the largest groups first."""

    total: GroupOut
    groups: Sequence[GroupOut]


@dataclass(frozen=True, slots=True)
class WaitingOut:
    """A delivery that is not final."""

    id: str
    recipient: str
    state: str
    attempts: int
    due_at: datetime
    expires_at: datetime
    last_reply: str | None
    line: LineOut


def opened(door: QueueDoor | None) -> QueueDoor:
    """Return the queue, or say that there is none."""
    if door is None:
        raise ProblemError(Kind.UNAVAILABLE, "the node does not run; start it first")
    return door


@contextmanager
def refusing() -> Iterator[None]:
    """Make a selection that does not fit a problem."""
    try:
        yield
    except SelectionError as error:
        raise invalid(FieldError("selection", str(error))) from error


def extent_out(extent: Extent, dry_run: bool) -> ExtentOut:
    """Return how an answer says what an operation is for."""
    return ExtentOut(
        extent.lines,
        extent.deliveries,
        extent.under_way,
        extent.unresolved,
        None if extent.hold is None else str(extent.hold),
        dry_run,
    )


#: Groups of a summary that are shown.
_GROUPS_MAX: Final = 1000


class QueueView:
    """The queue for one asker: of a tenant's, nothing else exists."""

    def __init__(self, door: QueueDoor, asking: Asking) -> None:
        self._door = door
        self._tenant = asking.tenant
        self._directory = door.directory()

    def selection(
        self, wanted: SelectionIn, *, may_be_empty: bool = False
    ) -> Selection:
        """Return what ``wanted`` names, within what the asker may see.

        Raises:
            ProblemError: it names nothing, or something that is not there.
        """
        if not may_be_empty and not wanted.model_dump(exclude_none=True):
            raise invalid(
                FieldError(
                    "selection", "name what it is for: empty would be everything"
                )
            )
        selection = Selection(tenant=self._tenant_named(wanted.tenant))
        if wanted.stream is not None:
            stream = self._stream_named(wanted.stream, selection.tenant)
            selection = replace(selection, stream=stream)
        if wanted.domain is not None:
            selection = replace(selection, domain=_domain(wanted.domain))
        if wanted.provider is not None:
            selection = replace(selection, provider=wanted.provider)
        if wanted.pool is not None:
            selection = replace(selection, pool=self.pool_named(wanted.pool, "pool"))
        if wanted.line is not None:
            selection = replace(selection, line=LineId(int(wanted.line)))
        if wanted.id is not None:
            selection = _named(selection, wanted.id)
        return selection

    def pool_named(self, name: str, field: str) -> PoolId:
        """Return the id of a pool; another tenant's is none, for a tenant."""
        if self._tenant is None:
            pool = self._directory.pools_by_name.get(name)
        else:
            pool = self._directory.pool_for(self._tenant, name)
        if pool is None:
            raise invalid(FieldError(field, "there is no such pool"))
        return pool.id

    async def lines(self, wanted: SelectionIn) -> list[Line]:
        """Return the lines with mail that are selected, by id; all when nothing is."""
        selection = self.selection(wanted, may_be_empty=True)
        operations = self._door.operations
        if selection.is_empty:
            found = [line for line in operations.book if line.count > 0]
        else:
            with refusing():
                found = list((await operations.lines_of(selection))[0])
        return sorted(found, key=lambda line: line.id)

    async def waiting(self, selection: Selection) -> list[WaitingOut]:
        """Return the deliveries that are not final of what ``selection`` names."""
        if not selection.names_deliveries:
            return []
        found = await self._door.operations.named(selection)
        return [
            WaitingOut(
                format_public(
                    IdKind.DELIVERY, each.claimed.accepted_at, each.claimed.id
                ),
                each.claimed.recipient,
                each.state.name.lower(),
                each.claimed.attempt,
                each.due_at,
                each.claimed.expires_at,
                None if each.claimed.last is None else str(each.claimed.last.reply),
                self.line(each.claimed.line),
            )
            for each in found
        ]

    def line(self, line: Line) -> LineOut:
        """Return how an answer shows ``line``."""
        operations, names = self._door.operations, self._directory
        site = operations.scheduler.site_of(line)
        block = block_of(
            line,
            holds=operations.holds,
            scheduler=operations.scheduler,
            now=self._door.clock.now(),
            told=self._told,
        )
        tenant, stream = (
            names.tenants.get(line.key.tenant),
            names.streams.get(line.key.stream),
        )
        pool = names.pools.get(line.key.pool)
        return LineOut(
            str(line.id),
            "" if tenant is None else tenant.name,
            "" if stream is None else stream.name,
            line.key.domain,
            None if site is None else site.profile.provider,
            "" if pool is None else pool.name,
            line.count - line.sending,
            line.sending,
            None if line.next_due_at == NOTHING_DUE else line.next_due_at,
            None if block is None else BlockOut(block.by, block.reason, block.until),
        )

    def hold(self, hold: Hold) -> HoldOut:
        """Return how an answer shows ``hold``."""
        names, of = self._directory, hold.selection
        tenant = None if of.tenant is None else names.tenants.get(of.tenant)
        stream = None if of.stream is None else names.streams.get(of.stream)
        pool = None if of.pool is None else names.pools.get(of.pool)
        shown = {name: str(value) for name, value in of.to_scope().items()}
        if of.everything:
            shown["everything"] = "yes"
        for name, thing in (("tenant", tenant), ("stream", stream), ("pool", pool)):
            if thing is not None:
                shown[name] = thing.name
        return HoldOut(
            str(hold.id),
            shown,
            hold.reason,
            self._author(hold),
            hold.created_at,
            hold.ends_at,
            hold.cancels,
        )

    def summary(self, by: GroupBy) -> SummaryOut:
        """Add up every line with mail that the asker may see."""
        total = GroupOut("total")
        groups: dict[str, GroupOut] = {}
        for line in self._door.operations.book:
            if line.count <= 0 or self._tenant not in {None, line.key.tenant}:
                continue
            shown = self.line(line)
            name = getattr(shown, by.value) or "unknown"
            group = groups.setdefault(name, GroupOut(name))
            for each in (total, group):
                each.lines += 1
                each.deliveries += shown.deliveries
                each.under_way += shown.under_way
                is_held = shown.blocked is not None and shown.blocked.by == "hold"
                each.held += shown.deliveries if is_held else 0
                each.blocked += 0 if shown.blocked is None else shown.deliveries
        ordered = sorted(groups.values(), key=lambda each: -each.deliveries)
        return SummaryOut(total, ordered[:_GROUPS_MAX])

    def _told(self, hold: Hold) -> str:
        """Return the words about a hold; one of more than a tenant's is not its affair.

        Its reason was written for operators and may speak of other tenants.
        """
        if self._tenant in {None, hold.selection.tenant}:
            return words_of(replace(hold, author=self._author(hold)))
        return (
            "being cancelled by the operator"
            if hold.cancels
            else "held by the operator"
        )

    def _author(self, hold: Hold) -> str:
        """Return who made a hold; a tenant knows its own credentials only."""
        if self._tenant is None:
            return hold.author
        kind, _, name = hold.author.partition(":")
        is_own = kind == "api" and any(
            each.name == name and each.tenant == self._tenant
            for each in self._directory.credentials_by_id.values()
        )
        return hold.author if is_own else "the operator"

    def _tenant_named(self, name: str | None) -> TenantId | None:
        if name is None:
            return self._tenant
        for tenant in self._directory.tenants.values():
            if tenant.name == name and self._tenant in {None, tenant.id}:
                return tenant.id
        raise invalid(FieldError("tenant", "there is no such tenant"))

    def _stream_named(self, name: str, tenant: TenantId | None) -> StreamId:
        found = [
            stream.id
            for stream in self._directory.streams.values()
            if stream.name == name and tenant in {None, stream.tenant}
        ]
        if not found:
            raise invalid(FieldError("stream", "there is no such stream"))
        if len(found) > 1:
            raise invalid(FieldError("stream", "several tenants have it: name one"))
        return found[0]


def _domain(text: str) -> str:
    try:
        return canonical_domain(text)
    except AddressError as error:
        raise invalid(FieldError("domain", "is not a domain")) from error


def _named(selection: Selection, text: str) -> Selection:
    """Add a message or a delivery; garbage names one that does not exist."""
    delivery = parse_public(text, IdKind.DELIVERY)
    if delivery is not None:
        return replace(selection, delivery=DeliveryId(delivery.number))
    message = parse_public(text, IdKind.MESSAGE)
    number = _NOTHING if message is None else message.number
    return replace(selection, message=MessageId(number))
