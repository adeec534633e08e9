"""★ The canonical name of a set of MX hosts.

Domains with the same hosts share one site, whatever the order, the preferences or the
spelling: throttles, backoff and lanes hang on it.
"""

import base64
import hashlib
from collections.abc import Collection
from typing import Final

_DIGEST_OCTETS: Final = 10  # 80 bit: no two sites of a node's life meet


def site_key(hosts: Collection[str]) -> str:
    """Return the key of the site that ``hosts`` make.

    One host is its own key; several are the first in sort order with the number of the
    others and a digest of all: ``alt1.mx.example+4~ab3k…``. Stable over versions: it is
    kept with history.

    Raises:
        ValueError: no hosts.
    """
    names = sorted({host.lower().removesuffix(".") for host in hosts})
    if not names:
        raise ValueError("a site has at least one host")
    if len(names) == 1:
        (name,) = names
        # The string of the host itself, where it can be: whoever keeps both has one.
        return next((host for host in hosts if host == name), name)
    digest = hashlib.sha256("\n".join(names).encode()).digest()[:_DIGEST_OCTETS]
    text = base64.b32encode(digest).decode("ascii").lower()
    return f"{names[0]}+{len(names) - 1}~{text}"
