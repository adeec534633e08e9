"""The nearest known name to one that is not known."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like ``name``, or ``None`` if none is like it."""
    matches = difflib.get_close_matches(name.lower()[:64], list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the nearest known name, or ``""``."""
    match = nearest(name, known)
    return f"did you mean {match}?" if match else ""
