"""Connections are shared between providers and none holds them all."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mailwright.queue.slots import Slots


def test_an_eighth_is_kept_from_any_one_provider() -> None:
    slots: Slots[str] = Slots(16)
    assert [slots.try_take("dead") for _ in range(16)] == [True] * 14 + [False] * 2
    assert [slots.try_take("well") for _ in range(3)] == [True, True, False]


def test_with_few_connections_one_provider_may_have_all() -> None:
    slots: Slots[str] = Slots(3)
    assert [slots.try_take("only") for _ in range(4)] == [True, True, True, False]


def test_the_next_is_for_the_provider_with_the_fewest() -> None:
    slots: Slots[str] = Slots(8)
    for provider in ["a"] * 5 + ["b"] * 3:
        assert slots.try_take(provider)
    slots.wait("a", "lane a")
    slots.wait("b", "lane b1")
    slots.wait("b", "lane b2")
    assert slots.is_short
    slots.free("a")
    assert slots.next_waiter() == "lane b1"
    assert slots.try_take("b")
    assert slots.next_waiter() is None


def test_who_waits_for_its_own_provider_makes_no_other_yield() -> None:
    slots: Slots[str] = Slots(8)
    for _ in range(7):
        assert slots.try_take("dead")
    slots.wait("dead", "lane")
    assert not slots.is_short
    assert slots.next_waiter() is None
    slots.free("dead")
    assert slots.is_short
    assert slots.next_waiter() == "lane"


def test_what_is_stuck_counts_for_its_own_provider_only() -> None:
    slots: Slots[str] = Slots(16)
    assert [slots.try_take("dead") for _ in range(15)] == [True] * 14 + [False]
    slots.stuck = 14
    assert not slots.try_take("dead"), "its share is used up all the same"
    assert [slots.try_take("well") for _ in range(15)] == [True] * 14 + [False]
    assert [slots.try_take("third") for _ in range(3)] == [True, True, False]
    slots.wait("third", "lane")
    slots.free("well")
    assert slots.next_waiter() == "lane"


def test_there_are_twice_the_limit_at_most_however_many_are_stuck() -> None:
    slots: Slots[str] = Slots(8)
    for provider in "abcdef":
        while slots.try_take(provider):
            slots.stuck = slots.taken
    assert slots.taken == 16
    for _ in range(7):
        slots.free("a")
    assert slots.stuck <= slots.taken


def test_a_lane_that_goes_away_waits_no_more() -> None:
    slots: Slots[str] = Slots(1)
    assert slots.try_take("a")
    slots.wait("a", "lane")
    slots.forget("a", "lane")
    slots.forget("b", "another")
    slots.free("a")
    assert slots.next_waiter() is None


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=200),
)
def test_never_more_than_there_are(limit: int, steps: list[tuple[bool, str]]) -> None:
    slots: Slots[int] = Slots(limit)
    held: Counter[str] = Counter()
    for number, (is_end, provider) in enumerate(steps):
        if is_end and held[provider]:
            held[provider] -= 1
            slots.free(provider)
        elif slots.try_take(provider):
            held[provider] += 1
        else:
            slots.wait(provider, number)
        assert slots.taken == held.total() <= limit
        assert max(held.values(), default=0) <= slots.share
