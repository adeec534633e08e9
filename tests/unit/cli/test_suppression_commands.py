"""``mailwright suppression`` by both doors, on a node that runs and on one that does not."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.node_process import API_KEY, write_node
from fakes.threaded_node import Asked, ThreadedNode, threaded_node
from mailwright.cli.main import command_line

EVE = "eve@there.example"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedNode]:
    with threaded_node(tmp_path_factory.mktemp("node")) as node:
        yield node


def ok(asked: Asked) -> str:
    assert (asked.status, asked.err) == (0, "")
    return asked.out


def at_rest(folder: Path, *words: str, stdin: bytes = b"") -> Asked:
    """Run a command for a node that does not run."""
    settings = folder / "node.toml"
    if not settings.exists():
        write_node(folder)
    result = CliRunner().invoke(
        command_line(["suppression"]),
        ["suppression", *words, "--settings", str(settings)],
        input=stdin,
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Asked(result.exit_code, result.stdout, result.stderr)


def test_an_address_is_added_checked_listed_and_removed(node: ThreadedNode) -> None:
    assert node.run("suppression", "check", EVE).status == 1
    text = ok(
        node.run(
            "suppression", "add", EVE, "--note", "by\x1b telephone", "--for", "90d"
        )
    )
    assert text == "added 1; suppressed before 0\n"
    checked = ok(node.run("suppression", "check", "EVE@there.example")).splitlines()
    assert checked[0] == EVE
    assert checked[1].startswith(
        "  acme, all streams: manual (by\\x1b telephone), by cli:"
    )
    assert " until 20" in checked[1]
    (listed,) = json.loads(ok(node.run("suppression", "list", "--json")))[
        "suppressions"
    ]
    assert EVE not in json.dumps(listed)
    assert ok(node.run("suppression", "list")).startswith(f"{listed['subject']} acme, ")

    message = node.submit(EVE)
    answer = node.await_(node.node.http.get(f"/v1/messages/{message}")).json()
    assert answer["deliveries"][0]["state"] == "suppressed"
    gone = node.run("suppression", "remove", EVE)
    assert ok(gone) == f"{EVE}: the suppression is removed\n"
    again = node.run("suppression", "remove", EVE)
    assert (again.status, again.out) == (1, f"{EVE}: the suppression was not there\n")
    assert node.run("suppression", "list").out == ""


def test_one_stream_and_everyone_are_scopes_of_their_own(node: ThreadedNode) -> None:
    ok(
        node.run(
            "suppression", "add", EVE, "--stream", "news", "--reason", "unsubscribe"
        )
    )
    ok(node.run("suppression", "add", EVE, "--everyone"))
    asked = node.run("suppression", "remove", EVE)
    assert asked.status == 1
    assert "still: everyone's mail, all streams: manual, by cli:" in asked.out
    assert "still: acme, news: unsubscribe, by cli:" in asked.out
    wrong = node.run("suppression", "add", EVE, "--everyone", "--tenant", "acme")
    assert (wrong.status, "leaves no tenant" in wrong.err) == (1, True)
    ok(node.run("suppression", "remove", EVE, "--everyone"))
    ok(node.run("suppression", "remove", EVE, "--stream", "news"))


def test_a_key_of_the_api_does_as_well(node: ThreadedNode) -> None:
    url = str(node.node.http.base_url)

    def asked(*words: str, key: str = API_KEY) -> Asked:
        result = CliRunner().invoke(
            command_line(["suppression"]),
            ["suppression", *words],
            env={"MAILWRIGHT_URL": url, "MAILWRIGHT_API_KEY": key},
        )
        assert isinstance(result.exception, SystemExit | None)
        return Asked(result.exit_code, result.stdout, result.stderr)

    refused = asked("list")
    assert (refused.status, refused.err) == (1, "needs the scope manage\n")
    assert "API key" in asked("list", key="mw_none_" + "a" * 32).err
    assert "an API key is needed" in asked("list", key="").err
    made = json.loads(
        ok(node.run("key", "create", "boss", "--tenant", "acme", "--scopes", "manage",
                    "--stream", "news", "--json"))
    )  # fmt: skip
    key = made["secret"]
    assert ok(asked("add", EVE, key=key)) == "added 1; suppressed before 0\n"
    assert "by api:boss" in ok(asked("check", EVE, key=key))
    ok(asked("remove", EVE, key=key))


def test_a_spreadsheet_of_addresses_is_imported_and_again(
    node: ThreadedNode, tmp_path: Path
) -> None:
    rows = [f"Имя {number};user{number}@there.example" for number in range(10_500)]
    rows[3] = "Никто;no address"
    text = "Имя;Электронная почта\r\n" + "\r\n".join(rows) + "\r\n"
    path = tmp_path / "left.csv"
    path.write_bytes(text.encode("windows-1251"))
    words = ("suppression", "add", "--file", str(path), "--reason", "import")
    first = node.run(*words)
    assert (first.status, first.out) == (1, "added 10499; suppressed before 0\n")
    assert first.err.startswith("line 5: ")
    again = json.loads(node.run(*words, "--json").out)
    assert (again["added"], again["kept"]) == (0, 10_499)
    assert [each["line"] for each in again["invalid"]] == [5]
    assert ok(node.run("suppression", "check", "user10499@there.example"))


def test_a_list_comes_from_a_pipe_or_packed_without_a_node(tmp_path: Path) -> None:
    found = at_rest(tmp_path, "add", "--file", "-", stdin=b"a@x.example\nb@x.example\n")
    assert ok(found) == "added 2; suppressed before 0\n"
    packed = tmp_path / "more.csv.gz"
    packed.write_bytes(gzip.compress(b"b@x.example\nc@x.example\n"))
    found = at_rest(tmp_path, "add", "--file", str(packed))
    assert ok(found) == "added 1; suppressed before 1\n"
    assert at_rest(tmp_path, "check", "c@x.example").status == 0
    assert at_rest(tmp_path, "check", "d@x.example").status == 1


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text('email\na@x.example\n"b@x.example\n')
    asked = at_rest(tmp_path, "add", "--file", str(bad))
    assert asked.status == 1
    assert (
        asked.err
        == f"{bad}: line 3, column 1: a quote is opened here and never closed\n"
    )
    (tmp_path / "x.gz").write_bytes(b"\x1f\x8bno")
    assert at_rest(tmp_path, "add", "--file", str(tmp_path / "x.gz")).status == 1
    assert "No such file" in at_rest(tmp_path, "add", "--file", "/nowhere").err
    assert "give addresses, or --file" in at_rest(tmp_path, "add").err
    assert at_rest(tmp_path, "add", "no address").err.startswith("address 1: ")
    assert at_rest(tmp_path, "check", "no address").status == 1


def test_without_a_node_named_it_asks_for_one() -> None:
    result = CliRunner().invoke(command_line(["suppression"]), ["suppression", "list"])
    assert result.exit_code == 1
    assert "say which node" in result.stderr
