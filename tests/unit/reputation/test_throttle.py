"""A bucket gives what its rate allows, in turn, and keeps a tenth for what is urgent."""

from datetime import UTC, datetime

import pytest

from mailwright.config.units import parse_rate
from mailwright.ids import CampaignId, LineId, PoolId, TenantId
from mailwright.permit import PermitKeys
from mailwright.reputation.throttle import (
    GRACE_NS,
    WAIT_MAX_NS,
    Bucket,
    Key,
    Meter,
    Throttle,
    from_ns,
    to_ns,
)

SECOND = 1_000_000_000
KEYS = PermitKeys("google", "mx.example", PoolId(1), LineId(7), "a.example")


def bucket(rate: str) -> Bucket:
    return Bucket(Throttle(parse_rate(rate), frozenset()))


def taken(one: Bucket, now: int, want: int = 1, *, asker: str = "a") -> int:
    """Take what there is room for, as bulk mail."""
    count = min(want, one.room(asker, now, is_bulk=True))
    if count:
        one.take(asker, now, count)
    else:
        one.expect(asker, one.wait(asker, now, is_bulk=True))
    return count


@pytest.mark.parametrize(
    ("rate", "interval_ns", "reserve"),
    [
        ("20/min", 3 * SECOND, 0),
        ("5000/h burst 50", 720_000_000, 5),
        ("10/s", SECOND // 10, 1),
        ("7/s", 142_857_143, 1),  # rounded up: never too many
        ("1/s burst 2", SECOND, 1),
        ("100/s burst 9", SECOND // 100, 1),
        ("1000000000000/s", 1, 100_000_000_000),
    ],
)
def test_a_rate_is_an_interval_and_a_reserve(
    rate: str, interval_ns: int, reserve: int
) -> None:
    throttle = Throttle(parse_rate(rate), frozenset())
    assert (throttle.interval_ns, throttle.reserve) == (interval_ns, reserve)


def test_without_a_burst_tokens_come_one_by_one() -> None:
    one = bucket("20/min")
    assert taken(one, 0, 5) == 1
    assert taken(one, 3 * SECOND - 1) == 0
    assert taken(one, 3 * SECOND) == 1


def test_a_pause_fills_the_burst_and_no_more() -> None:
    one = bucket("60/min burst 10")
    assert taken(one, 0, 99) == 9  # one is kept for transactional mail
    assert taken(one, 3 * SECOND, 99) == 3
    assert taken(one, 3600 * SECOND, 99) == 9


def test_transactional_mail_takes_what_is_kept_from_bulk() -> None:
    one = bucket("60/h burst 20")
    assert one.room("bulk", 0, is_bulk=True) == 18
    one.take("bulk", 0, 18)
    assert one.room("bulk", 0, is_bulk=True) == 0
    assert one.room("urgent", 0, is_bulk=False) == 2


def test_who_was_told_to_come_finds_its_token() -> None:
    one = bucket("1/s")
    assert taken(one, 0, asker="first") == 1
    assert taken(one, 0, asker="second") == 0
    assert taken(one, 0, asker="third") == 0
    # A newcomer is as late as its question, even if it asks at the very moment.
    assert taken(one, SECOND, asker="newcomer") == 0
    assert taken(one, SECOND, asker="second") == 1
    assert taken(one, 2 * SECOND, asker="first") == 0
    assert taken(one, 2 * SECOND, asker="third") == 1


def test_each_is_told_its_own_time() -> None:
    one = bucket("1/s")
    one.take("a", 0, 1)
    told = [one.wait(asker, 0, is_bulk=True) for asker in "bcde"]
    assert told == [SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND]
    assert one.wait("d", 0, is_bulk=True) == 3 * SECOND  # asking again changes nothing


def test_nobody_is_told_to_come_later_than_in_ten_minutes() -> None:
    one = bucket("1/h")
    one.take("a", 0, 1)
    assert one.wait("b", 0, is_bulk=True) == WAIT_MAX_NS


def test_a_token_is_not_kept_for_ever_for_one_who_does_not_come() -> None:
    one = bucket("1/s")
    one.take("a", 0, 1)
    one.expect("absent", one.wait("absent", 0, is_bulk=True))
    assert one.room("b", SECOND + GRACE_NS, is_bulk=True) == 0
    assert one.room("b", SECOND + GRACE_NS + 1, is_bulk=True) == 1


def test_waiting_transactional_mail_goes_before_waiting_bulk() -> None:
    one = bucket("1/s")
    one.take("a", 0, 1)
    for asker, is_bulk in (("bulk", True), ("urgent", False)):
        one.expect(asker, one.wait(asker, 0, is_bulk=is_bulk))
    assert one.room("bulk", SECOND, is_bulk=True) == 0
    assert one.room("urgent", SECOND, is_bulk=False) == 1


def test_what_is_given_back_is_there_again() -> None:
    one = bucket("60/min burst 10")
    one.take("a", 0, 5)
    mark = one.granted
    one.give_back(5, mark)
    assert one.tokens(0) == 10


def test_giving_back_late_brings_nothing_that_time_had_brought_already() -> None:
    one = bucket("1/s burst 5")
    one.take("a", 0, 5)
    mark = one.granted
    one.take("b", 3 * SECOND, 3)  # what had come in since
    one.give_back(5, mark)
    # Without the first grant there would be two left of the five.
    assert one.tokens(3 * SECOND) == 2


def test_a_full_bucket_can_be_forgotten_and_no_other() -> None:
    one = bucket("1/s")
    assert one.is_forgettable(0)
    one.take("a", 0, 1)
    assert not one.is_forgettable(SECOND - 1)
    assert one.is_forgettable(SECOND)
    one.expect("b", one.wait("b", 0, is_bulk=True))
    assert not one.is_forgettable(SECOND)
    assert one.is_forgettable(SECOND + GRACE_NS + 1)


@pytest.mark.parametrize(
    ("per", "match", "name"),
    [
        ((), (), "r"),
        ((Key.PROVIDER,), (), "r provider=google"),
        ((Key.SOURCE, Key.SITE), (), "r source=3 site=mx.example"),
        ((Key.CAMPAIGN,), (), None),  # mail of no campaign is not counted
        ((), ((Key.PROVIDER, "google"),), "r provider=google"),
        ((), ((Key.PROVIDER, "yahoo"),), None),
        (
            (Key.DOMAIN,),
            ((Key.PROVIDER, "google"),),
            "r provider=google domain=a.example",
        ),
    ],
)
def test_a_meter_names_what_it_counts(
    per: tuple[Key, ...], match: tuple[tuple[Key, str | int], ...], name: str | None
) -> None:
    assert Meter("r", frozenset(per), match).name(KEYS, 3) == name


def test_people_are_told_names_and_no_ids() -> None:
    keys = PermitKeys(
        "google",
        "mx.example",
        PoolId(1),
        tenant=TenantId(77),
        campaign=CampaignId(78),
    )
    meter = Meter("throttle 20/min", frozenset({Key.SOURCE, Key.PROVIDER, Key.TENANT}))
    assert meter.spoken(keys, "out-1") == (
        "throttle 20/min of source out-1, provider google, this tenant"
    )


def test_instants_round_up_so_that_nobody_comes_too_early() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert from_ns(to_ns(at)) == at
    assert to_ns(from_ns(to_ns(at) + 1)) == to_ns(at) + 1000
