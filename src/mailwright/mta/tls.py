"""TLS on the way out: contexts for the two demands, and the memory of broken servers.

Opportunistic TLS takes any certificate (RFC 7435 §3: it guards against those who only
listen), and so does a demand for encryption alone; required TLS verifies chain and name
(RFC 8446; RFC 6125 §6). A server whose handshake failed lately is spoken to in clear,
but only where clear was allowed anyway: the memory never lowers a demand.
"""

import ssl
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

#: How long a failed handshake is remembered.
BROKEN_FOR: Final = timedelta(days=3)
#: Hosts that are remembered; beyond that the oldest is forgotten.
MAX_BROKEN: Final = 50_000


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """The two ways to do TLS with a receiver. Made once; used from the loop only."""

    opportunistic: ssl.SSLContext
    verified: ssl.SSLContext


def load_contexts(ca_file: Path | None = None) -> TlsContexts:
    """Return contexts for TLS 1.2 and later.

    Reads the trust store; call it before the loop runs.

    Args:
        ca_file: certificates to trust instead of the system's, in PEM.
    """
    verified = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    opportunistic = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    opportunistic.check_hostname = False
    opportunistic.verify_mode = ssl.CERT_NONE
    for context in (verified, opportunistic):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    return TlsContexts(opportunistic, verified)


class TlsMemory(Protocol):
    """Knows where opportunistic TLS failed lately."""

    def is_broken(self, mx: str, now: datetime) -> bool:
        """Return whether a handshake with the host ``mx`` failed in the last 3 days."""
        ...

    def remember(self, mx: str, reason: str, now: datetime) -> None:
        """Note that a handshake with ``mx`` failed; ``reason`` is for people."""
        ...


class RecentTlsFailures:
    """A :class:`TlsMemory` that lasts as long as the process."""

    def __init__(self, max_hosts: int = MAX_BROKEN) -> None:
        self._failed: OrderedDict[str, tuple[datetime, str]] = OrderedDict()
        self._max_hosts = max_hosts

    def is_broken(self, mx: str, now: datetime) -> bool:
        """Return whether ``mx`` failed and its 3 days are not over."""
        failed = self._failed.get(mx)
        if failed is None:
            return False
        if now - failed[0] < BROKEN_FOR:
            return True
        del self._failed[mx]
        return False

    def remember(self, mx: str, reason: str, now: datetime) -> None:
        """Note a failure; its 3 days begin anew."""
        self._failed[mx] = (now, reason)
        self._failed.move_to_end(mx)
        if len(self._failed) > self._max_hosts:
            self._failed.popitem(last=False)

    def reason(self, mx: str) -> str:
        """Return why ``mx`` is spoken to in clear, or ``""``."""
        failed = self._failed.get(mx)
        return failed[1] if failed is not None else ""
