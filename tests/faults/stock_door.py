"""aiosmtpd as it comes, taking everything: the control of what one client may cost.

``stock_door.py``: prints its port. Ends when its standard input does.
"""

import asyncio
import sys

from aiosmtpd.smtp import SMTP, Envelope, Session


class Taker:
    """Takes every message and forgets it."""

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, _envelope: Envelope
    ) -> str:
        """Say that it is taken."""
        return "250 OK"


async def main() -> None:
    """Serve."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Taker(), enable_SMTPUTF8=False, data_size_limit=None, loop=loop),
        "127.0.0.1",
        0,
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
