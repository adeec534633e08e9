"""No bucket is ever exceeded: in any window at most burst + rate × time leave.

Whatever is asked, given back, saved, lost in a crash or done to the clock.
"""

import heapq
from collections import Counter
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.config.units import Rate
from mailwright.reputation.buckets import Buckets
from mailwright.reputation.throttle import Bucket, Throttle

SECOND = 1_000_000_000

RATES = st.builds(
    Rate, st.integers(1, 2000), st.sampled_from([1, 60, 3600]), st.integers(1, 60)
)
PAUSES = st.one_of(
    st.just(0), st.integers(0, 10 * SECOND), st.integers(0, 4000 * SECOND)
)


def throttle_of(rate: Rate) -> Throttle:
    return Throttle(rate, frozenset())


def assert_never_exceeded(sent: list[tuple[int, int]], rate: Rate) -> None:
    """``sent`` is (when, how many); every window from one grant to another is looked at.

    The worst window begins and ends at a grant, so these are all that matter. Credit is
    the slack of the best start so far: one pass instead of all pairs.
    """
    worst = 0.0
    for (earlier, _), (now, count) in pairwise([(0, 0), *sent]):
        worst = max(0.0, worst - (now - earlier) * rate.count / rate.period_s / SECOND)
        worst += count
        assert worst <= rate.burst + 1e-6


@given(RATES, st.lists(st.tuples(PAUSES, st.integers(1, 80), st.booleans())))
def test_no_window_has_more_than_the_burst_and_what_time_brings(
    rate: Rate, asked: list[tuple[int, int, bool]]
) -> None:
    bucket, now, sent = Bucket(throttle_of(rate)), 0, []
    for pause, want, is_bulk in asked:
        now += pause
        count = min(want, bucket.room("a", now, is_bulk=is_bulk))
        if count:
            bucket.take("a", now, count)
            sent.append((now, count))
    assert_never_exceeded(sent, rate)


@given(
    RATES,
    st.lists(
        st.tuples(PAUSES, st.integers(1, 80), st.integers(0, 80), st.integers(0, 5)),
        max_size=60,
    ),
)
def test_giving_back_never_makes_room_that_was_not_there(
    rate: Rate, asked: list[tuple[int, int, int, int]]
) -> None:
    bucket, now = Bucket(throttle_of(rate)), 0
    grants: list[list[int]] = []  # when, kept, mark
    for pause, want, unspent, which in asked:
        now += pause
        count = min(want, bucket.room("a", now, is_bulk=False))
        if count:
            bucket.take("a", now, count)
            grants.append([now, count, bucket.granted])
        if grants:
            grant = grants[-1 - which % len(grants)]
            returned = min(unspent, grant[1])
            if returned:
                bucket.give_back(returned, grant[2])
                grant[1] -= returned
        assert bucket.tokens(now) <= rate.burst
    assert_never_exceeded([(at, kept) for at, kept, _ in grants], rate)


@given(RATES, st.lists(st.tuples(PAUSES, st.integers(1, 80)), max_size=40))
def test_a_grant_that_is_returned_at_once_was_never_made(
    rate: Rate, asked: list[tuple[int, int]]
) -> None:
    bucket, plain, now = Bucket(throttle_of(rate)), Bucket(throttle_of(rate)), 0
    for pause, want in asked:
        now += pause
        count = min(want, bucket.room("a", now, is_bulk=False))
        if count:
            bucket.take("a", now, count)
            bucket.give_back(count - 1, bucket.granted)
            plain.take("a", now, 1)
        assert bucket.tokens(now) == plain.tokens(now)


