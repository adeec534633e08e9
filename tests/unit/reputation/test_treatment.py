"""Layers prevail key by key; the stricter of two is never looser than either."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.reputation.treatment import (
    KEYS,
    MESSAGES,
    OVERALL_CONNECTIONS,
    PIPELINING,
    RETRY,
    SITE_CONNECTIONS,
    SITE_THROTTLES,
    SOURCE_CONNECTIONS,
    SOURCE_THROTTLES,
    TLS,
    Layer,
    Resolved,
    resolve,
    stricter,
)
from mailwright.site import Limits, Pipelining, TlsDemand

BASE = {
    SITE_CONNECTIONS: 10,
    MESSAGES: 100,
    PIPELINING: Pipelining.COMMANDS,
    TLS: TlsDemand.OPPORTUNISTIC,
    RETRY: (300.0,),
}


def resolved(name: str, **changes: Any) -> Resolved:
    says = {key.replace("__", "."): value for key, value in changes.items()}
    return resolve(name, [Layer("base", BASE), Layer(name, says)])


def test_a_later_layer_prevails_key_by_key_and_is_named() -> None:
    one = Layer("one", {MESSAGES: 5, TLS: TlsDemand.NONE})
    two = Layer("two", {MESSAGES: 7})
    found = resolve("p", [Layer("base", BASE), one, two])
    assert (found.values[MESSAGES], found.origins[MESSAGES]) == (7, "two")
    assert (found.values[TLS], found.origins[TLS]) == (TlsDemand.NONE, "one")
    assert found.origins[RETRY] == "base"


def test_what_a_profile_needs_and_nobody_says_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"pipelining, retry, tls"):
        resolve("p", [Layer("half", {SITE_CONNECTIONS: 1, MESSAGES: 1})])


def test_a_profile_has_every_scope() -> None:
    profile = resolved(
        "p",
        per_source_and_site__throttles=("1/s",),
        per_source__connections=20,
        per_source__throttles=("20/min",),
        overall__connections=500,
    ).profile()
    assert profile.provider == "p"
    assert profile.connections == 10
    assert profile.throttles == ("1/s",)
    assert profile.per_source == Limits(20, ("20/min",))
    assert profile.overall == Limits(500)


@pytest.mark.parametrize("wider", [SOURCE_CONNECTIONS, OVERALL_CONNECTIONS])
def test_a_site_never_gets_more_connections_than_a_wider_scope_allows(
    wider: str,
) -> None:
    profile = resolve("p", [Layer("base", BASE), Layer("x", {wider: 3})]).profile()
    assert profile.connections == 3


def test_between_two_providers_the_stricter_value_counts_and_says_whose_it_is() -> None:
    one = resolved(
        "one", messages_per_connection=50, per_source__throttles=("20/min", "1/s")
    )
    other = resolved(
        "other",
        messages_per_connection=20,
        tls=TlsDemand.ENCRYPTED,
        pipelining=Pipelining.TRANSACTIONS,
        retry=(1.0,),
        per_source__connections=5,
        per_source__throttles=("1/s", "5/s"),
    )
    both = stricter(one, other)
    assert both.provider == "one"
    assert dict(both.values) == {
        SITE_CONNECTIONS: 10,
        SOURCE_CONNECTIONS: 5,
        SOURCE_THROTTLES: ("20/min", "1/s", "5/s"),
        MESSAGES: 20,
        PIPELINING: Pipelining.COMMANDS,
        TLS: TlsDemand.ENCRYPTED,
        RETRY: (300.0,),
    }
    assert both.origins[MESSAGES] == both.origins[TLS] == "other"
    assert both.origins[SOURCE_THROTTLES] == "one; other"
    assert both.origins[SITE_CONNECTIONS] == both.origins[PIPELINING] == "base"


COUNTS = st.integers(1, 30)
THROTTLES = st.lists(st.sampled_from(["1/s", "2/s", "9/min"]), min_size=1, unique=True)
SAYS = st.fixed_dictionaries(
    {},
    optional={
        SITE_CONNECTIONS: COUNTS,
        SOURCE_CONNECTIONS: COUNTS,
        OVERALL_CONNECTIONS: COUNTS,
        MESSAGES: COUNTS,
        SITE_THROTTLES: THROTTLES.map(tuple),
        PIPELINING: st.sampled_from(Pipelining),
        TLS: st.sampled_from(TlsDemand),
    },
)
TREATMENTS = SAYS.map(lambda says: resolve("p", [Layer("b", BASE), Layer("p", says)]))


@given(TREATMENTS, TREATMENTS)
def test_the_stricter_is_never_looser_than_either(
    one: Resolved, other: Resolved
) -> None:
    both = stricter(one, other).values
    for each in (one.values, other.values):
        for key in (
            SITE_CONNECTIONS,
            SOURCE_CONNECTIONS,
            OVERALL_CONNECTIONS,
            MESSAGES,
        ):
            assert key not in each or both[key] <= each[key]
        assert set(each.get(SITE_THROTTLES, ())) <= set(both.get(SITE_THROTTLES, ()))
        assert not each[TLS].forbids_clear or both[TLS].forbids_clear
        assert each[TLS] is not TlsDemand.REQUIRED or both[TLS] is TlsDemand.REQUIRED
        assert (
            each[PIPELINING] is not Pipelining.NONE
            or both[PIPELINING] is Pipelining.NONE
        )


@given(TREATMENTS, TREATMENTS)
def test_it_does_not_matter_whose_limits_come_first(
    one: Resolved, other: Resolved
) -> None:
    left, right = stricter(one, other).values, stricter(other, one).values
    for key in set(KEYS) - {SITE_THROTTLES}:
        assert left.get(key) == right.get(key)


@given(TREATMENTS)
def test_with_itself_a_treatment_stays_as_it_is(one: Resolved) -> None:
    assert stricter(one, one) == one
