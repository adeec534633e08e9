"""Sources of a pool share its mail by weight."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.accounts.directory import Pool, Source
from mailwright.ids import PoolId, SourceId
from mailwright.permit import PermitKeys
from mailwright.reputation.permits import NO_SOURCE_WAIT, Permits

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POOL = PoolId(1)
KEYS = PermitKeys("default", "mx.example", POOL)


def pool(*weights: int) -> Pool:
    sources = tuple(
        (Source(SourceId(number), f"s{number}", "", "me.example"), weight)
        for number, weight in enumerate(weights, 1)
    )
    return Pool(POOL, "main", sources)


def permits(*weights: int) -> Permits:
    return Permits(lambda: {POOL: pool(*weights)})


def test_all_that_is_wanted_is_granted() -> None:
    permit = permits(1).permit(KEYS, NOW, 7)
    assert (permit.source, permit.granted) == (1, 7)
    assert (permit.until, permit.reason) == (None, "")


def test_turns_are_spread_and_not_bunched() -> None:
    book = permits(3, 1)
    order = [book.permit(KEYS, NOW, 1).source for _ in range(8)]
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
        permit = book.permit(KEYS, NOW, want)
        assert permit.source is not None
        sent[permit.source] += permit.granted
    for number, weight in enumerate(weights, 1):
        share = sum(wants) * weight / sum(weights)
        # Nobody is ever further behind than every source's turn of the largest batch.
        assert abs(sent[SourceId(number)] - share) <= max(wants) * len(weights)


def test_the_same_questions_get_the_same_answers() -> None:
    books = [permits(2, 3, 5), permits(2, 3, 5)]
    answers = [[book.permit(KEYS, NOW, 4) for _ in range(50)] for book in books]
    assert answers[0] == answers[1]


def test_a_named_source_is_kept_and_takes_nobodys_turn() -> None:
    book, other = permits(1, 1, 1), permits(1, 1, 1)
    assert all(book.permit(KEYS, NOW, 9, SourceId(3)).source == 3 for _ in range(9))
    for _ in range(9):
        assert book.permit(KEYS, NOW, 1) == other.permit(KEYS, NOW, 1)


def test_a_named_source_that_left_the_pool_is_replaced() -> None:
    assert permits(1).permit(KEYS, NOW, 1, SourceId(9)).source == 1


def test_pools_take_turns_of_their_own() -> None:
    second = PoolId(2)
    pools = {POOL: pool(1, 1), second: Pool(second, "other", pool(1, 1).sources)}
    book = Permits(lambda: pools)
    other_keys = PermitKeys("default", "mx.example", second)
    assert book.permit(KEYS, NOW, 1).source == 1
    assert book.permit(other_keys, NOW, 1).source == 1


@pytest.mark.parametrize("pools", [{}, {POOL: pool()}])
def test_a_pool_without_sources_waits_and_says_why(pools: dict[PoolId, Pool]) -> None:
    permit = Permits(lambda: pools).permit(KEYS, NOW, 1)
    assert (permit.source, permit.granted) == (None, 0)
    assert permit.until == NOW + NO_SOURCE_WAIT
    assert permit.reason


def test_a_source_that_comes_back_is_owed_nothing() -> None:
    pools = {POOL: pool(1, 1)}
    book = Permits(lambda: pools)
    book.permit(KEYS, NOW, 1000)
    pools[POOL] = pool(1)
    book.permit(KEYS, NOW, 1)
    pools[POOL] = pool(1, 1)
    seen = Counter(book.permit(KEYS, NOW, 1).source for _ in range(100))
    assert set(seen.values()) == {50}
