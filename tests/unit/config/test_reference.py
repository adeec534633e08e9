"""Page, schema, sample and effective settings are made from the code and agree."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailwright.config.keys import Key, keys_of
from mailwright.config.loading import load_node, load_setup, validate
from mailwright.config.node import NodeSettings
from mailwright.config.problems import SettingsError
from mailwright.config.reference import json_schema, reference_page
from mailwright.config.sample import sample
from mailwright.config.section import Section
from mailwright.config.setup import SetupFile
from mailwright.config.toml import format_settings, format_value

ROOT = Path(__file__).parents[3]
SCHEMAS = [NodeSettings, SetupFile]


def every_key(schema: type[Section], place: str = "") -> Iterator[tuple[str, Key]]:
    for key in keys_of(schema):
        yield f"{place}{key.name}", key
        if key.table is not None:
            yield from every_key(key.table, f"{place}{key.name}.")


def wrong_keys(schema: type[Section], text: str) -> set[str]:
    try:
        validate(schema, tomllib.loads(text), Path("sample.toml"))
    except SettingsError as error:
        return {each.key for each in error.problems}
    return set()


PAGE = reference_page()
ALL_KEYS = [pair for schema in SCHEMAS for pair in every_key(schema)]


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert page == PAGE, "run: mailwright config reference > docs/reference/settings.md"


@pytest.mark.parametrize(
    ("place", "key"), ALL_KEYS, ids=[place for place, _ in ALL_KEYS]
)
def test_every_setting_has_text_and_example(place: str, key: Key) -> None:
    assert key.text.endswith(".")
    assert key.example is not None
    assert f"`{key.name}`" in PAGE or f"{place}]" in PAGE
    if type(key.example) is int:  # a bool is no number
        assert key.unit or "port" in key.name


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_sample_is_a_right_file(schema: type[Section]) -> None:
    text = sample(schema)
    validate(schema, tomllib.loads(text), Path("sample.toml"))
    assert max(map(len, text.splitlines())) <= 96


@pytest.mark.parametrize("schema", SCHEMAS)
def test_everything_the_sample_leaves_out_is_spelled_right_too(
    schema: type[Section],
) -> None:
    everything = re.sub(r"^#(?! )", "", sample(schema), flags=re.MULTILINE)
    assert everything.count("\n[") == sum(
        1 for _, key in every_key(schema) if key.table is not None
    )
    # Every key at once contradicts itself here and there, and nothing else is wrong.
    assert wrong_keys(schema, everything) <= {
        "credential[0].secret",
        "credential[0].secret_file",
        "route[0].password",
        "route[0].tls",
        "sending_domain[0].extra_keys[0].key",
        "sending_domain[0].key",
    }


def test_the_json_schema_spells_values_as_a_file_does() -> None:
    schema = json_schema(NodeSettings)
    delivery = schema["$defs"]["DeliverySettings"]["properties"]
    assert delivery["retry"]["default"][0] == "5m"
    assert delivery["idle_connection"]["default"] == "5s"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "hostname"]
    json.dumps(schema)


def test_the_json_schema_uses_the_keys_of_the_file() -> None:
    stream = json_schema(SetupFile)["$defs"]["StreamSection"]
    assert "class" in stream["required"]


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.toml")))
def test_effective_settings_mean_what_the_file_means(path: Path) -> None:
    load = load_setup if path.name.endswith(".setup.toml") else load_node
    settings = load(path)
    text = format_settings(settings)
    again = validate(type(settings), tomllib.loads(text), Path("/elsewhere/x.toml"))
    assert again == settings


def test_effective_settings_mark_what_the_file_did_not_say() -> None:
    data = {"name": "n", "hostname": "h.example", "limits": {"errors": 10}}
    settings = validate(NodeSettings, data, Path("n.toml"))
    lines = format_settings(settings).splitlines()
    assert "errors = 10" in lines
    assert "commands = 100000  # default" in lines
    assert "# bootstrap = (not set)" in lines


@pytest.mark.parametrize(
    "value",
    ["", 'a"b\\c\n\x00\x7f\x1b é 🎉', 0, -5, True, [], ["a", 1], {"a.b c": "x"}, {}],
)
def test_a_written_value_reads_back(value: object) -> None:
    assert tomllib.loads(f"x = {format_value(value)}") == {"x": value}


def test_what_toml_cannot_say_is_an_error() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        format_value(None)
