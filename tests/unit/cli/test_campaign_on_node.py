"""``mailwright campaign`` with a key, against a node that runs."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.node_process import API_KEY
from fakes.threaded_node import Asked, ThreadedNode, threaded_node
from mailwright.cli.main import command_line

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedNode]:
    with threaded_node(tmp_path_factory.mktemp("node")) as node:
        yield node


def run(node: ThreadedNode, *words: str) -> Asked:
    result = CliRunner().invoke(
        command_line(["campaign"]),
        ["campaign", *words],
        env={
            "MAILWRIGHT_URL": str(node.node.http.base_url),
            "MAILWRIGHT_API_KEY": API_KEY,
        },
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Asked(result.exit_code, result.stdout, result.stderr)


def ok(asked: Asked) -> str:
    assert asked.status == 0, asked.err
    return asked.out


def created(node: ThreadedNode, folder: Path, **members: str) -> str:
    job = {"name": "News", "from": "Acme <a@example.com>", "subject": "Hi {{ name }}"}
    path = folder / "job.json"
    path.write_text(json.dumps({**job, "text": "Hello {{ name }}", **members}))
    return ok(run(node, "create", str(path))).strip()


def written(folder: Path) -> Path:
    rows = [f"u{number}@there.example;Name {number}" for number in range(25)]
    rows += ["U3@there.example;twice", "nobody;none"]
    path = folder / "list.csv"
    path.write_text("E-Mail;name\n" + "\n".join(rows) + "\n", "utf-16")
    return path


def test_a_campaign_runs_from_a_spreadsheet_to_its_results(
    node: ThreadedNode, tmp_path: Path
) -> None:
    ident = created(node, tmp_path)
    words = ("upload", ident, str(written(tmp_path)), "--chunk-rows", "10", "--json")
    first, again = (json.loads(ok(run(node, *words))) for _ in range(2))
    assert (first["rows"], first["before"], first["chunks"]) == (27, 0, 3)
    assert (again["rows"], again["before"]) == (27, 27)
    preview = ok(run(node, "preview", ident, "--field", "name=Ann"))
    assert "Subject: Hi Ann\n" in preview
    ok(run(node, "start", ident))
    followed = run(node, "status", ident, "--follow", "--every", "0.1", "--json")
    last = json.loads(ok(followed).splitlines()[-1])
    assert last["state"] == "done"
    assert last["rows"] == {
        "uploaded": 27, "accepted": 25, "duplicate": 1, "invalid": 1, "suppressed": 0,
    }  # fmt: skip
    assert last["deliveries"]["delivered"] == 25
    results = list(csv.DictReader(io.StringIO(ok(run(node, "results", ident)))))
    assert {row["email"] for row in results} == {
        f"u{number}@there.example" for number in range(25)
    }
    rejects = ok(run(node, "rejects", ident, "--json")).splitlines()
    assert [json.loads(line)["row"] for line in rejects] == [26, 27]
    assert ident in ok(run(node, "list", "--state", "done"))
    refused = run(node, "pause", ident)
    assert (refused.status, "it is done" in refused.err) == (1, True)


def test_a_broken_template_is_refused_with_field_and_line(
    node: ThreadedNode, tmp_path: Path
) -> None:
    path = tmp_path / "job.json"
    job = {"name": "x", "from": "a@example.com", "subject": "s", "html": "a\n{% if %}"}
    path.write_text(json.dumps(job))
    asked = run(node, "create", str(path))
    assert asked.status == 1
    assert asked.out == ""
    assert asked.err == "html:2: unexpected end of block\n"


def test_a_campaign_that_is_cancelled_ends_following_with_its_own_status(
    node: ThreadedNode, tmp_path: Path
) -> None:
    ident = created(node, tmp_path)
    ok(run(node, "upload", ident, str(written(tmp_path))))
    ok(run(node, "change", ident, "--pace", "1/h", "--priority", "7"))
    ok(run(node, "start", ident))
    ok(run(node, "cancel", ident))
    followed = run(node, "status", ident, "--follow", "--every", "0.1")
    assert followed.status == 3
    assert f"{ident} cancelled: News\n" in followed.out
