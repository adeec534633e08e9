"""Fills a node's database with a queue and a history, fast, in the real schema.

The rows come from the rooms' own tables and go in through the store, but thousands with
one statement: a recursive query counts, and the line's row says the rest. So a column
that is added without a default fails here as it does in the node.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    Table,
    bindparam,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from mailwright.clock import to_micros
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import COUNTER_BITS
from mailwright.queue.acceptance import DEFAULT_BAND
from mailwright.queue.content import checksum_of
from mailwright.queue.delivery import State
from mailwright.queue.line import LineKey
from mailwright.queue.statements import ADD_TO_LINE, INSERT_CONTENT
from mailwright.queue.tables import deliveries, lines, messages
from mailwright.store.days import number_of
from mailwright.store.statements import Query, Step, Unit, Urgency, unit
from mailwright.store.store import Store
from mailwright.store.tables import nodes

#: Rows that one statement makes.
SLICE: Final = 20_000
#: Contents, each shared by many messages; a session reads it for each of them.
CONTENTS: Final = 1_000
_LIFE: Final = timedelta(days=2)
_HEADER: Final = (
    b"From: News <news@%s>\r\nTo: reader@example.net\r\nSubject: Our offers\r\n"
    b"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@%s>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
)
_TEXT: Final = b"This is what we have for you today, dear reader of our letters.\r\n"


@dataclass(frozen=True, slots=True)
class Queued:
    """Recipients to be queued, dealt to ``keys`` one by one, again and again.

    Attributes:
        keys: of one line each.
        recipients: how many, together.
        selector: what signs them.
    """

    keys: Sequence[LineKey]
    recipients: int
    selector: str = "s1"


_RAISE_IDS: Final = Query(
    "raise ids",
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(ids_end=nodes.c.ids_end + bindparam("more"))
    .returning(nodes.c.ids_end),
)
_RAISE_SEQ: Final = Query(
    "raise seq",
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(seq=bindparam("last"))
    .returning(nodes.c.seq),
)


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger)


def _counting() -> CTE:
    """Return the numbers from ``first`` to ``last``, both included."""
    counted = select(_number("first").label("i")).cte("counted", recursive=True)
    following = select(counted.c.i + 1).where(counted.c.i < _number("last"))
    return counted.union_all(following)


def _fill(name: str, table: Table, values: dict[str, ColumnElement[Any]]) -> Query:
    """Return the insertion of a row of ``values`` for each number and its line."""
    missing = set(table.c.keys()) - set(values)
    assert not missing, f"{table.name} has columns that nobody fills: {missing}"
    rows: Select[Any] = select(*values.values()).select_from(
        _COUNTED.join(lines, lines.c.id == _LINE)
    )
    return Query(name, insert(table).from_select(list(values), rows))


_COUNTED: Final = _counting()
_I: Final = _COUNTED.c.i
_LINE: Final = _number("line_base") + (_I - _number("begin")) % _number("line_count")
_FILL_MESSAGES: Final = _fill(
    "fill messages",
    messages,
    {
        "id": _number("message_base") + _I,
        "tenant": lines.c.tenant,
        "credential": lines.c.credential,
        "stream": lines.c.stream,
        "campaign": lines.c.campaign,
        "content": _number("content_base") + _I % CONTENTS,
        "accepted_at": _number("at") + _I,
        "is_complete": literal(1),
        "reverse_path": literal("bounces@s1.example"),
        "ret": literal(""),
        "envid": literal(""),
        "sending_domain": lines.c.sending_domain,
        "message_id": literal("<").concat(_I).concat("@s1.example>"),
        "size_octets": literal(5_000),
        "tags": literal("[]"),
        "metadata": literal("{}"),
        "edits": literal("[]"),
    },
)
_FILL_DELIVERIES: Final = _fill(
    "fill deliveries",
    deliveries,
    {
        "id": _number("delivery_base") + _I,
        "message": _number("message_base") + _I,
        "line": lines.c.id,
        "band": literal(DEFAULT_BAND),
        "due_at": _number("at") + _I,
        "not_before": null(),
        "expires_at": _number("expires_at"),
        "state": literal(int(State.QUEUED)),
        "attempt": literal(0),
        "ambiguous": literal(0),
        "lost": literal(0),
        "epoch": null(),
        "source": null(),
        "tenant": lines.c.tenant,
        "stream": lines.c.stream,
        "recipient": literal("r").concat(_I).concat("@").concat(lines.c.domain),
        "subject": func.randomblob(16),
        "notify": literal(""),
        "orcpt": literal(""),
        "accepted_at": _number("at") + _I,
        "selector": bindparam("selector"),
        "token_key": null(),
        "token_day": null(),
        "last_reply": null(),
        "is_delay_reported": literal(0),
    },
)


def _fill_events(day: date) -> Query:
    table = events_of(day)
    values: dict[str, ColumnElement[Any]] = {
        "node": _number("node"),
        "seq": _I,
        "at": _number("at") + _I,
        "type": literal(EventType.DELIVERED.value),
        "tenant": 1 + _I % 3,
        "message": _number("message_base") + _I,
        "delivery": _number("message_base") + _I,
        "subject": func.randomblob(16),
        "campaign": null(),
        "accepted_on": literal(number_of(day)),
        "data": literal('{"attempt":1,"provider":"default","code":250,"text":"ok"}'),
    }
    rows = select(*values.values()).select_from(_COUNTED)
    return Query("fill events", insert(table).from_select(list(values), rows))


class StandingLoad:
    """Builds a load in ``store``, which nothing else uses meanwhile.

    ``accepted_at`` is when the first of it was accepted; the others follow a
    microsecond apart.
    """

    def __init__(self, store: Store, accepted_at: datetime, domain: str) -> None:
        """``domain`` is whom the contents are from."""
        self._store = store
        self._at = accepted_at
        self._domain = domain.encode()

    async def queue(self, *groups: Queued) -> list[range]:
        """Queue ``groups``, mixed as they would have come; return each's line ids."""
        total = sum(group.recipients for group in groups)
        first_line = await self._take_ids(sum(len(group.keys) for group in groups))
        line_ids = []
        for group in groups:
            ids = range(first_line, first_line + len(group.keys))
            first_line = ids.stop
            line_ids.append(ids)
            await self._add_lines(ids, group)
        content_base = await self._add_contents()
        # The n-th recipient has the n-th delivery id and the n-th message id.
        bases = {
            "message_base": await self._take_ids(total),
            "delivery_base": await self._take_ids(total),
        }
        for ids, group, begin, rows in _mixed(line_ids, groups):
            values = {
                **bases,
                "begin": begin,
                "first": rows.start,
                "last": rows.stop - 1,
                "line_base": ids.start,
                "line_count": len(ids),
                "at": to_micros(self._at),
            }
            await self._run(
                unit(
                    _FILL_MESSAGES(**values, content_base=content_base),
                    _FILL_DELIVERIES(
                        **values,
                        expires_at=to_micros(self._at + _LIFE),
                        selector=group.selector,
                    ),
                )
            )
        return line_ids

    async def add_history(self, events: int, days: int = 5) -> None:
        """Add ``events`` events of the ``days`` days before."""
        if not events:
            return
        base = await self._take_ids(events)
        for number in range(days):
            day = (self._at - timedelta(days=days - number)).date()
            await self._store.ensure_day(day)
            at = datetime.combine(day, datetime.min.time(), self._at.tzinfo)
            ends = (events * number // days + 1, events * (number + 1) // days + 1)
            for first in range(*ends, SLICE):
                bound = _fill_events(day)(
                    first=first,
                    last=min(first + SLICE, ends[1]) - 1,
                    node=self._store.node,
                    at=to_micros(at),
                    message_base=base,
                )
                await self._run(unit(bound))
        await self._run(unit(_RAISE_SEQ(node=self._store.node, last=events)))

    async def _take_ids(self, count: int) -> int:
        """Return the first of ``count`` ids in a row; the store will not give them."""
        raised = Unit((Step(_RAISE_IDS(node=self._store.node, more=count)),))
        result = await self._store.run(raised)
        end: int = result[0][0][0]
        return (self._store.node << COUNTER_BITS) | (end - count)

    async def _add_lines(self, ids: range, group: Queued) -> None:
        each, more = divmod(group.recipients, len(group.keys))
        rows = []
        for number, (line_id, key) in enumerate(zip(ids, group.keys, strict=True)):
            rows.append(
                ADD_TO_LINE(
                    **key.to_row(),
                    id=line_id,
                    count=each + (number < more),
                    next_due_at=to_micros(self._at),
                    hold=None,
                    owner=self._store.node,
                    epoch=self._store.epoch,
                    until=None,
                )
            )
        for start in range(0, len(rows), 1_000):
            await self._run(unit(*rows[start : start + 1_000]))

    async def _add_contents(self) -> int:
        base = await self._take_ids(CONTENTS)
        body = _TEXT * (4_700 // len(_TEXT))
        headers = (
            _HEADER % (self._domain, number, self._domain) for number in range(CONTENTS)
        )
        rows = [
            INSERT_CONTENT(
                id=base + number,
                header=header,
                body=body,
                body_file=None,
                body_octets=len(body),
                checksum=checksum_of(header, body),
                refs=1,
            )
            for number, header in enumerate(headers)
        ]
        await self._run(unit(*rows))
        return base

    async def _run(self, unit: Unit) -> None:
        await self._store.run(Unit(unit.steps, Urgency.BULK))


def _mixed(
    line_ids: Sequence[range], groups: Sequence[Queued]
) -> Iterable[tuple[range, Queued, int, range]]:
    """Yield numbers of recipients for each group in turn, until all are dealt.

    A group's share of a slice is its share of the whole. With each range comes the
    first number of its group, from which its lines are dealt to.
    """
    total = sum(group.recipients for group in groups)
    turns = max(total // SLICE, 1)
    starts, start = [], 0
    for group in groups:
        starts.append(start)
        start += group.recipients
    for turn in range(turns):
        for ids, group, begin in zip(line_ids, groups, starts, strict=True):
            rows = range(
                begin + group.recipients * turn // turns,
                begin + group.recipients * (turn + 1) // turns,
            )
            if rows:
                yield ids, group, begin, rows
