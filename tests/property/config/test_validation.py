"""Whatever a file says, it is settings or problems, never a crash."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwright.config.keys import keys_of
from mailwright.config.loading import load_node, validate
from mailwright.config.node import NodeSettings
from mailwright.config.problems import Problem, SettingsError
from mailwright.config.section import Section
from mailwright.config.setup import SetupFile

texts = st.text(max_size=12) | st.sampled_from(
    ["main", "acme", "a.example", "5m", "1MB", "h:25", "10.0.0.0/8", "none", "\x1b[2J"]
)
scalars = (
    st.none().map(lambda _: True)
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.datetimes()
    | texts
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)


def tables(schema: type[Section]) -> st.SearchStrategy[dict[str, Any]]:
    """Return files with known keys at the right depth and anything in them."""
    known = {}
    for key in keys_of(schema):
        if key.table is None:
            known[key.name] = st.just(key.example) | anything
        elif key.is_repeated:
            known[key.name] = st.lists(tables(key.table), max_size=2) | anything
        else:
            known[key.name] = tables(key.table) | anything
    return st.fixed_dictionaries({}, optional=known)


def problems(load: Callable[[], object]) -> tuple[Problem, ...]:
    """Return what is wrong; nothing but a SettingsError may be raised."""
    try:
        load()
    except SettingsError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("schema", [NodeSettings, SetupFile])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_file_is_settings_or_problems_in_one_printable_line_each(
    schema: type[Section], data: st.DataObject
) -> None:
    file = data.draw(tables(schema))
    for problem in problems(lambda: validate(schema, file, Path("/x.toml"))):
        assert str(problem).isprintable()
        assert problem.key
        assert problem.remedy


@given(octets=st.binary(max_size=200))
def test_any_octets_are_settings_or_problems(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(octets)
    found = problems(lambda: load_node(path))
    assert all(str(problem).isprintable() for problem in found)
    # No such noise names a node and its host.
    assert found
