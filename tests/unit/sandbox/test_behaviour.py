"""Behaviours are functions of what they are asked, and of their seed."""

import pytest

from mailwright.reply import Phase
from mailwright.sandbox.behaviour import (
    DEFERRED,
    GREYLISTED,
    NOT_OURS,
    RATE_LIMITED,
    UNKNOWN_USER,
    Behaviour,
    Conduct,
    Fate,
    Loss,
    Moment,
    Refusal,
    Visit,
)


def visit(local_part: str, domain: str = "d.test", source: str = "127.0.0.1") -> Visit:
    return Visit(source, "a@b.test", local_part, domain)


def fates(behaviour: Behaviour, local_part: str, times: int = 4) -> list[Fate]:
    conduct = Conduct({"d.test": behaviour})
    return [conduct.decide(visit(local_part), 0.0) for _ in range(times)]


def test_everybody_is_accepted_by_default() -> None:
    assert fates(Behaviour(), "user") == [None] * 4


def test_a_domain_that_is_not_here_is_not_ours() -> None:
    assert Conduct({}).decide(visit("user"), 0.0) is NOT_OURS


def test_deferrals_end_after_their_number() -> None:
    assert fates(Behaviour(defer_first=2), "u") == [DEFERRED, DEFERRED, None, None]


def test_deferrals_without_a_number_never_end() -> None:
    assert fates(Behaviour(defer_first=None), "u", 20) == [DEFERRED] * 20


def test_attempts_are_counted_by_recipient() -> None:
    conduct = Conduct({"d.test": Behaviour(defer_first=1)})
    first = [conduct.decide(visit(name), 0.0) for name in ("a", "b", "a", "b")]
    assert first == [DEFERRED, DEFERRED, None, None]


def test_named_local_parts_do_not_exist() -> None:
    behaviour = Behaviour(refuse_local_parts=frozenset({"gone"}))
    assert fates(behaviour, "gone", 2) == [UNKNOWN_USER] * 2
    assert fates(behaviour, "here", 2) == [None] * 2


def test_a_share_of_recipients_is_refused_always_the_same() -> None:
    behaviour = Behaviour(refuse_share=0.25, seed=7)
    refused = [n for n in range(2000) if fates(behaviour, f"u{n}", 1) != [None]]
    assert 400 < len(refused) < 600
    assert all(fates(behaviour, f"u{n}", 3) == [UNKNOWN_USER] * 3 for n in refused[:50])
    other_seed = Behaviour(refuse_share=0.25, seed=8)
    assert refused != [
        n for n in range(2000) if fates(other_seed, f"u{n}", 1) != [None]
    ]


def test_losses_strike_attempts_and_not_recipients() -> None:
    behaviour = Behaviour(loss=Loss(Moment.DOT), loss_share=0.5)
    seen = fates(behaviour, "user", 200)
    assert 60 < seen.count(None) < 140
    assert set(seen) == {None, Loss(Moment.DOT)}


def test_greylisting_knows_source_sender_and_recipient() -> None:
    conduct = Conduct({"d.test": Behaviour(greylist_s=60)})
    assert conduct.decide(visit("u"), 100.0) is GREYLISTED
    assert conduct.decide(visit("u"), 159.0) is GREYLISTED
    assert conduct.decide(visit("u", source="127.0.0.9"), 161.0) is GREYLISTED
    assert conduct.decide(visit("v"), 161.0) is GREYLISTED
    assert conduct.decide(visit("u"), 161.0) is None


@pytest.mark.parametrize(
    ("local_part", "expected"),
    [
        ("550-5.1.1", [Refusal(550, "5.1.1", "As you wish")] * 3),
        ("550-5.1.1+tag", [Refusal(550, "5.1.1", "As you wish")] * 3),
        ("451-4.7.1-x2", [Refusal(451, "4.7.1", "As you wish")] * 2 + [None]),
        (
            "554-5.7.1-dot-x1+7",
            [Refusal(554, "5.7.1", "As you wish", Phase.DOT), None, None],
        ),
        ("drop-data", [Loss(Moment.DATA)] * 3),
        ("drop-taken-x1+1", [Loss(Moment.TAKEN), None, None]),
        ("reset-dot", [Loss(Moment.DOT, is_reset=True)] * 3),
        ("250-2.0.0", [None] * 3),
        ("550", [None] * 3),
        ("drop-never", [None] * 3),
    ],
)
def test_a_local_part_can_ask_for_its_own_treatment(
    local_part: str, expected: list[Fate]
) -> None:
    assert fates(Behaviour(), local_part, 3) == expected


def test_a_rate_takes_so_many_from_each_source_within_its_window() -> None:
    conduct = Conduct({"d.test": Behaviour(rate_count=2, rate_window_s=10.0)})

    def offer(name: str, now: float, source: str = "127.0.0.1") -> Fate:
        return conduct.decide(visit(name, source=source), now)

    assert [offer(name, 0.0) for name in "abc"] == [None, None, RATE_LIMITED]
    assert offer("c", 0.0, "127.0.0.2") is None  # another source counts for itself
    assert offer("c", 9.9) is RATE_LIMITED
    assert offer("c", 10.0) is None
    assert conduct.rate_limited == 2


def test_what_is_refused_takes_nothing_from_the_rate() -> None:
    behaviour = Behaviour(rate_count=1, refuse_local_parts=frozenset({"nobody"}))
    conduct = Conduct({"d.test": behaviour})
    assert conduct.decide(visit("nobody"), 0.0) is UNKNOWN_USER
    assert conduct.decide(visit("user"), 0.0) is None
