"""What rows keep as JSON can be read back, and has no blanks."""

import json

import pytest

from mailwright.store.json_text import to_json


@pytest.mark.parametrize(
    "value", [(), [], {}, "", 0, None, False, ("a",), {"ä": [1, {}]}, {"a": ()}]
)
def test_it_is_what_the_encoder_of_python_writes_without_blanks(value: object) -> None:
    assert to_json(value) == json.dumps(
        value, ensure_ascii=False, separators=(",", ":")
    )


def test_what_json_has_no_form_for_is_an_error() -> None:
    with pytest.raises(TypeError):
        to_json({b"": 1}.keys())
