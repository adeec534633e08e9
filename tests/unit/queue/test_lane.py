"""Who feeds a lane next: classes, tenants, campaigns and lines take turns."""

from collections import Counter
from datetime import UTC, datetime

from mailwright.accounts.directory import StreamClass
from mailwright.ids import (
    CredentialId,
    LineId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.queue.lane import QUANTUM, FairLines
from mailwright.queue.line import Line, LineKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_line(
    number: int,
    tenant: int = 1,
    stream: int = 1,
    stream_class: StreamClass = StreamClass.BULK,
) -> Line:
    key = LineKey(
        TenantId(tenant),
        None,
        StreamId(stream),
        SendingDomainId(1),
        CredentialId(1),
        stream_class,
        f"d{number}.example",
        PoolId(1),
    )
    return Line(LineId(number), key, count=1_000_000, next_due_at=NOW)


def served(lines: FairLines, rounds: int, batch: int = 8) -> Counter[Line]:
    counts: Counter[Line] = Counter()
    for _ in range(rounds):
        line = lines.next_line()
        assert line is not None
        counts[line] += batch
        lines.charge(line, batch)
    return counts


def test_an_empty_lane_has_no_next_line() -> None:
    assert FairLines().next_line() is None


def test_transactional_lines_go_before_bulk_ones() -> None:
    lines = FairLines()
    bulk = make_line(1)
    urgent = make_line(2, stream_class=StreamClass.TRANSACTIONAL)
    lines.add(bulk)
    lines.add(urgent)
    assert served(lines, 50) == {urgent: 400}
    lines.remove(urgent)
    assert lines.next_line() is bulk


def test_a_tenant_with_a_thousand_lines_gets_no_more_than_one_with_one() -> None:
    lines = FairLines()
    many = [make_line(number, tenant=1) for number in range(1000)]
    single = make_line(5000, tenant=2)
    for line in [*many, single]:
        lines.add(line)
    counts = served(lines, 1000)
    assert counts[single] == sum(counts[line] for line in many)


def test_a_stream_with_many_lines_gets_no_more_than_a_stream_with_one() -> None:
    lines = FairLines()
    many = [make_line(number, stream=1) for number in range(100)]
    single = make_line(5000, stream=2)
    for line in [*many, single]:
        lines.add(line)
    counts = served(lines, 1000)
    assert counts[single] == sum(counts[line] for line in many)


def test_shares_are_counted_in_deliveries_not_in_turns() -> None:
    lines = FairLines()
    small, large = make_line(1, tenant=1), make_line(2, tenant=2)
    lines.add(small)
    lines.add(large)
    counts: Counter[Line] = Counter()
    for _ in range(2000):
        line = lines.next_line()
        assert line is not None
        batch = 1 if line is small else 8
        counts[line] += batch
        lines.charge(line, batch)
    assert abs(counts[small] - counts[large]) <= 2 * QUANTUM


def test_an_overdraft_is_made_up_for() -> None:
    lines = FairLines()
    greedy, modest = make_line(1, tenant=1), make_line(2, tenant=2)
    lines.add(greedy)
    lines.add(modest)
    lines.charge(greedy, 10 * QUANTUM)
    counts = served(lines, 20, batch=QUANTUM)
    assert counts[modest] > counts[greedy]


def test_adding_twice_is_adding_once() -> None:
    lines = FairLines()
    line = make_line(1)
    lines.add(line)
    lines.add(line)
    assert len(lines) == 1
    lines.remove(line)
    lines.remove(line)
    assert len(lines) == 0
    assert lines.next_line() is None


def test_no_line_starves_while_others_come_and_go() -> None:
    lines = FairLines()
    waiting = make_line(0, tenant=1)
    lines.add(waiting)
    for number in range(1, 400):
        visitor = make_line(number, tenant=1 + number % 7)
        lines.add(visitor)
        line = lines.next_line()
        assert line is not None
        lines.charge(line, 8)
        if line is waiting:
            return
        lines.remove(line)
    raise AssertionError("the waiting line was never served")
