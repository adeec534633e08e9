"""The slices of a seal on their way to the store. See :mod:`.sealing` for the theory."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

from mailwright.accounts.directory import Stream
from mailwright.events.types import EventType
from mailwright.ids import CampaignId
from mailwright.queue.campaign.job import Campaign, JobState
from mailwright.queue.campaign.ports import Prepared, SealingPorts, StagedRow
from mailwright.queue.campaign.slices import SLICE, Placed, SeedRow, Slice, slice_unit
from mailwright.queue.line import Line, LineKey
from mailwright.store.json_text import to_json
from mailwright.store.ports import StoreError, StoreFullError
from mailwright.store.statements import Unit, UnitResult

#: Rows that are read and built in one go.
BATCH: Final = 1_000
#: Slices that are on their way to the store at once.
UNDER_WAY: Final = 6

_T = TypeVar("_T")


class Writing:
    """The slices of one seal, some of them under way."""

    def __init__(
        self,
        ports: SealingPorts,
        ident: CampaignId,
        stream: Stream,
        prepared: Prepared,
        content_octets: int,
    ) -> None:
        """Write rows of ``prepared`` for the campaign ``ident``."""
        self._content_octets = content_octets
        self._ports = ports
        self._ident = ident
        self._stream = stream
        self._prepared = prepared
        self._under_way = 0
        self._moved = asyncio.Event()
        self._refusal: StoreError | None = None
        self._is_over = False

    async def run(self) -> None:
        """Write all slices that are not written yet.

        Raises:
            StoreError: the store has refused one; those after it are not written.
        """
        campaign = self._ports.campaigns.get(self._ident)
        if campaign is None or campaign.sealed_at is None:
            return
        after, sealed_at = campaign.sealed_rows, campaign.sealed_at
        records = self._prepared.records(after)
        try:
            while some := await asyncio.to_thread(take_some, records, BATCH):
                campaign = self._ports.campaigns.get(self._ident)
                if campaign is None or campaign.state is not JobState.SEALING:
                    return
                if self._ports.store.is_short:
                    # Before ids are taken: there is no end to how often this is tried.
                    self._refusal = StoreFullError("the disk is full")
                    break
                parts = self._parts(campaign, sealed_at, after, some)
                after = parts[-1].to
                try:
                    units = await asyncio.to_thread(_units, parts)
                except BaseException:
                    for part in parts:
                        _release(part)
                    raise
                for at, (part, unit) in enumerate(zip(parts, units, strict=True)):
                    if not await self._has_room():
                        for rest in parts[at:]:
                            _release(rest)
                        return
                    self._submit(part, unit)
        finally:
            await self._drain()
        if self._refusal is not None:
            raise self._refusal

    def _parts(
        self,
        campaign: Campaign,
        sealed_at: datetime,
        after: int,
        rows: Sequence[StagedRow],
    ) -> list[Slice]:
        """Give rows, and the seeds among them, ids and lines."""
        directory, now = self._ports.directory(), self._ports.clock.now()
        domain = directory.sending_domains_by_id[campaign.sending_domain].domain
        total = self._prepared.row_count
        parts = []
        for start in range(0, len(rows), SLICE):
            some = rows[start : start + SLICE]
            to = some[-1].position
            seeds = self._seeds(campaign, after, to, total)
            placed = list(self._placed(campaign, sealed_at, [*some, *seeds]))
            for each in placed:
                each.line.accepting += 1
            parts.append(
                Slice(
                    campaign,
                    after,
                    to,
                    placed,
                    domain,
                    self._content_octets,
                    self._ports.store.node,
                    self._ports.store.epoch,
                    sealed_at,
                    now,
                )
            )
            after = to
        return parts

    def _placed(
        self, campaign: Campaign, sealed_at: datetime, rows: Sequence[StagedRow]
    ) -> Iterator[Placed]:
        """Give ids and lines; rows of one line stand together, so few are looked up."""
        take, line = self._ports.next_id, None
        domain = timezone = ""
        for row in rows:
            if line is None or row.domain != domain or row.timezone != timezone:
                domain, timezone = row.domain, row.timezone
                key = LineKey(
                    campaign.tenant,
                    campaign.id,
                    campaign.stream,
                    campaign.sending_domain,
                    campaign.credential,
                    self._stream.stream_class,
                    domain,
                    campaign.pool or self._stream.pool,
                    timezone,
                )
                line = self._ports.lines.line_for(key, sealed_at)
            yield Placed(row, take(), take(), line, isinstance(row, SeedRow))

    def _seeds(
        self, campaign: Campaign, after: int, to: int, total: int
    ) -> Iterator[SeedRow]:
        for seed in campaign.seeds:
            row = SeedRow(
                to,
                seed.email,
                seed.email.rpartition("@")[2],
                self._ports.subject_of(seed.email),
                to_json(seed.fields).encode(),
            )
            for _ in range(seed.times(after, to, total)):
                yield row

    async def _has_room(self) -> bool:
        """Wait until another slice may be handed in; false: no more."""
        while self._under_way >= UNDER_WAY:
            self._moved.clear()
            await self._moved.wait()
        return self._refusal is None and not self._is_over

    async def _drain(self) -> None:
        while self._under_way:
            self._moved.clear()
            await self._moved.wait()

    def _submit(self, part: Slice, unit: Unit) -> None:
        def done(result: UnitResult | None, error: StoreError | None) -> None:
            self._under_way -= 1
            self._moved.set()
            if result is None:
                self._refusal = error or StoreError("no result")
            elif not result[0]:
                self._is_over = True
            if result is None or not result[0]:
                _release(part)
                return
            self._stored(part)

        self._under_way += 1
        self._ports.store.submit(unit, done)

    def _stored(self, part: Slice) -> None:
        """Take into the books what was committed."""
        lines: Counter[int] = Counter()
        by_id: dict[int, Line] = {}
        for each in part.placed:
            lines[each.line.id] += 1
            by_id[each.line.id] = each.line
        for ident, count in lines.items():
            line = by_id[ident]
            line.accepting -= count
            line.gained(part.sealed_at, count)
            self._ports.tally.count(EventType.RECEIVED, line.key.pool, times=count)
        self._ports.campaigns.advanced(part.campaign.id, part.to)


def _release(part: Slice) -> None:
    """Let go the lines of a slice that is not written."""
    for each in part.placed:
        each.line.accepting -= 1


def take_some(rows: Iterator[_T], most: int) -> list[_T]:
    """Return the next ``most`` of ``rows``, or what is left of them; may block."""
    return list(islice(rows, most))


def _units(parts: Sequence[Slice]) -> list[Unit]:
    return [slice_unit(part) for part in parts]
