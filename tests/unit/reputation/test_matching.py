"""Whose a receiving side is: hosts before domains, order of answers means nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.reputation.matching import (
    DEFAULT,
    Belonging,
    Matchers,
    Matching,
    overlaps,
)
from mailwright.resolver import MxRecord

A = Matchers(("a.example",), ("alpha.test",))
B = Matchers(("b.example", "b.test"), ("beta.test",))
MATCHING = Matching({"a": A, "b": B})


def mx(*pairs: tuple[int, str]) -> list[MxRecord]:
    return [MxRecord(preference, host) for preference, host in pairs]


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("a.example", "a"),
        ("mx1.a.example", "a"),
        ("very.deep.below.a.example", "a"),
        ("mx.b.test", "b"),
        ("nota.example", None),
        ("a.example.evil.test", None),
        ("example", None),
        ("xa.example", None),
    ],
)
def test_a_suffix_is_a_host_and_all_below_it(host: str, provider: str | None) -> None:
    assert MATCHING.of_host(host) == provider


ONE = (10, "1.a.example")
LATER = (20, "1.a.example")
CASES = [
    ("one provider", "x.test", mx(ONE, (20, "2.a.example")), "a", (), True),
    ("nobody's", "x.test", mx((10, "mx.x.test")), DEFAULT, (), True),
    # What answers decides: the list of domains may have aged.
    ("moved", "alpha.test", mx((10, "mx.b.test")), "b", (), True),
    ("by domain", "alpha.test", mx((10, "mx.alpha.test")), "a", (), False),
    ("own backup", "x.test", mx(ONE, (20, "mx.x.test")), "a", (DEFAULT,), False),
    ("rented backup", "x.test", mx((10, "mx.x.test"), LATER), DEFAULT, ("a",), False),
    ("two", "x.test", mx((10, "mx.b.test"), LATER), "b", ("a",), False),
    ("two at once", "x.test", mx((10, "mx.b.test"), ONE), "a", ("b",), False),
    ("a known one", "x.test", mx((10, "0.x.test"), ONE), "a", (DEFAULT,), False),
    ("all its own", "alpha.test", mx((10, "mx.alpha.test"), LATER), "a", (), False),
    ("by both", "beta.test", mx(ONE, (20, "own.test")), "a", ("b",), False),
]


@pytest.mark.parametrize(
    ("case", "domain", "records", "provider", "others", "told"), CASES
)
def test_the_most_preferred_hosts_tell_the_provider(
    case: str,
    domain: str,
    records: list[MxRecord],
    provider: str,
    others: tuple[str, ...],
    told: bool,
) -> None:
    assert MATCHING.of(domain, records) == Belonging(provider, others, told), case


HOSTS = st.sampled_from(["1.a.example", "2.a.example", "mx.b.test", "own.x.test"])
RECORDS = st.lists(
    st.builds(MxRecord, st.sampled_from([5, 10, 20]), HOSTS), min_size=1, max_size=6
)
DOMAINS = st.sampled_from(["alpha.test", "beta.test", "x.test"])


@given(DOMAINS, RECORDS, st.data())
def test_the_order_of_an_answer_means_nothing(
    domain: str, records: list[MxRecord], data: st.DataObject
) -> None:
    other = data.draw(st.permutations(records))
    assert MATCHING.of(domain, other) == MATCHING.of(domain, records)


@given(DOMAINS, DOMAINS, RECORDS, RECORDS)
def test_where_hosts_tell_the_provider_equal_sets_have_equal_ones(
    one: str, other: str, first: list[MxRecord], second: list[MxRecord]
) -> None:
    left, right = MATCHING.of(one, first), MATCHING.of(other, second)
    if {r.host for r in first} != {r.host for r in second}:
        return
    if left.told_by_hosts and right.told_by_hosts:
        assert left.provider == right.provider
        assert left.others == right.others == ()


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (Matchers(("x.test",)), Matchers(("x.test",)), "MX suffixes x.test and x.test"),
        (Matchers(("x.test",)), Matchers(("a.b.x.test",)), "a.b.x.test and x.test"),
        (Matchers(("a.x.test",)), Matchers(("x.test",)), "a.x.test and x.test"),
        (Matchers((), ("d.test",)), Matchers((), ("d.test",)), "domain d.test"),
    ],
)
def test_matchers_of_which_two_could_be_right_are_found(
    one: Matchers, other: Matchers, what: str
) -> None:
    [found] = overlaps([("one", one), ("other", other)])
    assert {found.first, found.second} == {"one", "other"}
    assert what in found.what


def test_a_superfluous_suffix_of_one_provider_is_found_too() -> None:
    [found] = overlaps([("one", Matchers(("x.test", "mx.x.test")))])
    assert (found.first, found.second) == ("one", "one")


@pytest.mark.parametrize(
    "other",
    [
        Matchers(("notx.test",)),
        Matchers(("x.test.example",)),
        Matchers((), ("x.test",)),  # a domain and a host are different things
    ],
)
def test_what_only_looks_alike_does_not_overlap(other: Matchers) -> None:
    assert overlaps([("one", Matchers(("x.test",))), ("other", other)]) == []
