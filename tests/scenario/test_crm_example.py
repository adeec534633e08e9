"""``examples/crm``: both run against a node with the sandbox behind it."""

import asyncio
import csv
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.node_process import API_KEY, NodeProcess, write_node
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

pytestmark = pytest.mark.scenario

EXAMPLES = Path(__file__).parents[2] / "examples" / "crm"
AUTHOR = "Acme <news@example.com>"
PICKY = SandboxDomain("picky.test", Behaviour(refuse_share=0.3))
ENDS = {"delivered", "bounced", "expired", "cancelled", "suppressed"}
_COUNT = 300


def written(folder: Path, net: Internet) -> Path:
    """Write a node whose only key may do all that a CRM does."""
    settings = write_node(folder, nameserver=net.nameserver, smtp_port=net.smtp_port)
    setup = folder / "setup.toml"
    text = setup.read_text()
    assert text.count('name = "crm"\n') == 1
    scopes = 'name = "crm"\nscopes = ["send", "read", "manage"]\n'
    setup.write_text(text.replace('name = "crm"\n', scopes))
    return settings


def run(folder: Path, node: NodeProcess, *words: str) -> str:
    """Run an example with the node's URL and key; return what it printed."""
    host, port = node.http
    done = subprocess.run(
        words,
        cwd=folder,
        env={
            **os.environ,
            "MAILWRIGHT_URL": f"http://{host}:{port}",
            "MAILWRIGHT_API_KEY": API_KEY,
            "no_proxy": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def drive(
    folder: Path, test: Callable[[NodeProcess, Internet], Awaitable[None]]
) -> None:
    async def scenario() -> None:
        inbox = InboxSettings(verify_share=0)
        async with (
            Internet(["mail.test", PICKY], inbox=inbox) as net,
            NodeProcess(written(folder, net)) as node,
        ):
            await test(node, net)
            assert await node.stop() == 0

    asyncio.run(scenario())


def copies(net: Internet) -> Counter[str]:
    """Return how many letters each recipient has."""
    return Counter(each for letter in net.inbox.letters for each in letter.recipients)


def events_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_python_example_counts_what_the_receivers_took(tmp_path: Path) -> None:
    words = (
        *(sys.executable, str(EXAMPLES / "campaign.py"), "--from", AUTHOR),
        *("--recipients", str(_COUNT), "--within", "90"),
        *("--domain", "mail.test", "--domain", "picky.test"),
    )

    async def test(node: NodeProcess, net: Internet) -> None:
        out = await asyncio.to_thread(run, tmp_path, node, *words)
        told = json.loads(out.splitlines()[-1])
        assert told["rows"]["accepted"] == told["rows"]["uploaded"] == _COUNT
        got = copies(net)
        assert set(got.values()) == {1}
        assert told["events"]["delivered"] == len(got)
        assert told["events"]["bounced"] == _COUNT - len(got) > 0

        ends = [
            each
            for each in events_of(tmp_path / "events.ndjson")
            if each["type"] in ENDS
        ]
        assert len(ends) == len({each["id"] for each in ends}) == _COUNT
        assert {each["metadata"]["customer"] for each in ends} == {
            str(number) for number in range(1, _COUNT + 1)
        }
        assert {
            each["recipient"] for each in ends if each["type"] == "delivered"
        } == set(got)
        # A CRM that crashed in the end does it all again: nothing is sent twice.
        again = await asyncio.to_thread(run, tmp_path, node, *words)
        assert json.loads(again.splitlines()[-1]) == told
        assert copies(net) == got

    drive(tmp_path, test)


def test_the_curl_example_ends_with_lists_of_who_got_it(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("bash", str(EXAMPLES / "campaign.sh"), AUTHOR, str(_COUNT), "picky.test")

    async def test(node: NodeProcess, net: Internet) -> None:
        out = await asyncio.to_thread(run, tmp_path, node, *words, str(port))
        assert out.splitlines()[-1] == "done: results.csv, rejects.csv, events.ndjson"
        with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
            results = {row["email"]: row["state"] for row in csv.DictReader(file)}
        got = copies(net)
        assert len(results) == _COUNT
        assert set(got.values()) == {1}
        assert {each for each, state in results.items() if state == "delivered"} == set(
            got
        )
        events = events_of(tmp_path / "events.ndjson")
        assert Counter(each["type"] for each in events if each["type"] in ENDS) == (
            Counter(results.values())
        )

    drive(tmp_path, test)
