"""The first node of the README: its commands, as they stand there."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.node_process import NodeProcess

pytestmark = pytest.mark.scenario

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def first_node() -> tuple[list[str], str]:
    """Return the commands that come before the node runs, and the one for after."""
    text = (ROOT / "README.md").read_text("utf-8")
    setup, curl = _BLOCK.findall(text[text.index("## A first node") :])[:2]
    return setup.replace("…", str(ROOT)).splitlines(), curl


def shell(folder: Path, command: str, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout


def anywhere(settings: Path) -> None:
    """Let the node listen at free ports, and ask no name server."""
    text = settings.read_text()
    moved = re.sub(r'listen = "127\.0\.0\.1:\d+"', 'listen = "127.0.0.1:0"', text)
    settings.write_text(moved + '\n[dns]\nnameservers = ["127.0.0.1"]\nport = 9\n')


def test_the_first_node_of_the_readme_takes_a_message(tmp_path: Path) -> None:
    commands, curl = first_node()
    *before, serve = commands
    assert serve == "mailwright serve first.toml"
    said = {}
    for command in before:
        said[command.split(" -")[0].split("#")[0].strip()] = shell(tmp_path, command)
        if command.startswith("cp "):
            anywhere(tmp_path / "first.toml")
    key = said["mailwright key create crm"].strip()
    assert key.startswith("mw_crm_")
    assert "s1._domainkey.example.com" in said["mailwright dkim generate"]

    async def scenario() -> None:
        async with NodeProcess(tmp_path / "first.toml") as node:
            host, port = node.http
            command = curl.replace("127.0.0.1:8025", f"{host}:{port}")
            answer = json.loads(shell(tmp_path, command, KEY=key))
            assert answer["id"].startswith("msg_")
            (delivery,) = answer["recipients"]
            assert delivery["address"] == "ann@example.net"
            again = json.loads(shell(tmp_path, command, KEY=key))
            assert again == answer, "the idempotency key makes it one message"
            ask = f"curl -s -H 'Authorization: Bearer {key}' http://{host}:{port}/v1/"
            shown = json.loads(shell(tmp_path, ask + f"messages/{answer['id']}"))
            assert len(shown["deliveries"]) == 1
            events = json.loads(shell(tmp_path, f"{ask}events?after="))
            assert events["events"][0]["type"] == "received"
            assert await node.stop() == 0

    asyncio.run(scenario())
