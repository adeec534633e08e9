"""Sites that are known by domain, within a limit."""

from mailwright.queue.lookups import Lookups
from mailwright.site import Pipelining, Profile, Site, TlsDemand

PROFILE = Profile("default", 1, 1, Pipelining.NONE, TlsDemand.NONE, (300.0,))
MAX = 80


def site(name: str) -> Site:
    return Site(name, (), (), PROFILE, until=100.0)


def known(lookups: Lookups, count: int) -> list[int]:
    return [n for n in range(count) if lookups.known(f"d{n}.example", 0.0)]


def test_the_site_remembered_longest_ago_is_forgotten_first() -> None:
    lookups = Lookups(sites_max=MAX)
    for number in range(MAX):
        lookups.remember(f"d{number}.example", site("a"))
    lookups.remember("d0.example", site("b"))
    assert known(lookups, MAX) == list(range(MAX))
    lookups.remember(f"d{MAX}.example", site("a"))
    left = known(lookups, MAX + 1)
    assert left[0] == 0
    assert left[-1] == MAX
    assert left[1:] == list(range(MAX - len(left) + 2, MAX + 1))


def test_never_more_sites_than_allowed_are_known_and_most_of_them_stay() -> None:
    lookups, count = Lookups(sites_max=MAX), 10 * MAX
    for number in range(count):
        lookups.remember(f"d{number}.example", site("a"))
        assert min(number + 1, MAX * 3 // 4) <= len(known(lookups, number + 1)) <= MAX


def test_a_stale_site_is_not_known() -> None:
    lookups = Lookups()
    lookups.remember("d0.example", site("a"))
    assert lookups.known("d0.example", 99.0) is not None
    assert lookups.known("d0.example", 100.0) is None


def test_with_room_for_one_site_the_last_is_known() -> None:
    lookups = Lookups(sites_max=1)
    for number in range(5):
        lookups.remember(f"d{number}.example", site("a"))
        assert known(lookups, 5) == [number]
