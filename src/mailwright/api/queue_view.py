"""The queue as the API shows it: names for ids, and what an asker may see of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from mailwright.address import AddressError, canonical_domain
from mailwright.api.hold_view import HoldOut, hold_out
from mailwright.api.ports import QueueDoor
from mailwright.api.problems import FieldError, Kind, ProblemError, invalid
from mailwright.api.queue_records import (
    BlockOut,
    ExtentOut,
    GroupBy,
    GroupOut,
    LineOut,
    SelectionIn,
    SummaryOut,
    WaitingOut,
)
from mailwright.ids import (
    CampaignId,
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
from mailwright.queue.choosing import Extent, Unsettled, lines_of, slices
from mailwright.queue.explain import block_of
from mailwright.queue.holds import Hold
from mailwright.queue.line import NOTHING_DUE, Line
from mailwright.queue.selection import Selection, SelectionError

#: No id of ours: what names nothing selects nothing.
_NOTHING: Final = -1


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks; ``tenant`` is ``None`` for operators, who see everything."""

    author: str
    tenant: TenantId | None = None


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
#: Lines that are added up before the loop serves others: some milliseconds.
_SUMMED_AT_ONCE: Final = 100
#: The group of what has no campaign, or a provider that is not known.
_NAMELESS: Final = "none"


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
        if wanted.campaign is not None:
            selection = replace(selection, campaign=CampaignId(int(wanted.campaign)))
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
        elif selection.names_deliveries:
            named = await operations.choosing.named(selection)
            found = lines_of(each.claimed for each in named)
        else:
            found = list((await operations.choosing.lines(selection)).lines)
        return sorted(found, key=lambda line: line.id)

    async def waiting(self, wanted: SelectionIn, most: int) -> list[WaitingOut]:
        """Return up to ``most`` deliveries that are selected and not final.

        Of lines those that wait, in the order in which they leave each line; of a
        message those in a session too.
        """
        selection, choosing = self.selection(wanted), self._door.operations.choosing
        if selection.names_deliveries:
            named = await choosing.named(selection)
            return [self._waiting(each) for each in named[:most]]
        found: list[Unsettled] = []
        for line in await self.lines(wanted):
            found += await choosing.next_of(line, most - len(found))
            if len(found) >= most:
                break
        return [self._waiting(each) for each in found]

    def _waiting(self, each: Unsettled) -> WaitingOut:
        claimed = each.claimed
        at = claimed.accepted_at
        return WaitingOut(
            format_public(IdKind.DELIVERY, at, claimed.id),
            format_public(IdKind.MESSAGE, at, claimed.message),
            claimed.recipient,
            each.state.name.lower(),
            claimed.attempt,
            each.due_at,
            claimed.expires_at,
            None if claimed.last is None else str(claimed.last.reply),
            self.line(claimed.line),
        )

    def line(self, line: Line) -> LineOut:
        """Return how an answer shows ``line``."""
        operations, names = self._door.operations, self._directory
        site = operations.scheduler.site_of(line)
        block = block_of(
            line,
            holds=operations.holds,
            scheduler=operations.scheduler,
            now=self._door.clock.now(),
            tenant=self._tenant,
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
            None if line.key.campaign is None else str(line.key.campaign),
        )

    def hold(self, hold: Hold) -> HoldOut:
        """Return how an answer shows ``hold``."""
        return hold_out(hold, self._directory, self._tenant)

    async def summary(self, wanted: SelectionIn, by: GroupBy) -> SummaryOut:
        """Add up the lines with mail that are selected; all of them when nothing is."""
        total = GroupOut("total")
        groups: dict[str, GroupOut] = {}
        for some in slices(await self.lines(wanted), _SUMMED_AT_ONCE):
            for line in some:
                shown = self.line(line)
                name = getattr(shown, by.value) or _NAMELESS
                group = groups.setdefault(name, GroupOut(name))
                for each in (total, group):
                    each.lines += 1
                    each.deliveries += shown.deliveries
                    each.under_way += shown.under_way
                    is_held = shown.blocked is not None and shown.blocked.by == "hold"
                    each.held += shown.deliveries if is_held else 0
                    each.blocked += 0 if shown.blocked is None else shown.deliveries
            await asyncio.sleep(0)  # there are others to serve
        ordered = sorted(groups.values(), key=lambda each: -each.deliveries)
        return SummaryOut(total, ordered[:_GROUPS_MAX])

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
        number, day = DeliveryId(delivery.number), delivery.day.isoformat()
        return replace(selection, delivery=number, accepted_on=day)
    message = parse_public(text, IdKind.MESSAGE)
    if message is None:
        return replace(selection, message=MessageId(_NOTHING))
    day = message.day.isoformat()
    return replace(selection, message=MessageId(message.number), accepted_on=day)
