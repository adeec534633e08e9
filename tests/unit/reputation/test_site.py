"""Equal sets of hosts have equal keys, and only those."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.reputation.site import site_key

HOSTS = st.lists(
    st.from_regex(r"[a-z]{1,3}\.[a-z]{2}", fullmatch=True), min_size=1, max_size=6
)


@given(HOSTS, st.data())
def test_order_case_and_repetition_change_nothing(
    hosts: list[str], data: st.DataObject
) -> None:
    spelled = [host.upper() + "." for host in hosts] + hosts
    other = data.draw(st.permutations(spelled))
    assert site_key(other) == site_key(hosts)


@given(HOSTS, HOSTS)
def test_different_sets_have_different_keys(one: list[str], two: list[str]) -> None:
    assert (site_key(one) == site_key(two)) == (set(one) == set(two))


@pytest.mark.parametrize(
    ("hosts", "key"),
    [
        (["mx.example.com"], "mx.example.com"),
        (["b.example", "a.example"], "a.example+1~fimrukyiwe36zcsf"),
    ],
)
def test_keys_are_kept_with_history_and_must_not_change(
    hosts: list[str], key: str
) -> None:
    assert site_key(hosts) == key


def test_no_hosts_make_no_site() -> None:
    with pytest.raises(ValueError, match="host"):
        site_key([])
