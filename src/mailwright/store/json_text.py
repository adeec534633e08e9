"""JSON as it stands in rows: short, and made by one encoder.

``json.dumps`` makes an encoder for each call that asks for anything but its defaults.
"""

import json

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_json(value: object) -> str:
    """Return ``value`` as JSON without blanks; text beyond ASCII stays as it is.

    Most lists and objects in rows are empty, and cost nothing.

    Raises:
        TypeError, ValueError: it holds what JSON has no form for.
    """
    if value == ():
        return "[]"
    if value == {}:
        return "{}"
    return _ENCODER.encode(value)
