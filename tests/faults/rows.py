"""The rows of the ledger by name, in the order in which they run."""

from collections.abc import Mapping

from faults import (
    clocks,
    corruption,
    full_disk,
    hostile,
    kill,
    kill_sessions,
    nth,
    power,
    slow_disk,
    sync,
)
from faults.ledger import RowRunner

#: What :mod:`faults` runs; each is a few seconds or some minutes.
ROWS: Mapping[str, RowRunner] = {
    "kill-busy": kill.run_busy,
    "kill-idle": kill.run_idle,
    "kill-named": kill.run_named,
    "kill-sessions": kill_sessions.run,
    "power-busy": power.run_busy,
    "power-idle": power.run_idle,
    "sync-answers": sync.run_answers,
    "sync-bodies": sync.run_bodies,
    "nth-call": nth.run,
    "corruption": corruption.run,
    "full-blocks": full_disk.run_blocks,
    "full-inodes": full_disk.run_inodes,
    "clocks": clocks.run,
    "slow-disk": slow_disk.run,
    **hostile.ROWS,
}
