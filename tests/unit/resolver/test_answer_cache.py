"""The pure parts: what is remembered, and how a dead resolver is spared."""

from dataclasses import replace

import pytest
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from mailwright.resolver import (
    DEAD_AFTER,
    DEAD_QUERIES_PER_S,
    FAILED_TTL_S,
    Answer,
    AnswerCache,
    MxRecord,
    Outcome,
    QueryLimiter,
)

FOUND = Answer(Outcome.FOUND, (MxRecord(1, "mx.example.com"),), 300.0)


def test_the_question_asked_longest_ago_is_forgotten_first() -> None:
    cache = AnswerCache(2)
    for name in ("a", "b"):
        cache.put((RdataType.MX, name), FOUND, 0.0)
    assert cache.get((RdataType.MX, "a"), 1.0) is not None
    cache.put((RdataType.MX, "c"), FOUND, 1.0)
    kept = [name for name in "abc" if cache.get((RdataType.MX, name), 2.0)]
    assert kept == ["a", "c"]


def test_an_answer_comes_back_whole_with_the_time_that_it_has_left() -> None:
    cache, question = AnswerCache(2), (RdataType.MX, "a")
    told = cache.put(question, replace(FOUND, reason="why"), 100.0)
    assert told == replace(FOUND, reason="why")
    assert cache.get(question, 110.0) == replace(FOUND, reason="why", ttl_s=290.0)
    failed = cache.put(question, Answer(Outcome.FAILED, reason="down"), 500.0)
    assert failed == Answer(
        Outcome.FOUND, FOUND.records, FAILED_TTL_S, "old answer, down"
    )
    assert cache.get(question, 501.0) == replace(failed, ttl_s=FAILED_TTL_S - 1)


@pytest.mark.parametrize("kind", [RdataType.A, RdataType.TXT])
def test_types_of_one_name_are_kept_apart(kind: RdataType) -> None:
    cache = AnswerCache(8)
    cache.put((RdataType.MX, "a"), FOUND, 0.0)
    assert cache.get((kind, "a"), 0.0) is None


@given(st.lists(st.floats(0, 0.1), min_size=50, max_size=300))
def test_never_more_than_fifty_queries_in_a_second_to_a_dead_resolver(
    waits: list[float],
) -> None:
    limiter = QueryLimiter()
    for _ in range(DEAD_AFTER):
        assert limiter.take(0.0)
        limiter.note(answered=False)
    now, taken = 0.0, []
    for wait in waits:
        now += wait
        if limiter.take(now):
            taken.append(now)
            limiter.note(answered=False)
    assert taken
    for index, at in enumerate(taken):
        in_second = [later for later in taken[index:] if later < at + 0.999]
        assert len(in_second) <= DEAD_QUERIES_PER_S


def test_a_living_resolver_is_not_limited() -> None:
    limiter = QueryLimiter()
    for _ in range(1000):
        limiter.note(answered=False)
        limiter.note(answered=True)
        assert limiter.take(0.0)
