"""Who feeds a lane next: classes, tenants, campaigns and lines take turns."""

import time
import tracemalloc
from collections import Counter, deque
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from mailwright.accounts.directory import StreamClass
from mailwright.ids import (
    CampaignId,
    CredentialId,
    LineId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.queue.lane import FEW, QUANTA, QUANTUM, FairLines
from mailwright.queue.line import Line, LineKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_line(
    number: int,
    tenant: int = 1,
    stream: int = 1,
    stream_class: StreamClass = StreamClass.BULK,
    campaign: int | None = None,
) -> Line:
    key = LineKey(
        TenantId(tenant),
        None if campaign is None else CampaignId(campaign),
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


def test_a_campaign_of_high_priority_gets_more_and_one_of_low_its_share_still() -> None:
    priorities = {1: 0, 2: 4, 3: 7, None: 4}
    lines = FairLines(lambda campaign: priorities[campaign])
    high, usual, low = (make_line(each, campaign=each) for each in (1, 2, 3))
    none = make_line(4)
    for line in (low, usual, high, none):
        lines.add(line)
    counts = served(lines, 11_000)
    shares = {line: count / counts[usual] for line, count in counts.items()}
    assert 3.8 < shares[high] < 4.2
    assert 0.22 < shares[low] < 0.28
    assert 0.95 < shares[none] < 1.05


def test_each_step_of_priority_is_felt() -> None:
    lines = FairLines(lambda campaign: (campaign or 0) - 1)
    members = [make_line(each, campaign=each) for each in range(1, 9)]
    for line in members:
        lines.add(line)
    counts = served(lines, 20_000, batch=1)
    got = [counts[line] for line in members]
    assert all(more > 1.2 * less for more, less in pairwise(got))
    assert sorted(QUANTA, reverse=True) == list(QUANTA)


def test_priority_takes_nothing_from_another_tenant() -> None:
    lines = FairLines(lambda campaign: 0 if campaign == 1 else 7)
    mine, theirs = (
        make_line(1, tenant=1, campaign=1),
        make_line(2, tenant=2, campaign=2),
    )
    lines.add(mine)
    lines.add(theirs)
    counts = served(lines, 1000)
    assert abs(counts[mine] - counts[theirs]) <= 2 * QUANTUM


def test_a_changed_priority_acts_from_the_next_round_on() -> None:
    priorities = {1: 7, 2: 4}
    lines = FairLines(lambda campaign: priorities[campaign or 0])
    first, second = (make_line(each, campaign=each) for each in (1, 2))
    lines.add(first)
    lines.add(second)
    before = served(lines, 1000)
    assert before[second] > 3 * before[first]
    priorities[1] = 0
    after = served(lines, 1000)
    assert after[first] > 3 * after[second]


@pytest.mark.parametrize("number", [1, 2, FEW, FEW + 1, 10 * FEW])
def test_lines_take_turns_however_many_come_and_go(number: int) -> None:
    """Against a plain list: who has had its quantum goes last."""
    lines, waiting = FairLines(), deque[Line]()
    made = [make_line(each) for each in range(number)]
    for line in made:
        lines.add(line)
        waiting.append(line)
    for step in range(4 * number):
        line = lines.next_line()
        assert line is waiting[0]
        lines.charge(line, QUANTUM)
        waiting.rotate(-1)
        if step % 3 == 0:
            lines.remove(line)
            waiting.remove(line)
            lines.add(line)
            waiting.append(line)
        assert len(lines) == number
        assert set(lines) == set(made)
    for line in made:
        lines.remove(line)
    assert lines.next_line() is None
    lines.add(made[0])
    assert lines.next_line() is made[0]


def test_a_turn_among_many_lines_costs_what_one_among_few_does() -> None:
    """The first of very many is found at once, whatever was taken out before it."""

    def cpu_s_each(number: int) -> float:
        lines = FairLines()
        for each in range(number):
            lines.add(make_line(each))
        began_at = time.process_time()
        for _ in range(number):
            line = lines.next_line()
            assert line is not None
            lines.remove(line)
        return (time.process_time() - began_at) / number

    # In a plain dictionary it is fifteen times as much.
    assert cpu_s_each(100_000) < 5 * cpu_s_each(2_000)


def test_a_lane_with_one_line_takes_little_memory() -> None:
    """There are five thousand of them: with ordered dictionaries it was over 3 KB."""
    lines = FairLines()
    line = make_line(1)
    tracemalloc.start()
    try:
        lines.add(line)
        lines.next_line()
        octets = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert octets < 1_000
