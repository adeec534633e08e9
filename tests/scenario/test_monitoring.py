"""Prometheus itself reads the rules and what a node shows."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from fakes.running_node import DOMAIN, message, running_node

MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = MONITORING / "prometheus-rules.yml"
TESTS = MONITORING / "prometheus-rules.test.yml"

pytestmark = [pytest.mark.scenario]


def promtool(
    *arguments: str | Path, text: str = "", folder: Path = MONITORING
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, arguments)],
        input=text,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_not_else() -> None:
    done = promtool("test", "rules", TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("mailwright_ready == 0", "mailwright_ready == 1"),
        ("> 100\n        for: 10m", "> 1\n        for: 10m"),
        ('{state!="held"}', ""),
        ("< 2 * mailwright_disk_reserve", "< 1 * mailwright_disk_reserve"),
        ('{job="mailwright"} == 0', '{job="mailwright"} =='),
    ],
)
def test_a_wrong_rule_is_found(tmp_path: Path, line: str, instead: str) -> None:
    assert line in RULES.read_text()
    wrong = RULES.read_text().replace(line, instead)
    (tmp_path / RULES.name).write_text(wrong)
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    done = promtool("test", "rules", TESTS.name, folder=tmp_path)
    assert done.returncode != 0


def test_prometheus_has_nothing_to_say_against_our_metrics(tmp_path: Path) -> None:
    async def main() -> str:
        async with running_node(tmp_path) as node:
            await node.http.post("/v1/messages", json=message(f"a@{DOMAIN}"))
            await node.wait_events("delivered")
            return await node.metrics()

    done = promtool("check", "metrics", text=asyncio.run(main()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
