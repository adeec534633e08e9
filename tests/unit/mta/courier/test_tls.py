from datetime import UTC, datetime, timedelta

from mailwright.mta.tls import RecentTlsFailures

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_failure_is_remembered_for_three_days() -> None:
    memory = RecentTlsFailures()
    assert not memory.is_broken("mx.example.com", NOW)
    memory.remember("mx.example.com", "bad record", NOW)
    assert memory.reason("mx.example.com") == "bad record"
    assert memory.is_broken("mx.example.com", NOW + timedelta(days=3, seconds=-1))
    assert not memory.is_broken("my.example.com", NOW)
    assert not memory.is_broken("mx.example.com", NOW + timedelta(days=3))
    assert memory.reason("mx.example.com") == ""


def test_a_second_failure_begins_the_days_anew() -> None:
    memory = RecentTlsFailures()
    memory.remember("mx.example.com", "one", NOW)
    memory.remember("mx.example.com", "two", NOW + timedelta(days=2))
    assert memory.is_broken("mx.example.com", NOW + timedelta(days=4))


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = RecentTlsFailures(max_hosts=2)
    for host in ("a", "b", "a", "c"):
        memory.remember(host, "x", NOW)
    assert [memory.is_broken(host, NOW) for host in ("a", "b", "c")] == [
        True,
        False,
        True,
    ]
