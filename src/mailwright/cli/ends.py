"""When something is to end, as people say it: so long from now, or at an instant."""

from datetime import datetime

import typer

from mailwright.clock import SystemClock
from mailwright.config.units import UnitError, parse_duration


def end_of(text: str, option: str) -> datetime:
    """Return the instant that ``text`` names: ``2h`` from now, or one in ISO form.

    Raises:
        typer.BadParameter: it names none; ``option`` is where it was given.
    """
    try:
        return SystemClock().now() + parse_duration(text)
    except UnitError:
        pass
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        end = None
    if end is None or end.tzinfo is None:
        raise typer.BadParameter(
            "say how long, such as 2h, or when, such as 2026-03-01T08:00+00:00",
            param_hint=option,
        )
    return end
