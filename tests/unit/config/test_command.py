"""``mailwright config`` answers people in lines and programs in JSON."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mailwright.cli.main import command_line
from mailwright.config.reference import reference_page

app = command_line()

EXAMPLES = Path(__file__).parents[3] / "config"
RIGHT = 'name = "mta1"\nhostname = "mta1.example.com"\n'


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["config", *map(str, arguments)])


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(RIGHT)
    return path


def test_a_right_file_is_ok(node: Path) -> None:
    result = run("check", node)
    assert (result.exit_code, result.output) == (0, f"{node}: ok (node file)\n")


def test_a_wrong_file_exits_2_and_names_each_key(node: Path) -> None:
    node.write_text(RIGHT + "[limits]\nerrorz = 5\npatience = 5\n")
    result = run("check", node)
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{node}: limits.patience: ")
    assert lines[1] == (
        f"{node}: limits.errorz: is not a known key; did you mean errors?"
    )


def test_an_unreadable_file_exits_2(tmp_path: Path) -> None:
    for command in ("check", "show"):
        assert run(command, tmp_path / "none.toml").exit_code == 2


def test_programs_get_one_object(node: Path) -> None:
    node.write_text(RIGHT + 'nme = "x"\n')
    result = run("check", node, "--json")
    assert result.exit_code == 2
    assert json.loads(result.output) == {
        "ok": False,
        "files": [{"file": str(node), "kind": "node"}],
        "problems": [
            {
                "file": str(node),
                "key": "nme",
                "what": "is not a known key",
                "remedy": "did you mean name?",
                "line": None,
                "column": None,
            }
        ],
    }


def test_the_bootstrap_file_is_checked_too() -> None:
    path = EXAMPLES / "one-ip.toml"
    result = run("check", path, "--no-files")
    assert result.exit_code == 0
    assert f"{EXAMPLES / 'one-ip.setup.toml'}: ok (setup file)" in result.output
    missing = run("check", path)
    assert missing.exit_code == 2
    assert "sending_domain[0].key_file" in missing.output


def test_a_setup_file_is_recognised_or_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[[tenant]]\nname = "acme"\n')
    assert "ok (setup file)" in run("check", path).output
    path.write_text("")
    assert run("check", path).exit_code == 2
    assert "ok (setup file)" in run("check", path, "--setup").output


def test_show_prints_what_is_in_force(node: Path) -> None:
    result = run("show", node)
    assert result.exit_code == 0
    assert 'name = "mta1"\n' in result.output
    assert 'listen = "127.0.0.1:8025"  # default\n' in result.output


def test_show_names_what_is_wrong(node: Path) -> None:
    node.write_text("name = 1\n")
    result = run("show", node)
    assert result.exit_code == 2
    assert "name: must be a text" in result.output


def test_the_example_passes_its_own_check(tmp_path: Path) -> None:
    (tmp_path / "setup.toml").write_text(run("example", "--setup").output)
    (tmp_path / "node.toml").write_text(run("example").output)
    result = run("check", tmp_path / "node.toml", "--no-files")
    assert result.exit_code == 0, result.output


def test_the_schema_is_json() -> None:
    assert "smtp" in json.loads(run("schema").output)["properties"]
    assert "tenant" in json.loads(run("schema", "--setup").output)["properties"]


def test_the_reference_is_the_page() -> None:
    assert run("reference").output == reference_page()


def test_a_terminal_gets_a_table_in_which_texts_are_no_markup(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    node.write_text(RIGHT + '"[red]nme" = 1\n')
    result = run("check", node)
    assert result.exit_code == 2
    assert "what to do" in result.output
    assert '"[red]nme"' in result.output
