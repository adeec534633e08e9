import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailwright.store.lock import LockHeldError, NodeLock

HOLD = """
import sys
from pathlib import Path
from mailwright.store.lock import NodeLock
lock = NodeLock([Path(sys.argv[1])])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_refused_with_the_first_one_s_pid(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockHeldError, match=f"process {holder.pid}") as caught:
            NodeLock([path])
        assert caught.value.pid == holder.pid
        holder.kill()  # a killed process leaves no lock behind
    with NodeLock([path]):
        assert path.read_text() == f"{os.getpid()}\n"


def test_all_of_the_files_are_locked_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with NodeLock([second]), pytest.raises(LockHeldError):
        NodeLock([first, second])
    NodeLock([first, second]).release()


def test_a_holder_that_left_no_pid_is_still_named(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    with NodeLock([path]):
        path.write_bytes(b"no number")
        with pytest.raises(LockHeldError, match="another process") as caught:
            NodeLock([path])
        assert caught.value.pid is None


def test_the_lock_is_private_and_stays_when_released(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    NodeLock([path]).release()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_missing_is_the_system_s_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NodeLock([tmp_path / "absent" / "node.lock"])
