"""Which lanes there may be, and who gets the next one."""

from mailwright.queue.crowd import Crowd


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
