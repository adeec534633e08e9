"""Signatures of webhooks: Standard Webhooks 1.0.0, the symmetric scheme ``v1``.

What is signed is ``{webhook-id}.{webhook-timestamp}.{body}``, with HMAC-SHA256; a secret is
shown as ``whsec_`` and base64. While a secret is being replaced both sign, and
``webhook-signature`` holds both, so that a receiver may take its time.
"""

import base64
import hmac
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from mailwright.accounts.sealing import Secret

PREFIX: Final = "whsec_"
#: The standard asks for 24 to 64.
SECRET_OCTETS: Final = 32


def make_secret() -> Secret:
    """Return a new secret, as octets."""
    return Secret(os.urandom(SECRET_OCTETS))


def shown(secret: Secret) -> str:
    """Return ``secret`` as its receiver is told it."""
    return PREFIX + base64.b64encode(secret.reveal()).decode()


def headers_of(
    ident: str, at: datetime, body: bytes, secrets: Sequence[Secret]
) -> Mapping[str, str]:
    """Return the three header fields of a request; the newest secret comes first."""
    timestamp = str(int(at.timestamp()))
    signed = f"{ident}.{timestamp}.".encode() + body
    signatures = (
        base64.b64encode(hmac.digest(secret.reveal(), signed, "sha256")).decode()
        for secret in secrets
    )
    return {
        "webhook-id": ident,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
