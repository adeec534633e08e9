"""Samples and counts, made into the cost of a message."""

import pytest

from relaybench.cpu import Cpu, stat_fields
from relaybench.profile import cost_lines, syscalls, thread_costs

OURS = {"name": "take", "file": "/x/src/mailwright/store/writer.py", "line": 1}
LIBRARY = {"name": "dumps", "file": "/usr/lib/python3.11/json/encoder.py", "line": 2}
IDLE = {"name": "_worker", "file": "/usr/lib/python3.11/futures/thread.py", "line": 3}
SAMPLES = {
    "shared": {"frames": [OURS, LIBRARY, IDLE]},
    "profiles": [
        {
            "name": 'Thread 12 "store"',
            "samples": [[0], [0, 1], [0, 1], [1], [2], [2], [2]],
        },
        {"name": 'Thread 13 "signing_0"', "samples": [[2]]},
        {"name": 'Thread 14 "never sampled"', "samples": []},
    ],
}
TABLE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 87.50    1.574763         162      9693      1056 futex
  1.20    0.021585         203       106           fdatasync
------ ----------- ----------- --------- --------- ----------------
100.00    1.799765          67     26773      1311 total
"""


def test_samples_share_out_what_the_kernel_counted() -> None:
    used = {12: Cpu(0.3, 0.1), 13: Cpu(0.0, 0.5)}
    signing, store = thread_costs(SAMPLES, used, 1000)
    assert (signing.name, signing.ours) == ("signing_0", [])
    assert (store.name, store.user_us, store.system_us) == (
        "store",
        pytest.approx(300.0),
        pytest.approx(100.0),
    )
    ours = {place.name: place.share for place in store.ours}
    assert ours == {"store/writer.py take": 0.75, "(no code of ours)": 0.25}
    leaves = {place.name: place.share for place in store.leaves}
    assert leaves == {"json/encoder.py dumps": 0.75, "store/writer.py take": 0.25}


def test_the_table_says_microseconds_a_message() -> None:
    lines = cost_lines(thread_costs(SAMPLES, {12: Cpu(0.3, 0.1)}, 1000), most=1)
    assert lines[0] == "400 µs of processor time for a message"
    assert "thread store: 400 µs (300 user, 100 system)" in lines
    assert "  in ours    300 µs  store/writer.py take" in lines


def test_system_calls_are_counted_with_and_without_errors() -> None:
    assert syscalls(TABLE) == {"futex": 9693, "fdatasync": 106}


def test_a_process_may_be_called_anything() -> None:
    assert stat_fields("12 (a) S 1) R 7 8")[:2] == ["R", "7"]
