"""A file that cannot be used says where and why; one that can is used as a whole."""

from pathlib import Path

import pytest

from mailwright.config.loading import (
    MAX_FILE_OCTETS,
    load_node,
    load_setup,
    supplied_node_key,
)
from mailwright.config.problems import Problem, SettingsError

NODE = 'name = "mta1"\nhostname = "mta1.example.com"\n'


def only_problem(path: Path) -> Problem:
    with pytest.raises(SettingsError) as caught:
        load_node(path)
    (problem,) = caught.value.problems
    assert caught.value.is_unreadable == problem.what.startswith("cannot be read")
    return problem


def test_a_right_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(NODE + 'bootstrap = "setup.toml"\n')
    (tmp_path / "setup.toml").write_text('[[tenant]]\nname = "acme"\n')
    settings = load_node(path)
    assert settings.bootstrap is not None
    assert load_setup(settings.bootstrap).tenant[0].name == "acme"


def test_relative_paths_do_not_depend_on_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node.toml").write_text(NODE + 'state_dir = "state"\n')
    monkeypatch.chdir(tmp_path)
    assert load_node(Path("node.toml")).state_dir == tmp_path / "state"


@pytest.mark.parametrize(
    ("content", "line", "column", "what"),
    [
        (b'name = "mta1"\nhostname = \n', 2, 12, "invalid value"),
        (b'name = "mta1"\nname = "mta2"\n', 2, 14, "overwrite"),
        (b'name = "mta1', 1, 13, "unterminated string"),
        (b"= 1\n", 1, 1, "invalid statement"),
        (b'name = "mta1"\nhostname = "\xff"\n', 2, 13, "is not UTF-8"),
    ],
)
def test_broken_toml_is_named_by_line_and_column(
    tmp_path: Path, content: bytes, line: int, column: int, what: str
) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(content)
    problem = only_problem(path)
    assert (problem.line, problem.column) == (line, column)
    assert what in problem.what
    assert str(problem).startswith(f"{path}:{line}:{column}: ")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"9" * 5_000, "is not TOML"),
        (b"a = 2026-13-45\n", "is not TOML"),
        (b"#" * (MAX_FILE_OCTETS + 1), "over 16 MiB"),
    ],
    ids=["deep", "long integer", "no date", "large"],
)
def test_hostile_toml_is_a_problem_and_no_crash(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(content)
    assert what in only_problem(path).what


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    assert "No such file" in only_problem(tmp_path / "none.toml").what


def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    assert "Is a directory" in only_problem(tmp_path).what


def test_a_hostile_file_name_is_escaped(tmp_path: Path) -> None:
    assert "\\x1b[2J" in str(only_problem(tmp_path / "\x1b[2J.toml"))


def test_systemd_may_supply_the_node_key(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert supplied_node_key({}) is None
    assert supplied_node_key(environ) is None
    (tmp_path / "node.key").write_bytes(bytes(32))
    assert supplied_node_key(environ) == tmp_path / "node.key"
