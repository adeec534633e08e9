"""Which lanes there may be, and who gets the next one."""

from datetime import UTC, datetime, timedelta

from mailwright.queue.crowd import Crowd
from mailwright.queue.open_lanes import CROWDED_REST, OpenLanes


def opened(crowd: Crowd[str], provider: str, count: int) -> int:
    """Open up to ``count`` lanes; return how many there were room for."""
    for number in range(count):
        if not crowd.has_room(provider):
            return number
        crowd.opened(provider)
    return count


def test_an_eighth_of_the_lanes_is_kept_from_any_one_provider() -> None:
    crowd: Crowd[str] = Crowd(16)
    assert opened(crowd, "many", 40) == 14
    assert opened(crowd, "other", 40) == 2
    assert not crowd.has_room("third"), "there are no more than allowed"


def test_who_waits_gets_a_lane_when_one_goes_away_in_order() -> None:
    crowd: Crowd[str] = Crowd(8)
    opened(crowd, "many", 7)
    for line in ("a", "b", "a", "c"):
        crowd.wait("many", line)
    assert crowd.next_waiter() is None, "its share is used up"
    crowd.closed("many")
    assert crowd.next_waiter() == "a"
    crowd.opened("many")
    assert crowd.next_waiter() is None
    crowd.closed("many")
    assert [crowd.next_waiter() for _ in range(3)] == ["b", "c", None]


def test_the_provider_with_the_fewest_lanes_comes_first() -> None:
    crowd: Crowd[str] = Crowd(8)
    opened(crowd, "many", 6)
    opened(crowd, "few", 2)
    crowd.wait("many", "m")
    crowd.wait("few", "f")
    crowd.closed("many")
    assert crowd.next_waiter() == "f"


def test_a_limit_that_was_raised_lets_more_in() -> None:
    crowd: Crowd[str] = Crowd(8)
    opened(crowd, "many", 8)
    crowd.wait("many", "m")
    assert crowd.next_waiter() is None
    crowd.limit = 16
    assert crowd.next_waiter() == "m"


def test_who_waits_keeps_its_place_and_may_wait_again_once_it_was_called() -> None:
    crowd: Crowd[str] = Crowd(8)
    for waiter in ("a", "b", "a", "c"):
        crowd.wait("p", waiter)
    assert crowd.next_waiter() == "a"
    crowd.wait("p", "a")
    assert [crowd.next_waiter() for _ in range(4)] == ["b", "c", "a", None]


def test_one_may_wait_for_a_lane_of_either_of_two_providers() -> None:
    crowd: Crowd[str] = Crowd(8)
    crowd.wait("p", "a")
    crowd.wait("q", "a")
    assert [crowd.next_waiter() for _ in range(3)] == ["a", "a", None]


def test_lines_that_find_no_room_within_a_second_rest_until_the_same_instant() -> None:
    lanes, now = OpenLanes(1), datetime(2026, 1, 1, tzinfo=UTC)
    first = lanes.crowded_until(now)
    assert first == now + CROWDED_REST
    assert lanes.crowded_until(now + timedelta(seconds=0.9)) is first
    later = now + timedelta(seconds=1)
    assert lanes.crowded_until(later) == later + CROWDED_REST
