"""Whatever is written in units reads back as the same value; garbage is a UnitError."""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.config.units import (
    MAX_DURATION,
    MAX_OCTETS,
    HostPort,
    Rate,
    UnitError,
    format_duration,
    format_host_port,
    format_rate,
    format_size,
    parse_duration,
    parse_host_port,
    parse_rate,
    parse_size,
)

MAX_MILLIS = MAX_DURATION // timedelta(milliseconds=1)
durations = st.integers(0, MAX_MILLIS).map(lambda ms: timedelta(milliseconds=ms))
sizes = st.integers(0, MAX_OCTETS) | st.builds(
    lambda count, unit: count * unit,
    st.integers(1, 1000),
    st.sampled_from([1000, 1024, 1000**2, 1024**2, 1000**3, 1024**3]),
)
rates = st.builds(
    Rate, st.integers(1, 10**9), st.sampled_from([1, 60, 3600]), st.integers(1, 10**9)
)
host_names = st.from_regex(
    r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,10}[a-z0-9])?){0,3}",
    fullmatch=True,
)
endpoints = st.builds(
    HostPort,
    host_names
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(lambda each: str(IPv6Address(each))),
    st.integers(0, 65535),
)


@given(durations)
def test_a_duration_reads_back_as_it_was(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


@given(sizes)
def test_a_size_reads_back_as_it_was(octets: int) -> None:
    assert parse_size(format_size(octets)) == octets


@given(rates)
def test_a_rate_reads_back_as_it_was(rate: Rate) -> None:
    assert parse_rate(format_rate(rate)) == rate


@given(endpoints)
def test_an_endpoint_reads_back_as_it_was(endpoint: HostPort) -> None:
    assert parse_host_port(format_host_port(endpoint)) == endpoint


# Texts near to what is accepted find more than noise does.
near_misses = st.text("0123456789hmsdMKGiBburt/.:[]- e+_", max_size=20) | st.text()


@pytest.mark.parametrize(
    ("parse", "form"),
    [
        (parse_duration, format_duration),
        (parse_size, format_size),
        (parse_rate, format_rate),
        (parse_host_port, format_host_port),
    ],
)
@given(text=near_misses)
def test_garbage_is_refused_and_the_rest_has_one_meaning(
    parse: Callable[[str], object], form: Callable[[object], str], text: str
) -> None:
    try:
        value = parse(text)
    except UnitError as error:
        refused = f"{error.what}{error.remedy}"
    else:
        assert parse(form(value)) == value
        return
    assert refused.isprintable()


@given(st.ip_addresses(v=4))
def test_an_ipv4_loopback_is_recognised(address: IPv4Address) -> None:
    assert HostPort(str(address), 25).is_loopback == str(address).startswith("127.")
