"""``mailwright queue`` and ``explain`` against a node that runs: text, JSON, statuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.node_process import write_node
from fakes.scripted_receiver import Behaviour
from fakes.threaded_node import Asked, ThreadedNode, threaded_node
from mailwright.cli.main import command_line

LATER = Behaviour(replies={"RCPT": b"450 4.2.0 come\x1b back <a@x>\r\n"})


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedNode]:
    """A node whose only receiver wants everything later; all of it is held."""
    with threaded_node(tmp_path_factory.mktemp("node"), LATER) as node:
        yield node


@pytest.fixture(autouse=True)
def clean(node: ThreadedNode) -> Iterator[None]:
    yield
    for hold in json.loads(ok(node.run("queue", "holds", "--json")).out):
        node.run("queue", "release", "--hold", hold["id"])
    ok(node.run("queue", "cancel", "--tenant", "acme", "--reason", "next test"))
    node.wait(lambda: summary(node)["lines"] == 0)
    node.wait(lambda: json.loads(node.run("queue", "holds", "--json").out) == [])


def ok(asked: Asked) -> Asked:
    assert (asked.status, asked.err) == (0, "")
    return asked


def summary(node: ThreadedNode) -> dict[str, int]:
    return json.loads(ok(node.run("queue", "summary", "--json")).out)["total"]


def held(node: ThreadedNode, *words: str) -> dict[str, object]:
    made = node.run("queue", "hold", *words, "--reason", "a test", "--json")
    return json.loads(ok(made).out)


def tried(node: ThreadedNode, *recipients: str) -> str:
    """Hand a message over, and return its id once each of its deliveries was put off.

    None of them is tried again: it is held by then.
    """
    ident = node.submit(*recipients)

    def were() -> bool:
        shown = json.loads(node.run("queue", "show", ident, "--json").out)
        return all(each["attempts"] for each in shown)

    node.wait(were)
    held(node, "--domain", "there.example")
    node.wait(lambda: summary(node)["under_way"] == 0)
    return ident


def test_a_summary_adds_up_all_or_what_is_selected(node: ThreadedNode) -> None:
    held(node, "--tenant", "acme")
    node.submit("a@there.example", "b@there.example")
    node.submit("c@there.example")

    text = ok(node.run("queue", "summary", "--by", "domain")).out.splitlines()
    assert text[0].split() == [
        "name", "lines", "deliveries", "under_way", "held", "blocked",
    ]  # fmt: skip
    assert text[1].split() == ["there.example", "1", "3", "0", "3", "3"]
    assert text[2].split() == ["total", "1", "3", "0", "3", "3"]

    some = ("--domain", "there.example", "--stream", "news", "--pool", "main")
    found = json.loads(ok(node.run("queue", "summary", *some, "--json")).out)
    assert found["total"]["deliveries"] == 3
    none = ok(node.run("queue", "summary", "--domain", "x.example", "--json"))
    assert json.loads(none.out)["total"]["deliveries"] == 0


def test_a_list_shows_lines_page_by_page(node: ThreadedNode) -> None:
    held(node, "--tenant", "acme")
    ident = node.submit("a@there.example", "b@one.example", "c@two.example")
    first = ok(node.run("queue", "list", "--limit", "2")).out.splitlines()
    assert len(first) == 3
    assert (
        "acme/news to there.example from main: 1 wait, 0 under way; hold: held by"
        in (first[0])
    )
    assert first[2].startswith("more: --after ")
    last = first[2].removeprefix("more: --after ")
    rest = ok(node.run("queue", "list", "--after", last)).out.splitlines()
    assert [" to two.example " in line for line in rest] == [True]

    found = json.loads(ok(node.run("queue", "list", "--id", ident, "--json")).out)
    assert [line["domain"] for line in found["lines"]] == [
        "there.example", "one.example", "two.example",
    ]  # fmt: skip
    line = found["lines"][1]["id"]
    (one,) = json.loads(ok(node.run("queue", "list", "--line", line, "--json")).out)[
        "lines"
    ]
    assert one["domain"] == "one.example"
    assert node.run("queue", "list", "--campaign", "7").out == ""


def test_a_delivery_is_shown_with_its_last_reply(node: ThreadedNode) -> None:
    ident = tried(node, "a@there.example")
    shown = ok(node.run("queue", "show", ident)).out.splitlines()
    assert shown[0].startswith("dlv_")
    assert " a@there.example: queued, " in shown[0]
    assert shown[1].startswith("  last reply: 450 4.2.0")
    assert "\x1b" not in shown[1]
    assert shown[2].startswith("  line ")

    delivery = shown[0].split()[0]
    (as_json,) = json.loads(ok(node.run("queue", "show", delivery, "--json")).out)
    assert (as_json["id"], as_json["message"]) == (delivery, ident)
    by_domain = node.run("queue", "show", "--domain", "there.example", "--json")
    assert [each["id"] for each in json.loads(ok(by_domain).out)] == [delivery]


def test_what_does_not_wait_is_not_shown(node: ThreadedNode) -> None:
    for words in (["msg_20260101_0000000000000"], ["--domain", "x.example"], ["junk"]):
        asked = node.run("queue", "show", *words)
        assert (asked.status, asked.out) == (1, "nothing of it waits\n")
    asked = node.run("queue", "show", "junk", "--json")
    assert (asked.status, json.loads(asked.out)) == (1, [])


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["show"], []),
        (["retry"], []),
        (["release"], []),
        (["hold"], ["--reason", "x"]),
        (["cancel"], ["--reason", "x"]),
        (["move"], ["--to-pool", "main"]),
    ],
    ids=" ".join,
)
def test_an_empty_selection_is_refused(
    node: ThreadedNode, words: list[str], more: list[str]
) -> None:
    asked = node.run("queue", *words, *more)
    assert (asked.status, asked.out) == (1, "")
    assert "empty would be everything" in asked.err
    assert json.loads(node.run("queue", "holds", "--json").out) == []


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--tenant", "nobody", "there is no such tenant"),
        ("--stream", "nothing", "there is no such stream"),
        ("--pool", "none", "there is no such pool"),
        ("--domain", "-", "is not a domain"),
        ("--line", "x", "should match pattern"),
    ],
)
def test_a_name_that_is_not_there_is_said(
    node: ThreadedNode, option: str, value: str, error: str
) -> None:
    asked = node.run("queue", "retry", option, value)
    assert (asked.status, asked.out) == (1, "")
    assert error in asked.err


@pytest.mark.parametrize(
    "selection",
    [
        ["--tenant", "acme"],
        ["--stream", "news"],
        ["--domain", "there.example"],
        ["--provider", "default"],
        ["--pool", "main"],
        ["--line", "LINE"],
        ["--id", "MESSAGE"],
        ["--id", "DELIVERY"],
    ],
    ids=" ".join,
)
def test_each_operation_takes_each_selection(
    node: ThreadedNode, selection: list[str]
) -> None:
    held(node, "--tenant", "acme", "--domain", "there.example")
    ident = node.submit("a@there.example")
    (shown,) = json.loads(node.run("queue", "show", ident, "--json").out)
    words = {"LINE": shown["line"]["id"], "MESSAGE": ident, "DELIVERY": shown["id"]}
    option, value = selection
    chosen = [option, words.get(value, value)]

    operations = [
        ("retry", []),
        ("hold", ["--reason", "x"]),
        ("cancel", ["--reason", "x"]),
    ]
    for name, more in operations:
        dry = ok(node.run("queue", name, *chosen, *more, "--dry-run"))
        assert dry.out == f"{name} would be for 1 deliveries in 1 lines\n"
    assert len(json.loads(node.run("queue", "holds", "--json").out)) == 1
    dry = ok(node.run("queue", "move", *chosen, "--to-pool", "main", "--dry-run"))
    assert dry.out == "move would be for 0 deliveries in 0 lines\n", "it is there"

    hold = held(node, *chosen)
    assert hold["deliveries"] == 1
    real = ok(node.run("queue", "release", *chosen))
    assert f"{hold['hold']} holds " in real.out
    # Nothing holds it now, so it may be under way at any moment, and comes back.
    retry = "queue", "retry", *chosen
    node.wait(
        lambda: ok(node.run(*retry)).out == "retry is for 1 deliveries in 1 lines\n"
    )
    cancel = "queue", "cancel", *chosen, "--reason", "x", "--json"
    dones = []

    def is_cancelled() -> bool:
        dones.append(json.loads(ok(node.run(*cancel)).out))
        return dones[-1]["deliveries"] > 0

    node.wait(is_cancelled)
    assert (dones[-1]["deliveries"], dones[-1]["dry_run"]) == (1, False)
    node.wait(lambda: summary(node)["deliveries"] == 0)


def test_a_hold_says_why_by_whom_and_until_when(node: ThreadedNode) -> None:
    asked = node.run(
        "queue", "hold", "--domain", "there.example",
        "--reason", "they\x1b asked", "--until", "2099-01-01T00:00+00:00",
    )  # fmt: skip
    ok(asked)
    text = ok(node.run("queue", "holds")).out
    assert "domain=there.example until 2099-01-01T00:00:00Z, by cli:" in text
    assert text.endswith(": they\\x1b asked\n")
    ident = node.submit("a@there.example")
    assert "held by cli:" in ok(node.run("explain", ident)).out
    assert ok(node.run("queue", "release", "--domain", "there.example")).out.endswith(
        "release is for 1 deliveries in 1 lines\n"
    )
    again = node.run("queue", "release", "--domain", "there.example")
    assert again.status == 1
    assert node.run("queue", "release", "--hold", "1").status == 1
    assert node.run("queue", "hold", "--line", "1", "--for", "soon").status == 2


def test_one_message_is_held_and_its_neighbours_leave(node: ThreadedNode) -> None:
    held(node, "--domain", "there.example")
    ident, other = node.submit("a@there.example"), node.submit("b@there.example")
    extent = held(node, "--id", ident)
    assert (extent["lines"], extent["deliveries"]) == (1, 1)
    node.run("queue", "release", "--domain", "there.example")

    def was_tried() -> bool:
        shown = json.loads(node.run("queue", "show", other, "--json").out)
        return bool(shown) and shown[0]["attempts"] > 0

    node.wait(was_tried)
    (still,) = json.loads(node.run("queue", "show", ident, "--json").out)
    assert (still["attempts"], still["line"]["blocked"]["by"]) == (0, "hold")
    assert f"message={ident}" in node.run("queue", "holds").out


def test_an_explanation_shows_way_limits_and_what_stops_it(node: ThreadedNode) -> None:
    ident = tried(node, "a@there.example")
    text = ok(node.run("explain", "a@there.example")).out
    assert text.startswith("there.example: by route to 127.0.0.1:")
    assert "limit per source and site: " in text
    assert "450 4.2.0 come" in text
    assert "\x1b" not in text

    found = json.loads(ok(node.run("explain", ident, "--json")).out)
    assert found["path"]["domain"] == "there.example"
    assert found["lines"][0]["last_replies"][0]["code"] == 450
    by_provider = ok(node.run("explain", "default")).out
    assert "acme/news to there.example" in by_provider
    nothing = ok(node.run("explain", "qq"))
    assert nothing.out == "nothing waits for it\n"
    wrong = node.run("explain", "a@b@c")
    assert (wrong.status, wrong.out) == (1, "")
    assert "is no address and no domain" in wrong.err
    gone = node.run("explain", "msg_20260101_0000000000000")
    assert (gone.status, gone.err) == (1, "nothing of it waits\n")


@pytest.mark.parametrize(
    ("scope", "reason"),
    [(["--tenant", "acme"], "unpaid"), (["--domain", "there.example"], "")],
    ids=["that names the tenant", "of a domain"],
)
def test_a_message_says_which_hold_stops_it_as_far_as_its_tenant_may_know(
    node: ThreadedNode, scope: list[str], reason: str
) -> None:
    end = "2099-01-01T00:00:00Z"
    ok(node.run("queue", "hold", *scope, "--reason", "unpaid", "--until", end))
    ident = node.submit("a@there.example")
    answer = node.await_(node.node.http.get(f"/v1/messages/{ident}"))
    (delivery,) = answer.json()["deliveries"]
    (hold,) = delivery["holds"]
    assert (hold["reason"], hold["author"]) == (reason, "the operator")
    assert (hold["ends_at"], hold["cancels"]) == (end, False)
    assert hold["selection"] == ({"tenant": "acme"} if reason else {})
    why = f": {reason}" if reason else ""
    assert delivery["waiting_for"] == f"held by the operator{why} (until {end})"


def test_all_mail_is_stopped_and_released(node: ThreadedNode) -> None:
    assert node.run("release-all").status == 1, "nothing is stopped"
    text = ok(node.run("stop-all", "--reason", "a\x1b fire", "--until", "2h")).out
    assert text.startswith("no mail leaves until: mailwright release-all\n")
    assert "a\\x1b fire, until " in text
    ident = node.submit("a@there.example")
    assert "held by cli:" in node.run("explain", ident).out
    stopped = json.loads(ok(node.run("stop-all", "--json")).out)
    assert (stopped["is_stopped"], len(stopped["stops"])) == (True, 2)
    assert node.run("stop-all", "--until", "soon").status == 2
    assert node.run("queue", "cancel", "--reason", "x").status == 1
    assert ok(node.run("release-all")).out.count("by cli:") == 2
    node.wait(lambda: "450" in node.run("queue", "show", ident).out)


@pytest.mark.parametrize(
    "words", [["queue", "summary"], ["queue", "holds"], ["explain", "x.example"]]
)
def test_without_a_node_there_is_no_queue_to_ask(
    tmp_path: Path, words: list[str]
) -> None:
    settings = write_node(tmp_path)
    result = CliRunner().invoke(
        command_line([words[0]]), [*words, "--settings", str(settings)]
    )
    assert result.exit_code == 1
    assert result.stderr == "the node does not run; start it first\n"


def test_without_settings_the_command_line_is_wrong() -> None:
    result = CliRunner().invoke(command_line(["queue"]), ["queue", "summary"])
    assert result.exit_code == 2
    assert "--settings" in result.stderr
