"""A node that writes header fields as they come: ``naive_node.py FILE``; a control."""

import sys
from datetime import datetime

from mailwright.api import drafts
from mailwright.cli.main import main
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.spec import MessageSpec


def naive(
    spec: MessageSpec, *, date: datetime, message_id: str, boundary_seed: bytes
) -> Composed:
    """Put the values between names and line ends."""
    del boundary_seed
    lines = [
        f"From: {spec.author.name} <{spec.author.address}>",
        *(f"To: {mailbox.name} <{mailbox.address}>" for mailbox in spec.to),
        f"Subject: {spec.subject}",
        f"Date: {date:%a, %d %b %Y %H:%M:%S +0000}",
        f"Message-ID: {message_id}",
        *(f"{name}: {value}" for name, value in spec.headers),
        "",
        "",
    ]
    header = "\r\n".join(lines).encode("utf-8", "replace")
    return Composed(header, (spec.text or "").encode("utf-8", "replace"))


drafts.compose = naive
drafts.defects_of = lambda _spec: ()
sys.argv.insert(1, "serve")
main()
