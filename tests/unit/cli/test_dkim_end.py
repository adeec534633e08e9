"""``mailwright dkim retire`` and ``revoke`` on a node that runs, with mail that waits."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.threaded_node import ThreadedNode, threaded_node
from mailwright.accounts.settings.document import format_document

KEY = ("--domain", "example.com", "--selector")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ThreadedNode]:
    """A node whose sending domain has a second key ready."""
    with threaded_node(tmp_path) as node:
        wanted = tomllib.loads(node.run("export").out)
        second = {"selector": "s2", "key_file": "s1.pem"}
        wanted["sending_domain"][0]["extra_keys"] = [second]
        file = tmp_path / "wanted.toml"
        file.write_text(format_document(wanted))
        applied = node.run("apply", str(file))
        assert applied.status == 0, applied.err
        yield node


def test_mail_that_waits_is_signed_with_the_key_in_place_of_a_revoked_one(
    node: ThreadedNode,
) -> None:
    node.run("queue", "hold", "--domain", "there.example", "--reason", "a test")
    ident = node.submit("a@there.example")
    done = node.run(
        *("dkim", "revoke", *KEY, "s1", "--replacement", "s2", "--reason", "leaked")
    )
    assert (done.status, done.err) == (0, "")
    assert done.out == ("the key s1 of example.com is revoked\ns2 signs from now on\n")
    node.run("queue", "release", "--domain", "there.example")

    def delivered() -> bool:
        return len(node.node.receiver.contents) == 1

    node.wait(delivered)
    [content] = node.node.receiver.contents
    assert b"s=s2" in content
    assert b"s=s1" not in content
    events = node.await_(node.node.wait_events("delivered"))
    [event] = [each for each in events if each.type == "delivered"]
    note = "signed with s2: the DKIM key s1 of example.com was revoked"
    assert note in event.data["edits"], ident
    log = json.loads(node.run("settings", "log", "--json").out)
    assert log["versions"][0]["reason"] == "leaked"
    assert log["versions"][0]["author"].startswith("cli:")


def test_a_key_that_signs_is_not_retired_without_another(node: ThreadedNode) -> None:
    refused = node.run("dkim", "retire", *KEY, "s1")
    assert refused.status == 1
    assert "name the key that takes its place. There are: s2" in refused.err
    done = node.run("dkim", "retire", *KEY, "s1", "--replacement", "s2", "--json")
    assert json.loads(done.out) == {
        "domain": "example.com",
        "selector": "s1",
        "ended": "retired",
        "replacement": "s2",
    }


def test_contradicting_options_are_refused(node: ThreadedNode) -> None:
    both = ("--replacement", "s2", "--no-replacement")
    refused = node.run("dkim", "revoke", *KEY, "s1", *both)
    assert refused.status == 2
    assert "contradict" in refused.err
