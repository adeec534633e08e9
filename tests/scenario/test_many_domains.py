"""A job for very many domains, and a short form of the measures on the standing load.

``make bench-scale`` runs both at full size: 40 000 domains, a million recipients.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import many_domains
import scale
from fakes.slowness import allowed_cpu

pytestmark = pytest.mark.scenario

DOMAINS = 1_500
WITHIN_S = 1200.0


def test_a_job_for_many_domains_arrives_and_the_node_stays_well(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    figures = asyncio.run(
        many_domains.run(tmp_path, DOMAINS, within_s=WITHIN_S, dead_s=4.0)
    )
    publish(many_domains.report(figures))
    assert figures.broken(allowed_cpu(many_domains.BUSY_MS)) == []


def test_a_node_that_asks_without_bound_is_found_out(tmp_path: Path) -> None:
    figures = asyncio.run(
        many_domains.run(
            tmp_path,
            300,
            within_s=WITHIN_S,
            dead_s=0.0,
            launcher=Path(__file__).with_name("unbounded_node.py"),
            dns_delay_s=0.5,
        )
    )
    assert "too many questions at once" in figures.broken()


def test_a_node_comes_back_to_its_standing_load(
    publish: Callable[[str], None],
) -> None:
    """The short form of ``make bench-scale``."""
    options = "--recipients 20000 --domains 2000 --events 20000 --watch 3 --json"
    done = subprocess.run(
        [sys.executable, scale.__file__, *options.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = scale.Figures(**json.loads(done.stdout))
    publish(f"short standing load: {done.stdout.strip()}")
    assert (figures.recipients, figures.lines) == (20_000, 6_030)
    assert figures.delivered > 0
    assert figures.rss_max_mb <= scale.RSS_MB
    # Of the processor: what else runs on the machine is not the node's doing.
    assert figures.first_delivery_cpu_s <= allowed_cpu(scale.FIRST_DELIVERY_S)
    assert figures.pull_ms["cpu_p99"] <= allowed_cpu(scale.PULL_MS)
