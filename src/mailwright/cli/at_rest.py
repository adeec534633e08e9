"""The operator's routes of a node that does not run: in this process, on its database.

Put together only when it is needed: it takes most of the daemon to import.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import httpx

from mailwright.api.app import create_operator_app
from mailwright.api.operating import UID_PREFIX
from mailwright.api.ports import ApiLimits
from mailwright.clock import SystemClock
from mailwright.config.loading import MAX_FILE_OCTETS
from mailwright.config.node import NodeSettings
from mailwright.daemon.operating import open_offices
from mailwright.daemon.outgoing import node_resolver
from mailwright.daemon.state import open_state
from mailwright.mta.submission.budget import ByteBudget

#: A setup file and the keys that it names.
_REQUEST_OCTETS: Final = 16 * MAX_FILE_OCTETS


@asynccontextmanager
async def operator_transport(node: NodeSettings) -> AsyncIterator[httpx.ASGITransport]:
    """Open the database of ``node`` under its lock and give a way to the routes.

    Raises:
        MailwrightError: it cannot be opened.
    """
    clock = SystemClock()
    async with open_state(node, clock) as state:
        offices = open_offices(
            state,
            clock,
            partial(node_resolver, node, clock),
            ByteBudget(_REQUEST_OCTETS),
            lambda: ApiLimits(request_octets=_REQUEST_OCTETS),
        )
        app = create_operator_app(offices.ports)
        peer = (f"{UID_PREFIX}{os.geteuid()}", 0)
        yield httpx.ASGITransport(app, client=peer)
