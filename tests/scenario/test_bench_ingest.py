"""``benchmarks/bench-ingest`` ends in the line that is promised, with and without a node."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.scenario

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_ingest.py"


@pytest.mark.parametrize("how", [[], ["--staging"]])
def test_the_last_line_has_the_three_figures(how: list[str]) -> None:
    command = [sys.executable, BENCH, "--rows", "3000", *how]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    last = ended.stdout.splitlines()[-1]
    assert re.fullmatch(r"upload [1-9]\d* seal [1-9]\d* rss_mb \d+", last), last
