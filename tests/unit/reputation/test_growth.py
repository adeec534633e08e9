"""Connections to a site: few at first, more with success, fewer with failure."""

from hypothesis import given
from hypothesis import strategies as st

from mailwright.reputation.growth import FIRST, Growth


def test_a_site_starts_small_doubles_in_a_round_and_halves_with_a_failure() -> None:
    growth, allowed = Growth(), []
    for _ in range(4):
        allowed.append(growth.allowed("site", 20))
        for _ in range(allowed[-1]):
            growth.succeeded("site", 20)
    assert allowed == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    growth.failed("site", 20)
    assert growth.allowed("site", 20) == 10
    assert growth.allowed("elsewhere", 20) == FIRST


def test_a_lower_limit_holds_at_once() -> None:
    growth = Growth()
    for _ in range(10):
        growth.succeeded("site", 20)
    assert growth.allowed("site", 3) == 3
    growth.failed("site", 3)
    assert growth.allowed("site", 20) == 1


def test_open_connections_are_counted_for_all_their_groups() -> None:
    growth = Growth()
    growth.opened("site", "source", "provider")
    growth.opened("other site", "source", "provider")
    assert [growth.open_to(key) for key in ("site", "source", "provider")] == [1, 2, 2]
    growth.closed("site", "source", "provider")
    assert [growth.open_to(key) for key in ("site", "source", "provider")] == [0, 1, 1]


@given(st.integers(1, 30), st.lists(st.booleans(), max_size=100))
def test_one_is_always_allowed_and_never_more_than_the_limit(
    limit: int, ends: list[bool]
) -> None:
    growth = Growth()
    for is_success in ends:
        (growth.succeeded if is_success else growth.failed)("site", limit)
        assert 1 <= growth.allowed("site", limit) <= limit


def test_memory_is_bounded_and_what_is_forgotten_starts_small() -> None:
    growth = Growth(remembered=3)
    for site in range(10):
        for _ in range(5):
            growth.succeeded(site, 20)
    assert [growth.allowed(site, 20) for site in (0, 9)] == [FIRST, FIRST + 5]
