"""Failures cost tokens, successes none; the owner gets in; memory is bounded."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailwright.accounts.guesses import (
    Allowance,
    GuessLimiter,
    GuessLimits,
    network_of,
)

LIMITS = GuessLimits()


def guess(limiter: GuessLimiter, ip: str, account: str, now: float) -> bool:
    """Try a wrong secret; return whether it was looked at."""
    if limiter.take(ip, account, now) > 0:
        return False
    limiter.failed(ip, account, now)
    return True


def log_in(limiter: GuessLimiter, ip: str, account: str, now: float) -> bool:
    """Try the right secret; return whether it was looked at."""
    if limiter.take(ip, account, now) > 0:
        return False
    limiter.succeeded(ip, account, now)
    return True


def attackers(count: int) -> list[str]:
    return [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


def test_one_address_guesses_a_few_times_and_then_at_the_trickle() -> None:
    limiter = GuessLimiter()

    at_once = sum(guess(limiter, "192.0.2.1", "crm", 0.0) for _ in range(10_000))
    in_an_hour = sum(
        guess(limiter, "192.0.2.1", "crm", float(second)) for second in range(1, 3_601)
    )

    assert at_once == LIMITS.pair.burst
    assert in_an_hour == 3_600 / LIMITS.pair.interval_s


def test_one_address_that_changes_accounts_is_limited_as_well() -> None:
    limiter = GuessLimiter()
    looked_at = sum(
        guess(limiter, "192.0.2.1", f"account{n}", 0.0) for n in range(10_000)
    )
    assert looked_at == LIMITS.network.burst


def test_hundreds_of_addresses_share_what_an_account_takes() -> None:
    limiter = GuessLimiter()

    looked_at = sum(
        guess(limiter, ip, "crm", turn / 10)
        for turn in range(60)
        for ip in attackers(300)
    )

    free = 300 * LIMITS.free_mistakes
    most = free + LIMITS.account.burst + 6 / LIMITS.account.interval_s
    assert free <= looked_at <= most


def test_the_owner_logs_in_at_once_while_hundreds_of_addresses_guess() -> None:
    limiter = GuessLimiter()
    assert log_in(limiter, "198.51.100.7", "crm", 0.0)
    for turn in range(20):
        for ip in attackers(300):
            guess(limiter, ip, "crm", turn / 2)

    assert log_in(limiter, "198.51.100.7", "crm", 10.0), "from the known address"
    assert log_in(limiter, "203.0.113.9", "crm", 10.0), "from a new one"
    assert not guess(limiter, attackers(1)[0], "crm", 10.0), "the attack is limited"


def test_the_owner_may_mistype_while_hundreds_of_addresses_guess() -> None:
    limiter = GuessLimiter()
    for turn in range(20):
        for ip in attackers(300):
            guess(limiter, ip, "crm", turn / 2)
    for _ in range(LIMITS.free_mistakes - 1):
        assert guess(limiter, "198.51.100.7", "crm", 10.0)
    assert log_in(limiter, "198.51.100.7", "crm", 10.0)


def test_an_account_has_recovered_soon_after_an_attack() -> None:
    limiter = GuessLimiter()
    for ip in attackers(300):
        for _ in range(LIMITS.free_mistakes):
            assert guess(limiter, ip, "crm", 0.0)
    recovered = LIMITS.account.burst * LIMITS.account.interval_s

    assert not guess(limiter, attackers(1)[0], "crm", 0.0)
    assert guess(limiter, attackers(1)[0], "crm", recovered)


def test_right_secrets_cost_nothing() -> None:
    limiter = GuessLimiter()
    assert all(log_in(limiter, "192.0.2.1", "crm", 0.0) for _ in range(10_000))


def test_first_logins_to_many_accounts_from_one_address_cost_nothing() -> None:
    limiter = GuessLimiter()
    accounts = [f"account{n}" for n in range(1_000)]
    assert all(log_in(limiter, "192.0.2.1", each, 0.0) for each in accounts)


def test_a_program_with_the_old_secret_does_not_lock_out_one_with_the_new() -> None:
    limiter = GuessLimiter()
    assert log_in(limiter, "192.0.2.1", "crm", 0.0)
    for second in range(1, 600):
        assert guess(limiter, "192.0.2.1", "crm", float(second))
        assert log_in(limiter, "192.0.2.1", "crm", second + 0.5)


def test_even_the_owners_address_has_a_limit() -> None:
    limiter = GuessLimiter()
    assert log_in(limiter, "192.0.2.1", "crm", 0.0)
    looked_at = sum(guess(limiter, "192.0.2.1", "crm", 0.0) for _ in range(10_000))
    assert looked_at == LIMITS.own.burst


def test_a_login_opens_no_other_account_to_guesses() -> None:
    limiter = GuessLimiter()
    assert log_in(limiter, "192.0.2.1", "mine", 0.0)
    looked_at = sum(guess(limiter, "192.0.2.1", "crm", 0.0) for _ in range(10_000))
    assert looked_at == LIMITS.pair.burst


@given(st.floats(min_value=0, max_value=10), st.integers(1, 20))
def test_the_wait_is_long_enough_and_not_longer(interval_s: float, burst: int) -> None:
    interval_s += 0.5
    limits = GuessLimits(
        pair=Allowance(burst, interval_s), network=Allowance(1_000, 0.001)
    )
    limiter = GuessLimiter(limits)
    while guess(limiter, "192.0.2.1", "crm", 100.0):
        pass

    wait_s = limiter.take("192.0.2.1", "crm", 100.0)

    assert 0 < wait_s <= interval_s + 1e-6
    assume(wait_s > 1e-6)  # below, half of it is lost in rounding
    assert limiter.take("192.0.2.1", "crm", 100.0 + wait_s / 2) > 0
    assert guess(limiter, "192.0.2.1", "crm", 100.0 + wait_s + 1e-6)


def test_mistakes_are_forgotten() -> None:
    limiter = GuessLimiter()
    for _ in range(LIMITS.pair.burst):
        guess(limiter, "192.0.2.1", "crm", 0.0)
    for ip in attackers(100):
        guess(limiter, ip, "crm", 0.0)
    later = LIMITS.wrong_is_remembered_s
    assert limiter.take("192.0.2.1", "crm", later) == 0.0


def test_memory_is_bounded() -> None:
    limits = GuessLimits(entries=500)
    limiter = GuessLimiter(limits)
    for number, ip in enumerate(attackers(1_500)):
        guess(limiter, ip, f"account{number}", 0.0)
        log_in(limiter, ip, f"other{number}", 0.0)
    counts = limiter.statistics()
    assert set(counts) == {"own", "pairs", "networks", "accounts", "wrong", "right"}
    assert all(count <= limits.entries for count in counts.values())
    assert counts["wrong"] == limits.entries, "the control: it does fill up"


def test_a_long_name_costs_no_more_memory_than_a_short_one() -> None:
    limiter = GuessLimiter()
    name = "x" * 64
    for number in range(100):
        guess(limiter, "192.0.2.1", name + "y" * number, 0.0)
    assert limiter.statistics()["pairs"] == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1::1", "2001:db8:1:ffff::2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "/run/mailwright.sock"),
    ],
)
def test_addresses_of_one_network_count_together(one: str, other: str) -> None:
    assert network_of(one) == network_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:1::1", "2001:db8:2::1"),
        ("::1", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_addresses_of_different_networks_count_apart(one: str, other: str) -> None:
    assert network_of(one) != network_of(other)
