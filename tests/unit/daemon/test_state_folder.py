"""What the node keeps is nobody else's on the host."""

import asyncio
import os
import stat
from pathlib import Path

from fakes.running_node import DOMAIN, message, running_node


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_state_is_closed_to_other_users(tmp_path: Path) -> None:
    async def main() -> int:
        # Not even a generous umask opens it.
        before = os.umask(0)
        try:
            (tmp_path / "control").mkdir()
            assert mode_of(tmp_path / "control") & 0o077
            async with running_node(tmp_path) as running:
                body = message(f"b@{DOMAIN}", text="x" * 100_000)
                answer = await running.http.post("/v1/messages", json=body)
                assert answer.status_code == 201, answer.text
                await running.wait_events("delivered")
                return mode_of(tmp_path / "state")
        finally:
            os.umask(before)

    assert asyncio.run(main()) & 0o077 == 0
