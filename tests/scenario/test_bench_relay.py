"""The relay benchmark in its short form, and that it catches what it must."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from relaybench.cpu import used_by
from relaybench.measuring import Load, Sink, measure, running_sink
from relaybench.processes import BenchError
from relaybench.relays import Relay, postfix
from relaybench.signatures import key_record, write_key

pytestmark = [pytest.mark.scenario]
ROOT = Path(__file__).parents[2]
LOAD = Load(messages=60)


def processes_of(folder: Path) -> list[str]:
    """Return the commands of processes that were started in or with a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
            at = str((process / "cwd").readlink())
        except OSError:  # it has ended
            continue
        if str(folder) in command or at.startswith(str(folder)):
            found.append(command)
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that daemons without root's rights may pass through.

    Those of pytest are not: each new run closes the one above them.
    """
    with tempfile.TemporaryDirectory(prefix="bench-relay-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def record(place: Path) -> bytes:
    """Return the record of the key that is in ``s1.pem``."""
    return key_record(write_key(place / "s1.pem"))


@pytest.fixture
def sink(place: Path) -> Iterator[Sink]:
    with running_sink(place / "sink") as running:
        yield running


@pytest.mark.needs("users")
def test_the_short_form_says_all_and_leaves_nothing(place: Path) -> None:
    done = subprocess.run(
        [
            *(ROOT / "benchmarks" / "bench-relay", "--json"),
            *("--messages", "300", "--rounds", "1", "--only", "mailwright,postfix"),
        ],
        env=os.environ | {"TMPDIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(r"ratio_postfix \d+\.\d\d ratio_haraka n/a", last)
    result = json.loads(done.stdout)
    rates = result["medians_per_s"]
    assert f"{rates['mailwright'] / rates['postfix']:.2f}" == last.split()[1]
    assert [each["relay"] for each in result["rounds"]] == ["mailwright", "postfix"]
    assert {each["verified"] for each in result["rounds"]} == {20}
    assert all(each["user_ms"] > 0.1 for each in result["rounds"])
    assert result["sink_ceiling_per_s"] > max(rates.values())
    assert not list(place.iterdir())
    assert processes_of(place) == []


def test_a_sink_that_loses_is_caught(place: Path) -> None:
    with running_sink(place / "sink", lose_every=30) as losing:
        direct = Relay("direct", losing.port, (losing.process.pid,), ())
        with pytest.raises(BenchError, match="direct: only 58 arrived"):
            measure(direct, losing, LOAD, record=None, timeout_s=20)


@pytest.mark.needs("users")
def test_a_relay_that_does_not_sign_is_caught(
    place: Path, record: bytes, sink: Sink
) -> None:
    silent = partial(postfix, signs=False)
    with silent(place / "postfix", place / "s1.pem", sink.port) as relay:
        with pytest.raises(BenchError, match=r"postfix: .* not signed"):
            measure(relay, sink, LOAD, record=record)
        # It is only the signature that was missing.
        assert measure(relay, sink, LOAD, record=None).messages == LOAD.messages


@pytest.mark.needs("users")
def test_a_relay_that_signs_with_another_key_is_caught(
    place: Path, record: bytes, sink: Sink
) -> None:
    other = place / "other.pem"
    write_key(other)
    with postfix(place / "postfix", other, sink.port) as relay:
        with pytest.raises(BenchError, match=r"postfix: .* \(20 such\)"):
            measure(relay, sink, LOAD, record=record)
        assert used_by(relay.pids).total > 0
        assert len(processes_of(place)) > 3
    assert processes_of(place) == []
