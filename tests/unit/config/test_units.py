"""Units mean what they say, and what is refused says what is accepted."""

from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from mailwright.config.section import Ip, Network
from mailwright.config.units import (
    Duration,
    HostPort,
    Rate,
    UnitError,
    format_duration,
    format_size,
    parse_duration,
    parse_host_port,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("500ms", 0.5),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("3d", 259_200),
        ("1d2h3m4s5ms", 93_784.005),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "-5m", "1.5h", "5 m", "30m1h", "1h1h", "5M", "1w", "٥m", "5m\n"],
)
def test_a_duration_needs_numbers_with_units_largest_first(text: str) -> None:
    with pytest.raises(UnitError, match='"1h30m"'):
        parse_duration(text)


def test_a_duration_over_ten_years_is_refused() -> None:
    with pytest.raises(UnitError, match="too long"):
        parse_duration("999999999999d")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(days=1), "1d"),
        (timedelta(milliseconds=1500), "1s500ms"),
    ],
)
def test_durations_are_written_shortly(value: timedelta, text: str) -> None:
    assert format_duration(value) == text


def test_a_negative_size_is_not_written() -> None:
    with pytest.raises(ValueError, match="negative"):
        format_size(-1)


@pytest.mark.parametrize("value", [timedelta(microseconds=1), timedelta(seconds=-1)])
def test_what_no_setting_can_say_is_not_written(value: timedelta) -> None:
    with pytest.raises(ValueError, match="whole number of ms"):
        format_duration(value)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1024B", 1024),
        ("64KB", 64_000),
        ("64kb", 64_000),
        ("64KiB", 65_536),
        ("25MB", 25_000_000),
        ("25 MB", 25_000_000),
        ("2GiB", 2**31),
    ],
)
def test_sizes_are_read(text: str, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "MB", "-1", "1.5MB", "25M", "25  MB", "1XB"])
def test_a_size_needs_a_whole_number_and_a_known_unit(text: str) -> None:
    with pytest.raises(UnitError, match='"25MB"'):
        parse_size(text)


def test_a_size_is_written_with_the_largest_unit_that_is_exact() -> None:
    assert [format_size(each) for each in (0, 1500, 64_000, 65_536, 2**30)] == [
        "0",
        "1500",
        "64KB",
        "64KiB",
        "1GiB",
    ]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/min", Rate(20, 60, 1)),
        ("5000/h burst 50", Rate(5000, 3600, 50)),
        ("100/s", Rate(100, 1, 100)),
        ("7200/h", Rate(7200, 3600, 2)),
    ],
)
def test_rates_are_read_and_burst_is_a_seconds_worth(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["20", "20/day", "0/min", "5/s burst 0", "1/2min", "/s"]
)
def test_a_rate_needs_a_number_and_a_period(text: str) -> None:
    with pytest.raises(UnitError, match='"20/min"'):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:25", "127.0.0.1", 25),
        ("[::1]:25", "::1", 25),
        ("[2001:DB8:0::1]:587", "2001:db8::1", 587),
        ("Mail.Example.COM:465", "mail.example.com", 465),
        ("postfix:0", "postfix", 0),
    ],
)
def test_endpoints_are_read(text: str, host: str, port: int) -> None:
    assert parse_host_port(text) == HostPort(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "25",
        "127.0.0.1",
        ":25",
        "::1:25",
        "[::1]",
        "[::1%eth0]:25",
        "[127.0.0.1]:25",
        "127.0.0.256:25",
        "1.2.3:25",
        "host:65536",
        "host:",
        "host:+5",
        "-host:25",
        "ho st:25",
        "a..b:25",
        "host_name:25",
        "a" * 64 + ":25",
    ],
)
def test_an_endpoint_needs_a_host_and_a_port(text: str) -> None:
    with pytest.raises(UnitError, match=r"\[::1\]:25"):
        parse_host_port(text)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("localhost.example.com:1", False),
    ],
)
def test_only_loopback_is_loopback(text: str, is_loopback: bool) -> None:
    assert parse_host_port(text).is_loopback is is_loopback


def test_an_error_shows_a_hostile_value_as_one_short_printable_line() -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration("\x1b[2J\n" + "x" * 10_000)
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 100


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Duration, "1h30m"),
        (Rate, "5000/h burst 50"),
        (HostPort, "[::1]:25"),
        (Network, "10.0.0.0/8"),
        (Ip, "2001:db8::1"),
    ],
)
def test_a_type_takes_a_text_or_its_own_value_and_gives_the_text(
    kind: type, text: str
) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    value = adapter.validate_python(text)
    assert adapter.validate_python(value) == value
    assert adapter.dump_python(value, mode="json") == text
    assert adapter.json_schema()["x-kind"]
    for wrong in (True, 5, 1.5, None, [text]):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_an_evenly_spaced_rate_has_an_interval() -> None:
    assert parse_rate("20/min").interval_s == 3.0
