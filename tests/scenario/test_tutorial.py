"""The tutorial of the first campaign: its commands, as they stand there, in order."""

import asyncio
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.node_process import NodeProcess
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import NETWORK, Internet

pytestmark = pytest.mark.scenario

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorials" / "first-campaign.md"
_SHOWN = re.compile(r"^```\n(cmp_.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Ends what a block of commands says.
_MARK = "----- end of a block -----"


def blocks() -> list[str]:
    """Return the tutorial's commands, block by block."""
    return _BLOCK.findall(TUTORIAL.read_text("utf-8"))


def first_node(folder: Path, net: Internet) -> None:
    """Set up the first node of the README, so that its internet is the sandbox."""
    setup = (ROOT / "config" / "first.setup.toml").read_text()
    node = (ROOT / "config" / "first.toml").read_text()
    node = re.sub(r'listen = "127\.0\.0\.1:\d+"', 'listen = "127.0.0.1:0"', node)
    host, port = net.nameserver
    (folder / "first.setup.toml").write_text(
        f'allowed_networks = ["{NETWORK}"]\n{setup}'
    )
    (folder / "first.toml").write_text(
        f'{node}\n[dns]\nnameservers = ["{host}"]\nport = {port}\n'
        f"[delivery]\nsmtp_port = {net.smtp_port}\n"
    )
    command = "mailwright dkim generate --domain example.com --selector s1 --out s1.pem"
    shell(folder, [command])
    assert "mailwright dkim generate" in (ROOT / "README.md").read_text("utf-8")


def shell(folder: Path, commands: list[str]) -> list[str]:
    """Run ``commands`` in one shell; return what each block printed."""
    script = "\n".join(f"{each}\necho '{_MARK}'" for each in commands)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split(f"{_MARK}\n")[:-1]


def masked(lines: list[str]) -> list[str]:
    """Return what a status says, without what differs every time."""
    return [re.sub(r"cmp_\w+|\d{4}-\d\d-\d\dT\S+", "…", line) for line in lines]


def block_with(text: str, commands: list[str]) -> int:
    (found,) = [at for at, each in enumerate(commands) if text in each]
    return found


def test_every_command_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    commands = blocks()
    inbox = InboxSettings(keep_content=True)

    async def scenario() -> tuple[list[str], list[tuple[str, bytes]]]:
        async with Internet(["example.net", "example.org"], inbox=inbox) as net:
            await asyncio.to_thread(first_node, tmp_path, net)
            async with NodeProcess(tmp_path / "first.toml") as node:
                said = await asyncio.to_thread(shell, tmp_path, commands)
                assert await node.stop() == 0
            return said, [
                (recipient, each.content or b"")
                for each in net.inbox.letters
                for recipient in each.recipients
            ]

    said, letters = asyncio.run(scenario())
    preview = said[block_with("campaign preview", commands)]
    assert "Subject: Ann, spring is here\n" in preview
    assert "Your 120 points count double" in preview
    assert said[block_with("--dry-run", commands)] == "6 rows\n"
    status = said[block_with("--follow", commands)].splitlines()
    shown = _SHOWN.search(TUTORIAL.read_text("utf-8"))
    assert shown is not None
    at = max(at for at, line in enumerate(status) if " done: " in line)
    assert masked(status[at:]) == masked(shown[1].splitlines())
    rejects = list(csv.DictReader(said[block_with("rejects", commands)].splitlines()))
    assert [(row["row"], row["outcome"]) for row in rejects] == [
        ("4", "duplicate"), ("5", "invalid"), ("6", "suppressed"),
    ]  # fmt: skip
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        results = list(csv.DictReader(file))
    assert {row["email"]: row["state"] for row in results} == dict.fromkeys(
        ("ann@example.net", "joerg@example.org", "zoe@example.net"), "delivered"
    )
    assert sorted(json.loads(row["metadata"])["customer"] for row in results) == [
        "1001", "1002", "1003",
    ]  # fmt: skip
    listed = said[block_with("campaign list", commands)].splitlines()
    assert " cancelled: Spring sale, again " in listed[-2]
    assert sorted(recipient for recipient, _ in letters) == [
        "ann@example.net", "joerg@example.org", "zoe@example.net",
    ]  # fmt: skip
    for recipient, content in letters:
        assert b"count double" in content or recipient == "joerg@example.org"