def test_every_small_case_by_hand() -> None:
    """All sequences of five questions on a bucket of one second and two tokens."""
    rate = Rate(1, 1, 2)
    pauses = (0, SECOND // 2, SECOND, SECOND + 1, 3 * SECOND)
    for steps in product(pauses, repeat=5):
        bucket, tokens, now, sent = Bucket(throttle_of(rate)), 2 * SECOND, 0, []
        for pause in steps:
            now += pause
            tokens = min(tokens + pause, 2 * SECOND)  # counted the other way round
            assert bucket.tokens(now) == tokens // SECOND
            if bucket.tokens(now):
                bucket.take("a", now, 1)
                tokens -= SECOND
                sent.append((now, 1))
        assert_never_exceeded(sent, rate)


def drive(
    buckets: Buckets, throttle: Throttle, now: int, asked: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Ask for what ``asked`` says and return what was granted when."""
    sent = []
    for pause, want in asked:
        now += pause
        bucket = buckets.get("b", throttle, now)
        assert bucket is not None
        count = min(want, bucket.room("a", now, is_bulk=False))
        if count:
            bucket.take("a", now, count)
        sent.append((now, count))
    return sent


ASKED = st.lists(st.tuples(PAUSES, st.integers(1, 80)), max_size=30)


@given(RATES, ASKED, ASKED, st.integers(0, 5000 * SECOND))
def test_after_an_orderly_restart_decisions_go_on_as_they_were(
    rate: Rate,
    before: list[tuple[int, int]],
    after: list[tuple[int, int]],
    pause: int,
) -> None:
    throttle = throttle_of(rate)
    unbroken, stopped, started = Buckets(), Buckets(), Buckets()
    sent = drive(unbroken, throttle, 0, before)
    assert drive(stopped, throttle, 0, before) == sent
    stopped_at = sent[-1][0] if sent else 0
    now = stopped_at + pause
    started.restore(list(stopped.unfilled(stopped_at)), now)
    assert drive(started, throttle, now, after) == drive(unbroken, throttle, now, after)


@given(RATES, st.lists(ASKED, max_size=5), st.booleans())
def test_crashes_and_clocks_set_ahead_give_no_allowance_twice(
    rate: Rate, runs: list[list[tuple[int, int]]], is_jump: bool
) -> None:
    """Each run ends in a crash; wall time may jump ahead while true time does not."""
    throttle = throttle_of(rate)
    true, ahead, sent = 0, 0, []
    for run in runs:
        buckets = Buckets()
        buckets.start_empty(true + ahead)
        for at, count in drive(buckets, throttle, true + ahead, run):
            sent.append((at - ahead, count))
            true = at - ahead
        ahead += 86_400 * SECOND if is_jump else 0
    assert_never_exceeded(sent, rate)


@given(RATES, ASKED, st.integers(0, 10**9 * SECOND))
def test_a_clock_set_back_stops_nothing_for_longer_than_the_burst_takes(
    rate: Rate, before: list[tuple[int, int]], jump: int
) -> None:
    throttle = throttle_of(rate)
    stopped, started = Buckets(), Buckets()
    start = 10**9 * SECOND
    sent = drive(stopped, throttle, start, before)
    stopped_at = sent[-1][0] if sent else start
    now = stopped_at - jump
    started.restore(list(stopped.unfilled(stopped_at)), now)
    bucket = started.get("b", throttle, now)
    assert bucket is not None
    assert bucket.full_at <= now + rate.burst * throttle.interval_ns


@given(
    st.integers(1, 40),
    st.builds(Rate, st.integers(1, 50), st.sampled_from([1, 60]), st.integers(1, 20)),
    st.data(),
)
def test_whoever_waits_gets_its_turn(
    askers: int, rate: Rate, data: st.DataObject
) -> None:
    """Everyone asks when it was told to, a little late, and has endless mail."""
    throttle = throttle_of(rate)
    bucket = Bucket(throttle)
    late = data.draw(
        st.lists(st.integers(0, SECOND // 10), min_size=askers, max_size=askers)
    )
    queue = [(0, number) for number in range(askers)]
    got: Counter[int] = Counter()
    last_at = dict.fromkeys(range(askers), 0)
    longest = 0
    for _ in range(askers * 40):
        now, asker = heapq.heappop(queue)
        if bucket.room(asker, now, is_bulk=True) > 0:
            bucket.take(asker, now, 1)
            got[asker] += 1
            longest = max(longest, now - last_at[asker])
            last_at[asker] = now
        told = bucket.wait(asker, now, is_bulk=True)
        bucket.expect(asker, told)
        heapq.heappush(queue, (told + late[asker], asker))
    # Round robin, with everybody's lateness on top of each turn.
    turn = throttle.interval_ns + SECOND // 10
    assert longest <= (askers + 1) * turn * 2
    if sum(got.values()) >= 4 * askers:
        assert min(got[number] for number in range(askers)) * 3 >= max(got.values())


@given(st.integers(1, 30), st.data())
def test_a_rate_is_used_to_the_full_while_somebody_waits(
    askers: int, data: st.DataObject
) -> None:
    rate = Rate(data.draw(st.integers(1, 20)), 1, data.draw(st.integers(1, 5)))
    bucket, sent, now = Bucket(throttle_of(rate)), 0, 0
    queue = [(0, number) for number in range(askers)]
    while now < 20 * SECOND:
        now, asker = heapq.heappop(queue)
        if bucket.room(asker, now, is_bulk=True) > 0:
            bucket.take(asker, now, 1)
            sent += 1
        told = bucket.wait(asker, now, is_bulk=True)
        bucket.expect(asker, told)
        heapq.heappush(queue, (told, asker))
    assert sent >= 0.95 * 20 * rate.count


@pytest.mark.parametrize("askers", [50, 2000])
def test_many_who_wait_do_not_all_ask_for_each_token(askers: int) -> None:
    bucket, questions, sent = Bucket(throttle_of(Rate(10, 1, 1))), 0, 0
    queue = [(0, number) for number in range(askers)]
    while sent < 1000:
        now, asker = heapq.heappop(queue)
        questions += 1
        if bucket.room(asker, now, is_bulk=True) > 0:
            bucket.take(asker, now, 1)
            sent += 1
        told = bucket.wait(asker, now, is_bulk=True)
        bucket.expect(asker, told)
        heapq.heappush(queue, (told, asker))
    assert questions <= askers + 3 * sent


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5 * SECOND)), max_size=300)
)
def test_memory_is_bounded_and_forgetting_lets_nothing_through(
    asked: list[tuple[int, int]],
) -> None:
    rate = Rate(1, 1, 1)
    buckets, throttle, now = Buckets(most=20), throttle_of(rate), 0
    sent: dict[int, list[tuple[int, int]]] = {}
    for number, pause in asked:
        now += pause
        bucket = buckets.get(str(number), throttle, now)
        assert len(buckets) <= 20
        if bucket is not None and bucket.room("a", now, is_bulk=True):
            bucket.take("a", now, 1)
            sent.setdefault(number, []).append((now, 1))
    for grants in sent.values():
        assert_never_exceeded(grants, rate)
