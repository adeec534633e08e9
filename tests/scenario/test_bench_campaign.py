"""The campaign benchmark in its short form, its node, and that it catches what it must."""

import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from relaybench.campaigns import campaign_node, run_bare, run_job
from relaybench.measuring import running_sink
from relaybench.processes import BenchError
from relaybench.signatures import key_record, write_key

pytestmark = [pytest.mark.scenario]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that daemons without root's rights may pass through."""
    with tempfile.TemporaryDirectory(prefix="bench-campaign-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.mark.needs("users")
def test_the_short_form_says_both_figures_and_leaves_nothing(place: Path) -> None:
    done = subprocess.run(
        [ROOT / "benchmarks" / "bench-campaign", "--messages", "200", "--rounds", "1"],
        env=os.environ | {"TMPDIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"bare \d+\.\d\d postfix \d+\.\d\d", last)
    assert done.stdout.count("20 signatures good") == 3
    assert not list(place.iterdir())


def test_a_sink_that_loses_is_caught(place: Path) -> None:
    key = place / "s1.pem"
    record = key_record(write_key(key))
    with (
        running_sink(place / "sink", lose_every=30) as losing,
        pytest.raises(BenchError, match="bare: only 58 arrived"),
    ):
        run_bare(losing, key, 60, html_octets=1_000, record=record, timeout_s=20)


def test_a_job_that_is_signed_with_another_key_is_caught(place: Path) -> None:
    write_key(place / "s1.pem")
    other = key_record(write_key(place / "other.pem"))
    with (
        running_sink(place / "sink") as sink,
        campaign_node(place / "node", place / "s1.pem", sink.port) as node,
        pytest.raises(BenchError, match=r"campaign: .* \(20 such\)"),
    ):
        run_job(node, sink, 60, html_octets=1_000, record=other, timeout_s=60)


def test_the_node_says_where_its_api_is_and_ends_on_sigterm(place: Path) -> None:
    write_key(place / "s1.pem")
    variables = {
        "SINK": "127.0.0.1:9",
        "DKIM_KEY": str(place / "s1.pem"),
        "TMPDIR": str(place),
    }
    with subprocess.Popen(
        [ROOT / "benchmarks" / "campaign-node"],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as node:
        assert node.stdout is not None
        said = json.loads(node.stdout.readline())
        request = urllib.request.Request(  # noqa: S310 - our own node
            f"{said['api']}/v1/campaigns",
            headers={"Authorization": f"Bearer {said['key']}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            assert json.loads(answer.read())["campaigns"] == []
        node.send_signal(signal.SIGTERM)
        assert node.wait(120) == 0
    assert not list(place.glob("campaign-node-*"))


def test_a_missing_variable_is_named() -> None:
    done = subprocess.run(
        [ROOT / "benchmarks" / "campaign-node"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "campaign-node: set SINK\n")
