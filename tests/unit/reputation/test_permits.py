"""What may leave, from which source, and why not more."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.accounts.directory import Pool, Source
from mailwright.config.units import parse_rate
from mailwright.ids import LineId, PoolId, SourceId, TenantId
from mailwright.permit import PermitKeys, Stop
from mailwright.reputation.buckets import Buckets
from mailwright.reputation.growth import FIRST, Growth
from mailwright.reputation.ledger import DailyLimit, Ledgers, Reservation
from mailwright.reputation.limits import LimitBook
from mailwright.reputation.permits import NO_SOURCE_WAIT, Permits, State
from mailwright.reputation.throttle import Key, Throttle
from mailwright.site import Limits, Pipelining, Profile, TlsDemand

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POOL, OVERFLOW = PoolId(1), PoolId(2)
KEYS = PermitKeys("default", "mx.example", POOL)
SECOND = timedelta(seconds=1)


def profile(**changes: object) -> Profile:
    values: dict[str, object] = {
        "provider": "default",
        "connections": 100,
        "messages_per_connection": 100,
        "pipelining": Pipelining.COMMANDS,
        "tls": TlsDemand.NONE,
        "retry": (60.0,),
    }
    return Profile(**(values | changes))


PROFILE = profile()


def line_keys(
    number: int = 1, tenant: int = 1, *, site: str = "mx.example", is_bulk: bool = True
) -> PermitKeys:
    return PermitKeys(
        "default",
        site,
        POOL,
        LineId(number),
        f"d{number}.example",
        TenantId(tenant),
        is_bulk=is_bulk,
    )


def sources(*numbers: int) -> tuple[Source, ...]:
    return tuple(Source(SourceId(n), f"s{n}", "", "me.example") for n in numbers)


def pool(*weights: int, overflow: PoolId | None = None) -> Pool:
    members = zip(sources(*range(1, len(weights) + 1)), weights, strict=True)
    return Pool(POOL, "main", tuple(members), overflow)


def state() -> State:
    """A state whose reservations are durable at once."""
    ledgers: list[Ledgers] = []

    def commit(reservation: Reservation) -> None:
        ledgers[0].committed(reservation)

    ledgers.append(Ledgers(NOW.date(), commit))
    return State(Buckets(), ledgers[0], Growth(first=1000), Counter())


def permits(
    *weights: int,
    throttles: tuple[Throttle, ...] = (),
    daily: tuple[DailyLimit, ...] = (),
    pools: dict[PoolId, Pool] | None = None,
) -> Permits:
    known = pools if pools is not None else {POOL: pool(*weights)}
    return Permits(lambda: known, state(), LimitBook(lambda: throttles, lambda: daily))


def throttle(rate: str, *per: Key) -> Throttle:
    return Throttle(parse_rate(rate), frozenset(per))


# Sources


def test_without_limits_all_that_is_wanted_is_granted() -> None:
    permit = permits(1).permit(KEYS, PROFILE, NOW, 7, SourceId(1))
    assert (permit.source, permit.granted) == (1, 7)
    assert (permit.until, permit.reason) == (None, "")


def test_turns_are_spread_and_not_bunched() -> None:
    book = permits(3, 1)
    order = [book.connect(KEYS, PROFILE, NOW).source for _ in range(8)]
    assert order == [1, 1, 2, 1, 1, 1, 2, 1]


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.lists(st.integers(1, 20), min_size=1, max_size=200),
)
def test_deliveries_are_in_proportion_to_weights_whatever_the_batches(
    weights: list[int], wants: list[int]
) -> None:
    book = permits(*weights)
    sent: Counter[SourceId] = Counter()
    for want in wants:
        source = book.connect(KEYS, PROFILE, NOW).source
        assert source is not None
        if want > 1:  # the connection counted for one
            book.permit(KEYS, PROFILE, NOW, want - 1, source)
        sent[source] += want
    for number, weight in enumerate(weights, 1):
        share = sum(wants) * weight / sum(weights)
        # Nobody is ever further behind than every source's turn of the largest batch.
        assert abs(sent[SourceId(number)] - share) <= max(wants) * len(weights)


def test_a_named_source_is_asked_alone() -> None:
    book = permits(1, 1, throttles=(throttle("1/min", Key.SOURCE),))
    book.permit(KEYS, PROFILE, NOW, 1, SourceId(2))
    assert book.connect(KEYS, PROFILE, NOW, SourceId(2)).granted == 0
    assert book.connect(KEYS, PROFILE, NOW, SourceId(2)).stop is Stop.SOURCE
    assert book.connect(KEYS, PROFILE, NOW, SourceId(1)).source == 1


def test_a_source_that_left_the_pool_sends_nothing_more() -> None:
    book = permits(1)
    assert not book.has_source(POOL, SourceId(9))
    assert book.connect(KEYS, PROFILE, NOW, SourceId(9)).granted == 0
    permit = book.permit(KEYS, PROFILE, NOW, 1, SourceId(9))
    assert (permit.granted, permit.stop) == (0, Stop.SOURCE)


@pytest.mark.parametrize("pools", [{}, {POOL: pool()}])
def test_a_pool_without_sources_waits_and_says_why(pools: dict[PoolId, Pool]) -> None:
    permit = permits(pools=pools).connect(KEYS, PROFILE, NOW)
    assert (permit.source, permit.granted) == (None, 0)
    assert permit.until == NOW + NO_SOURCE_WAIT
    assert permit.reason == "the pool has no source"


def test_an_exhausted_source_is_passed_over_and_then_the_pool_waits() -> None:
    book = permits(1, 1, throttles=(throttle("1/min", Key.SOURCE),))
    used = []
    for _ in range(2):
        source = book.connect(KEYS, PROFILE, NOW).source
        assert source is not None
        assert book.permit(KEYS, PROFILE, NOW, 5, source).granted == 1
        used.append(source)
    assert sorted(used) == [1, 2]
    refused = book.connect(KEYS, PROFILE, NOW)
    assert (refused.granted, refused.stop) == (0, Stop.LANE)
    assert refused.until == NOW + timedelta(minutes=1)
    assert "throttle 1/min of source s" in refused.reason


def test_mail_overflows_to_another_pool_when_its_own_is_exhausted() -> None:
    warm = Pool(OVERFLOW, "warm", tuple((each, 1) for each in sources(8)))
    pools = {POOL: pool(1, overflow=OVERFLOW), OVERFLOW: warm}
    book = permits(pools=pools, throttles=(throttle("1/min", Key.SOURCE),))
    assert book.has_source(POOL, SourceId(8))
    assert book.connect(KEYS, PROFILE, NOW).source == 1
    book.permit(KEYS, PROFILE, NOW, 1, SourceId(1))
    assert book.connect(KEYS, PROFILE, NOW).source == 8
    assert book.permit(KEYS, PROFILE, NOW, 1, SourceId(8)).granted == 1


def test_pools_that_overflow_in_a_circle_end() -> None:
    members = tuple((each, 1) for each in sources(8))
    pools = {
        POOL: pool(1, overflow=OVERFLOW),
        OVERFLOW: Pool(OVERFLOW, "other", members, POOL),
    }
    book = permits(pools=pools, throttles=(throttle("1/h"),))
    book.permit(KEYS, PROFILE, NOW, 1, SourceId(1))
    assert book.connect(KEYS, PROFILE, NOW).granted == 0


def test_a_source_that_comes_back_is_owed_nothing() -> None:
    pools = {POOL: pool(1, 1)}
    book = permits(pools=pools)
    book.permit(KEYS, PROFILE, NOW, 1000, SourceId(1))
    pools[POOL] = pool(1)
    book.connect(KEYS, PROFILE, NOW)
    pools[POOL] = pool(1, 1, 1)
    seen = Counter(book.connect(KEYS, PROFILE, NOW).source for _ in range(99))
    assert set(seen.values()) == {33}


# Throttles


def test_a_profile_s_limits_are_counted_in_their_scopes() -> None:
    limited = profile(
        throttles=("60/min burst 4",),
        per_source=Limits(throttles=("60/min burst 6",)),
        overall=Limits(throttles=("60/min burst 8",)),
    )
    book = permits(1, 1)
    urgent = line_keys(is_bulk=False)
    elsewhere = line_keys(2, site="mx2.example", is_bulk=False)
    assert book.permit(urgent, limited, NOW, 99, SourceId(1)).granted == 4
    assert book.permit(elsewhere, limited, NOW, 99, SourceId(1)).granted == 2
    assert book.permit(elsewhere, limited, NOW, 99, SourceId(2)).granted == 2
    refused = book.permit(elsewhere, limited, NOW, 99, SourceId(2))
    assert (refused.granted, refused.stop) == (0, Stop.LANE)
    assert refused.reason == "throttle 60/min burst 8 of provider default"


def test_no_bucket_is_debited_when_another_refuses() -> None:
    book = permits(1, throttles=(throttle("1/h burst 9"), throttle("1/h", Key.TENANT)))
    # What is wanted of the wide one stays there while the narrow one refuses.
    assert book.permit(line_keys(1, tenant=1), PROFILE, NOW, 1, SourceId(1)).granted
    for _ in range(50):
        refused = book.permit(line_keys(1, tenant=1), PROFILE, NOW, 1, SourceId(1))
        assert (refused.granted, refused.stop) == (0, Stop.LINE)
    granted = [
        book.permit(line_keys(n, tenant=n), PROFILE, NOW, 1, SourceId(1)).granted
        for n in range(2, 12)
    ]
    assert sum(granted) == 7  # of nine: one was used, one is kept from bulk


def test_the_smallest_bucket_says_how_many() -> None:
    book = permits(1, throttles=(throttle("1/s burst 20"), throttle("1/s burst 5")))
    permit = book.permit(KEYS, PROFILE, NOW, 99, SourceId(1))
    assert permit.granted == 4
    assert permit.reason == "throttle 1/s burst 5 of all mail"


def test_what_is_not_spent_goes_back_to_all_that_counted_it() -> None:
    book = permits(
        1,
        throttles=(throttle("1/h burst 20"),),
        daily=(DailyLimit(1000, frozenset()),),
    )
    for _ in range(100):
        permit = book.permit(KEYS, PROFILE, NOW, 8, SourceId(1))
        assert permit.granted == 8
        book.give_back(permit, 5)
        book.give_back(permit, 3)
    assert book.permit(KEYS, PROFILE, NOW, 18, SourceId(1)).granted == 18


def test_refusals_are_counted_by_limits_and_never_by_names_of_others() -> None:
    book = permits(1, throttles=(throttle("1/h", Key.DOMAIN),))
    for number in range(3):
        for _ in range(2):
            book.permit(line_keys(number), PROFILE, NOW, 1, SourceId(1))
    assert book._state.refusals == {"throttle 1/h per domain": 3}


def test_changed_throttles_count_from_the_next_question() -> None:
    throttles: list[tuple[Throttle, ...]] = [()]
    book = Permits(lambda: {POOL: pool(1)}, state(), LimitBook(lambda: throttles[0]))
    assert book.permit(KEYS, PROFILE, NOW, 9, SourceId(1)).granted == 9
    throttles[0] = (throttle("1/s"),)
    assert book.permit(KEYS, PROFILE, NOW, 9, SourceId(1)).granted == 1


def test_without_memory_for_one_more_bucket_nothing_leaves_unlimited() -> None:
    known = {POOL: pool(1)}
    small = state()._replace(buckets=Buckets(most=2))
    book = Permits(
        lambda: known, small, LimitBook(lambda: (throttle("1/h", Key.DOMAIN),))
    )
    granted = [
        book.permit(line_keys(n), PROFILE, NOW, 1, SourceId(1)).granted
        for n in range(9)
    ]
    assert granted == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    refused = book.connect(line_keys(5), PROFILE, NOW)
    assert refused.granted == 0
    assert "throttles are in use" in refused.reason
    later = NOW + timedelta(hours=1)
    assert book.permit(line_keys(5), PROFILE, later, 1, SourceId(1)).granted == 1


# Daily limits


def test_a_day_s_allowance_ends_and_the_next_day_brings_another() -> None:
    book = permits(1, daily=(DailyLimit(3, frozenset({Key.PROVIDER})),))
    assert book.permit(KEYS, PROFILE, NOW, 9, SourceId(1)).granted == 1
    sent = 1 + sum(
        book.permit(KEYS, PROFILE, NOW, 9, SourceId(1)).granted for _ in range(9)
    )
    assert sent == 3
    refused = book.permit(KEYS, PROFILE, NOW, 1, SourceId(1))
    assert refused.until == NOW + timedelta(days=1)
    assert refused.reason == "allowance 3/day of provider default"
    assert book.connect(KEYS, PROFILE, NOW).reason == refused.reason
    tomorrow = NOW + timedelta(days=1)
    assert book.permit(KEYS, PROFILE, tomorrow, 1, SourceId(1)).granted == 1


def test_a_suspect_clock_brings_no_other_allowance() -> None:
    suspect = [True]
    known = {POOL: pool(1)}
    limits = LimitBook(daily=lambda: daily)
    daily = (DailyLimit(1, frozenset()),)
    book = Permits(lambda: known, state(), limits, lambda: suspect[0])
    assert book.permit(KEYS, PROFILE, NOW, 1, SourceId(1)).granted == 1
    later = NOW + timedelta(days=40)
    refused = book.permit(KEYS, PROFILE, later, 1, SourceId(1))
    assert refused.granted == 0
    assert refused.until is not None
    assert refused.until > later
    suspect[0] = False
    assert book.permit(KEYS, PROFILE, later, 1, SourceId(1)).granted == 1


def test_mail_waits_a_moment_while_an_allowance_is_reserved() -> None:
    known = {POOL: pool(1)}
    asked: list[Reservation] = []
    ledgers = Ledgers(NOW.date(), asked.append)
    daily = (DailyLimit(1000, frozenset()),)
    book = Permits(
        lambda: known,
        State(Buckets(), ledgers, Growth(), Counter()),
        LimitBook(daily=lambda: daily),
    )
    refused = book.permit(KEYS, PROFILE, NOW, 5, SourceId(1))
    assert refused.granted == 0
    assert "reserved" in refused.reason
    assert refused.until is not None
    assert refused.until - NOW < SECOND
    (reservation,) = asked
    ledgers.committed(reservation)
    assert book.permit(KEYS, PROFILE, NOW, 5, SourceId(1)).granted == 5


# Connections


def test_connections_are_limited_per_site_per_source_and_overall() -> None:
    limited = profile(
        connections=2, per_source=Limits(connections=3), overall=Limits(connections=4)
    )
    book = permits(1, 1)

    def connects(site: str, source: int | None = None) -> bool:
        keys = line_keys(site=site)
        named = None if source is None else SourceId(source)
        return book.connect(keys, limited, NOW, named).granted == 1

    assert [connects("a", 1) for _ in range(3)] == [True, True, False]
    assert [connects("b", 1) for _ in range(2)] == [True, False]
    assert [connects("c") for _ in range(2)] == [True, False]
    refused = book.connect(line_keys(site="c"), limited, NOW)
    assert "connections" in refused.reason
    assert refused.until is not None
    book.disconnected(line_keys(site="a"), limited, SourceId(1), has_failed=False)
    assert connects("c")


def test_connections_grow_with_success_and_shrink_with_failure() -> None:
    book = Permits(
        lambda: {POOL: pool(1)},
        state()._replace(growth=Growth()),
    )
    source = SourceId(1)

    def opened() -> int:
        count = 0
        while book.connect(KEYS, PROFILE, NOW).granted:
            count += 1
        return count

    def close(count: int, *, has_failed: bool) -> None:
        for _ in range(count):
            book.disconnected(KEYS, PROFILE, source, has_failed=has_failed)

    assert opened() == FIRST
    for _ in range(FIRST):
        book.connected(KEYS, PROFILE, source)
    assert opened() == FIRST  # twice as many
    close(2 * FIRST, has_failed=False)
    assert opened() == 2 * FIRST
    close(1, has_failed=True)
    close(2 * FIRST - 1, has_failed=False)
    assert opened() == FIRST
    close(FIRST, has_failed=True)
    assert opened() == 1  # never none
