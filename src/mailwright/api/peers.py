"""Who is at the other end of the Unix socket: the kernel says (SO_PEERCRED).

The socket's file is for its owner alone already; this also holds where its folder was
opened up, and it tells who asks.

Source: unix(7).
"""

import asyncio
import os
import socket
import struct
from typing import Final, cast

from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from mailwright.api.operating import UID_PREFIX

_UCRED: Final = struct.Struct("3i")  # pid, uid, gid


class PeerProtocol(H11Protocol):
    """HTTP for root and for the node's own user; others are cut off unheard.

    Requests have ``uid:NUMBER`` for the client's address.
    """

    _is_refused = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvicorn narrows what asyncio's protocol takes, and uvloop's are no subclasses.
        both_ways = cast("asyncio.Transport", transport)
        uid = peer_uid(both_ways)
        if uid not in (0, os.geteuid()):
            self._is_refused = True
            both_ways.abort()
            return
        super().connection_made(both_ways)
        self.client = (f"{UID_PREFIX}{uid}", 0)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_refused:
            super().connection_lost(exc)


def peer_uid(transport: asyncio.BaseTransport) -> int | None:
    """Return the user that connected, ``None`` when it cannot be told."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return None
    # uvloop's is only a shadow of a socket: what it shows has no options to ask for.
    with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as real:
        try:
            octets = real.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        except OSError:
            return None
    _, uid, _ = _UCRED.unpack(octets)
    return int(uid)
