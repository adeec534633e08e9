"""What the rounds come to."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from relaybench.measuring import Round

#: By how much the sink must outrun the fastest relay for a figure to be the relay's.
HEADROOM: Final = 3.0
OURS: Final = "mailwright"
PEERS: Final = ("postfix", "haraka")


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    """Return each relay's median rate, in the order of their first rounds."""
    names = dict.fromkeys(each.relay for each in rounds)
    return {
        name: statistics.median(each.rate for each in rounds if each.relay == name)
        for name in names
    }


def cpu_medians(rounds: Sequence[Round]) -> dict[str, float]:
    """Return each relay's median milliseconds of processor time for a message.

    On a machine that others use too, this says more than its rate.
    """
    names = dict.fromkeys(each.relay for each in rounds)
    return {
        name: statistics.median(
            each.user_ms + each.system_ms for each in rounds if each.relay == name
        )
        for name in names
    }


def ratios(rates: Mapping[str, float]) -> dict[str, float | None]:
    """Return how many times faster than each peer we are; ``None`` if one was left out."""
    ours = rates.get(OURS)
    return {
        peer: ours / rates[peer] if ours and peer in rates else None for peer in PEERS
    }


def last_line(times: Mapping[str, float | None]) -> str:
    """Return what the run prints last, for programs to read."""
    return " ".join(
        f"ratio_{peer} {'n/a' if times[peer] is None else format(times[peer], '.2f')}"
        for peer in PEERS
    )


def round_line(each: Round) -> str:
    """Return a round on one line."""
    copies = f", {each.copies} copies" if each.copies else ""
    return (
        f"{each.relay:<12}{each.rate:>8.0f}/s  {each.seconds:>6.2f} s  "
        f"cpu a message {each.user_ms:.2f} ms user {each.system_ms:.2f} ms system  "
        f"others {each.others:>4.0%}  {each.verified} signatures good{copies}"
    )


def warnings(
    rates: Mapping[str, float], ceiling: float, rounds: Sequence[Round]
) -> list[str]:
    """Return why the figures should not be believed, if there is a reason."""
    found = []
    fastest = max(rates.values(), default=0.0)
    if ceiling < HEADROOM * fastest:
        found.append(
            f"the sink takes {ceiling:.0f}/s, less than {HEADROOM:g} times the fastest "
            "relay: this measures the sink"
        )
    worst = max((each.others for each in rounds), default=0.0)
    if worst > 0.1:
        found.append(
            f"something else used up to {worst:.0%} of this machine in a round"
        )
    return found
