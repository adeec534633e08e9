"""A program with nothing of a node but sessions in one process; it is there to be killed.

``PYTHONPATH=tests python -m fakes.session_node PORT [COMMAND…]`` offers two parcels, one of
a campaign, to the receiver at PORT and waits for ever.
"""

import asyncio
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fakes.session_rig import Keys, call_to, campaign_parcel, opened, parcel
from mailwright.accounts.signing_keys import DkimSecret
from mailwright.mta.sessions.pool import SessionProcesses
from mailwright.site import Pipelining


async def live(port: int, command: list[str]) -> None:
    key = Ed25519PrivateKey.generate()
    keys = Keys(DkimSecret("ed25519-sha256", "example.com", "s1", key))
    sessions = SessionProcesses(keys, 1, **({"command": command} if command else {}))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sessions.run())
        call = call_to(port, pipelining=Pipelining.NONE)
        session = await opened(sessions, call, [])
        session.offer([parcel(1), campaign_parcel(2)])
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(live(int(sys.argv[1]), sys.argv[2:]))
