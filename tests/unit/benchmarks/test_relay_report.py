"""What the rounds of the relay benchmark come to."""

from relaybench.measuring import Round
from relaybench.report import cpu_medians, last_line, medians, ratios, warnings


def a_round(relay: str, seconds: float, *, others: float = 0.0) -> Round:
    return Round(relay, 1000, seconds, 0, 20, 1.0, 1.0, others)


ROUNDS = [
    a_round("mailwright", 1.0),
    a_round("postfix", 4.0),
    a_round("haraka", 5.0),
    a_round("mailwright", 100.0),
    a_round("postfix", 5.0),
    a_round("haraka", 5.0),
    a_round("mailwright", 0.8),
    a_round("postfix", 4.0),
    a_round("haraka", 0.5),
]


def test_medians_do_not_see_the_one_bad_round() -> None:
    assert medians(ROUNDS) == {"mailwright": 1000.0, "postfix": 250.0, "haraka": 200.0}


def test_processor_time_is_user_and_system() -> None:
    assert cpu_medians(ROUNDS) == {"mailwright": 2.0, "postfix": 2.0, "haraka": 2.0}


def test_the_last_line_has_two_ratios_with_two_decimals() -> None:
    line = last_line(ratios(medians(ROUNDS)))
    assert line == "ratio_postfix 4.00 ratio_haraka 5.00"


def test_a_peer_left_out_has_no_ratio() -> None:
    rates = {"mailwright": 900.0, "postfix": 300.0}
    assert last_line(ratios(rates)) == "ratio_postfix 3.00 ratio_haraka n/a"
    assert last_line(ratios({"postfix": 300.0})) == "ratio_postfix n/a ratio_haraka n/a"


def test_a_sink_below_three_times_the_fastest_is_warned_of() -> None:
    rates = {"mailwright": 1000.0, "postfix": 250.0}
    assert warnings(rates, 3000.0, ROUNDS) == []
    (warning,) = warnings(rates, 2999.0, ROUNDS)
    assert "measures the sink" in warning


def test_a_machine_busy_with_other_things_is_warned_of() -> None:
    (warning,) = warnings({}, 1.0, [a_round("postfix", 1.0, others=0.4)])
    assert "40%" in warning
