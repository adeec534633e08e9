from datetime import UTC, datetime, timedelta

import pytest

from mailwright.queue.campaign.window import WindowError, parse_window

BERLIN = "Europe/Berlin"
OFFICE = {
    "timezone": BERLIN,
    "ranges": [
        {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "18:00"}
    ],
}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def of(*ranges: dict, timezone: str = BERLIN, recipients: bool = False):
    return parse_window(
        {
            "timezone": timezone,
            "recipient_timezone": recipients,
            "ranges": list(ranges),
        }
    )


def test_a_window_is_open_from_its_first_minute_up_to_its_last() -> None:
    window = parse_window(OFFICE)
    assert not window.is_open(utc(2026, 6, 1, 6, 59, 59))
    assert window.is_open(utc(2026, 6, 1, 7, 0))  # 09:00 in Berlin's summer
    assert window.is_open(utc(2026, 6, 1, 15, 59, 59))
    assert not window.is_open(utc(2026, 6, 1, 16, 0))


def test_a_weekend_is_passed_over() -> None:
    friday_evening = utc(2026, 6, 5, 16, 0)
    assert parse_window(OFFICE).opens_at(friday_evening) == utc(2026, 6, 8, 7, 0)


def test_an_open_window_opens_now() -> None:
    now = utc(2026, 6, 1, 10, 30, 12)
    assert parse_window(OFFICE).opens_at(now) == now


def test_a_range_may_run_over_midnight_and_begins_on_its_day() -> None:
    night = of({"days": ["fri"], "from": "22:00", "to": "02:00"}, timezone="UTC")
    assert night.is_open(utc(2026, 6, 5, 22, 0))
    assert night.is_open(utc(2026, 6, 6, 1, 59))
    assert not night.is_open(utc(2026, 6, 6, 2, 0))
    assert not night.is_open(utc(2026, 6, 6, 22, 0)), "Saturday night is not named"
    assert night.changes_at(utc(2026, 6, 5, 23, 0)) == utc(2026, 6, 6, 2, 0)


def test_several_ranges_that_touch_are_one() -> None:
    window = of(
        {"from": "08:00", "to": "12:00"},
        {"from": "12:00", "to": "13:00"},
        timezone="UTC",
    )
    assert window.changes_at(utc(2026, 6, 1, 9)) == utc(2026, 6, 1, 13)


def test_a_whole_day_ends_at_twenty_four() -> None:
    monday = of({"days": ["mon"], "from": "00:00", "to": "24:00"}, timezone="UTC")
    assert monday.changes_at(utc(2026, 6, 1, 9)) == utc(2026, 6, 2)
    assert monday.opens_at(utc(2026, 6, 2)) == utc(2026, 6, 8)


def test_the_recipients_own_zone_counts_where_it_is_known() -> None:
    window = of({"from": "09:00", "to": "18:00"}, recipients=True)
    now = utc(2026, 1, 5, 12, 0)
    assert window.is_open(now)
    assert not window.is_open(now, "America/Los_Angeles")
    assert window.opens_at(now, "America/Los_Angeles") == utc(2026, 1, 5, 17, 0)
    assert window.is_open(now, "Mars/Olympus"), "an unknown zone is the campaign's"
    fixed = of({"from": "09:00", "to": "18:00"})
    assert fixed.is_open(now, "America/Los_Angeles"), "unless it was not asked for"


def test_a_range_that_begins_in_a_missing_hour_begins_when_that_is_over() -> None:
    # 2026-03-29: 02:00 becomes 03:00 in Berlin, at 01:00 UTC.
    window = of({"days": ["sun"], "from": "02:30", "to": "05:00"})
    assert window.opens_at(utc(2026, 3, 28, 12)) == utc(2026, 3, 29, 1, 0)
    assert window.changes_at(utc(2026, 3, 29, 1, 0)) == utc(2026, 3, 29, 3, 0)


def test_a_range_within_a_missing_hour_is_left_out_that_week() -> None:
    window = of({"days": ["sun"], "from": "02:15", "to": "02:45"})
    assert window.opens_at(utc(2026, 3, 28, 12)) == utc(2026, 4, 5, 0, 15)


def test_a_repeated_hour_counts_twice_and_nothing_in_between_does() -> None:
    # 2026-10-25: 03:00 becomes 02:00 in Berlin, at 01:00 UTC.
    window = of({"days": ["sun"], "from": "01:00", "to": "02:30"})
    now = utc(2026, 10, 24, 22, 0)
    seen = []
    for _ in range(4):
        now = window.changes_at(now)
        seen.append((now, window.is_open(now)))
    assert seen == [
        (utc(2026, 10, 24, 23, 0), True),
        (utc(2026, 10, 25, 0, 30), False),
        (utc(2026, 10, 25, 1, 0), True),  # clocks show 02:00 once more
        (utc(2026, 10, 25, 1, 30), False),
    ]


def test_what_is_parsed_is_spelled_the_same() -> None:
    window = of(
        {"days": ["sun", "mon"], "from": "22:00", "to": "02:00"},
        {"from": "09:00", "to": "24:00"},
        recipients=True,
    )
    assert parse_window(window.to_json()) == window
    assert "mon sun 22:00-02:00" in str(window)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "window"),
        ({"ranges": []}, "window.ranges"),
        ({"ranges": [{"from": "09:00", "to": "18:00"}] * 51}, "window.ranges"),
        ({"ranges": [1]}, "window.ranges[0]"),
        ({"ranges": [{"from": "9:00", "to": "18:00"}]}, "window.ranges[0].from"),
        ({"ranges": [{"from": "24:00", "to": "18:00"}]}, "window.ranges[0].from"),
        ({"ranges": [{"from": "09:00", "to": "24:01"}]}, "window.ranges[0].to"),
        ({"ranges": [{"from": "09:00"}]}, "window.ranges[0].to"),
        ({"ranges": [{"from": "09:00\n", "to": "10:00"}]}, "window.ranges[0].from"),
        (
            {"ranges": [{"from": "09:00", "to": "10:00", "days": []}]},
            "window.ranges[0].days",
        ),
        (
            {"ranges": [{"from": "09:00", "to": "10:00", "days": [["mon"]]}]},
            "window.ranges[0].days",
        ),
        (
            {"ranges": [{"from": "09:00", "to": "10:00", "at": 1}]},
            "window.ranges[0].at",
        ),
        ({"timezone": "Mars/Olympus", "ranges": []}, "window.timezone"),
        ({"timezone": "../../etc/passwd", "ranges": []}, "window.timezone"),
        ({"timezone": "Europe", "ranges": []}, "window.timezone"),
        ({"recipient_timezone": 1, "ranges": []}, "window.recipient_timezone"),
        ({"zone": "UTC"}, "window.zone"),
    ],
)
def test_what_is_no_window_is_refused_with_the_place(given: object, field: str) -> None:
    with pytest.raises(WindowError) as caught:
        parse_window(given)
    assert caught.value.field == field


def test_an_opening_is_looked_for_beyond_a_week() -> None:
    window = of({"days": ["mon"], "from": "09:00", "to": "10:00"}, timezone="UTC")
    now = utc(2026, 6, 1, 10, 0)
    assert window.opens_at(now) - now == timedelta(days=6, hours=23)
