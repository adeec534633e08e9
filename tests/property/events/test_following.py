"""Whatever is asked for, in whatever portions: each event once, in order, none missed."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, Table, Text, bindparam, cast, literal

from mailwright.events import following
from mailwright.events.following import (
    Condition,
    Filter,
    Page,
    cursor_before,
    end_of_log,
    read_after,
)
from mailwright.events.log import About, write_event
from mailwright.events.position import Position
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import CampaignId, DeliveryId, MessageId, Subject, TenantId
from mailwright.store.ddl import creations
from mailwright.store.sqlite import DIALECT
from mailwright.store.statements import SEQ, Bound, Row

FIRST = date(2026, 3, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(4)]
NODE = 3


@dataclass(frozen=True)
class Happening:
    """An event to write: how far its number is from the one before, and what it is.

    Attributes:
        day: index of the day on which it happened; never more than one back.
    """

    step: int
    day: int
    type: EventType
    tenant: int
    message: int
    campaign: int | None

    def is_in(self, wanted: Filter, among: frozenset[int] | None) -> bool:
        return (
            wanted.tenant in {None, self.tenant}
            and (not wanted.types or self.type in wanted.types)
            and wanted.message in {None, self.message}
            and wanted.campaign in {None, self.campaign}
            and wanted.subject in {None, subject(self.message)}
            and (among is None or self.message in among)
        )


def subject(message: int) -> Subject:
    return Subject(bytes([message]) * 16)


class MemoryLog:
    """An event log without a node."""

    node = NODE

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:")
        self._seq = 0
        self.written: list[tuple[int, Happening]] = []
        for day in DAYS:
            for query in creations(events_of(day)):
                self._database.execute(query.compiled(DIALECT).text)

    def write(self, happening: Happening) -> None:
        self._seq += happening.step
        day = DAYS[happening.day]
        about = About(
            TenantId(happening.tenant),
            MessageId(happening.message),
            DeliveryId(happening.message),
            subject(happening.message),
            day,
            None if happening.campaign is None else CampaignId(happening.campaign),
        )
        at = datetime.combine(day, time(), UTC) + timedelta(microseconds=self._seq)
        query, params = write_event(NODE, at, happening.type, about, {})
        values = {k: self._seq if v is SEQ else v for k, v in params.items()}
        compiled = query.compiled(DIALECT)
        self._database.execute(compiled.text, compiled.pick(values))
        self.written.append((self._seq, happening))

    async def read(self, *bounds: Bound) -> list[list[Row]]:
        found = []
        for query, params in bounds:
            compiled = query.compiled(DIALECT)
            values = compiled.pick({**compiled.fixed, **params})
            found.append(self._database.execute(compiled.text, values).fetchall())
        return found

    def close(self) -> None:
        self._database.close()


def _among(table: Table) -> ColumnElement[bool]:
    number = cast(table.c.message, Text)
    return bindparam("among").like(literal("%,").concat(number).concat(",%"))


def also(messages: frozenset[int] | None) -> Condition | None:
    if messages is None:
        return None
    return Condition(_among, {"among": f",{','.join(map(str, sorted(messages)))},"})


@st.composite
def happenings(draw: st.DrawFn) -> list[Happening]:
    """Days go on; an event may be filed under the day before."""
    found, today = [], 0
    for _ in range(draw(st.integers(0, 40))):
        today = min(today + draw(st.sampled_from([0] * 9 + [1])), len(DAYS) - 1)
        found.append(
            Happening(
                draw(st.sampled_from([1, 1, 1, 2, 50])),
                max(today - draw(st.sampled_from([0, 0, 1])), 0),
                draw(st.sampled_from(EventType)),
                draw(st.integers(1, 2)),
                draw(st.integers(1, 4)),
                draw(st.sampled_from([None, 1, 2])),
            )
        )
    return found


def maybe(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | values


@st.composite
def filters(draw: st.DrawFn) -> tuple[Filter, frozenset[int] | None]:
    among = draw(st.none() | st.frozensets(st.integers(1, 4)))
    whom = draw(maybe(st.integers(1, 4)))
    message, campaign = draw(maybe(st.integers(1, 4))), draw(maybe(st.integers(1, 2)))
    tenant = draw(maybe(st.integers(1, 2)))
    wanted = Filter(
        None if tenant is None else TenantId(tenant),
        draw(st.frozensets(st.sampled_from(EventType), max_size=2)),
        None if message is None else MessageId(message),
        None if campaign is None else CampaignId(campaign),
        None if whom is None else subject(whom),
        also(among),
    )
    return wanted, among


async def follow(
    log: MemoryLog,
    wanted: Filter,
    cursor: str,
    *,
    limit: int,
    step: int,
    slices: int,
    until: str | None = None,
) -> tuple[list[int], str]:
    """Read on until the end; return the numbers of what was read, and the cursor."""
    found: list[int] = []
    while True:
        page = await read_after(
            log,
            cursor,
            wanted,
            limit=limit,
            days=DAYS,
            until=until,
            slice_events=step,
            max_slices=slices,
        )
        found += numbers(page)
        assert page.is_end or page.cursor != cursor, "it goes nowhere"
        cursor = page.cursor
        if page.is_end:
            return found, cursor


def numbers(page: Page) -> list[int]:
    return [int(event.id.split("_")[2]) for event in page.events]


PORTIONS = {
    "limit": st.integers(1, 9),
    "step": st.integers(1, 30),
    "slices": st.integers(1, 4),
}


def expected(
    log: MemoryLog, wanted: Filter, among: frozenset[int] | None, after: int = 0
) -> list[int]:
    return [
        seq for seq, each in log.written if seq > after and each.is_in(wanted, among)
    ]


@settings(max_examples=300, deadline=None)
@given(happenings(), st.integers(0, 40), filters(), st.fixed_dictionaries(PORTIONS))
def test_each_event_is_read_once_in_order_while_more_come(
    events: Sequence[Happening],
    cut: int,
    wanted: tuple[Filter, frozenset[int] | None],
    portions: dict[str, int],
) -> None:
    async def run() -> None:
        for each in events[:cut]:
            log.write(each)
        found, cursor = await follow(log, wanted[0], "", **portions)
        assert found == expected(log, *wanted)
        for each in events[cut:]:
            log.write(each)
        more, _ = await follow(log, wanted[0], cursor, **portions)
        assert found + more == expected(log, *wanted)

    log = MemoryLog()
    asyncio.run(run())
    log.close()


@settings(max_examples=150, deadline=None)
@given(happenings(), st.data(), filters(), st.fixed_dictionaries(PORTIONS))
def test_a_part_of_the_log_reads_alike_whenever_it_is_read(
    events: Sequence[Happening],
    data: st.DataObject,
    wanted: tuple[Filter, frozenset[int] | None],
    portions: dict[str, int],
) -> None:
    async def run() -> None:
        for each in events:
            log.write(each)
        ends = [seq for seq, _ in log.written] or [0]
        first, last = sorted(data.draw(st.sampled_from(ends)) for _ in range(2))
        day = next((DAYS[e.day] for seq, e in log.written if seq == first), FIRST)
        start = Position().at(NODE, first, day).cursor()
        end = Position().at(NODE, last, day).cursor()
        found, cursor = await follow(log, wanted[0], start, until=end, **portions)
        assert found == [n for n in expected(log, *wanted, after=first) if n <= last]
        assert Position.parse(cursor).of(NODE)[0] <= last

    log = MemoryLog()
    asyncio.run(run())
    log.close()


@settings(max_examples=100, deadline=None)
@given(happenings(), st.integers(0, 5 * 24))
def test_a_cursor_before_an_instant_misses_nothing_of_after_it(
    events: Sequence[Happening], hours: int
) -> None:
    async def run() -> None:
        for each in events:
            log.write(each)
        since = datetime.combine(FIRST, time(), UTC) + timedelta(hours=hours)
        cursor = await cursor_before(log, since, DAYS)
        found, _ = await follow(log, Filter(None), cursor, limit=9, step=30, slices=4)
        wanted = [
            seq
            for seq, each in log.written
            if datetime.combine(DAYS[each.day], time(), UTC)
            + timedelta(microseconds=seq)
            >= since
        ]
        assert set(wanted) <= set(found)
        assert not wanted or found[0] == wanted[0]
        if not wanted:
            assert cursor == await end_of_log(log, DAYS)

    log = MemoryLog()
    asyncio.run(run())
    log.close()


def test_something_rare_is_found_in_many_short_reads_of_which_none_is_repeated() -> (
    None
):
    async def run() -> None:
        for number in range(200):
            kind = EventType.BOUNCED if number == 150 else EventType.DELIVERED
            log.write(Happening(1, 0, kind, 1, 1, None))
        rare = Filter(TenantId(1), frozenset({EventType.BOUNCED}))

        async def ask(cursor: str) -> Page:
            return await read_after(
                log, cursor, rare, limit=5, days=DAYS, slice_events=20, max_slices=5
            )

        page = await ask("")
        assert (numbers(page), page.is_end) == ([], False)
        assert Position.parse(page.cursor).of(NODE)[0] == 100
        page = await ask(page.cursor)
        assert numbers(page) == [151]
        assert Position.parse(page.cursor).of(NODE)[0] == 200

    log = MemoryLog()
    asyncio.run(run())
    log.close()


def test_a_reader_that_takes_a_slice_for_the_end_is_caught() -> None:
    """The control of the first property: it stops at the first empty slice."""

    async def run() -> bool:
        for number in range(60):
            kind = EventType.BOUNCED if number == 50 else EventType.DELIVERED
            log.write(Happening(1, 0, kind, 1, 1, None))
        rare = Filter(None, frozenset({EventType.BOUNCED}))
        page = await following.read_after(
            log, "", rare, limit=5, days=DAYS, slice_events=10, max_slices=1
        )
        return numbers(page) == [51]

    log = MemoryLog()
    assert not asyncio.run(run())
    log.close()
