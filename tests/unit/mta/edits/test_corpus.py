"""Real mail, broken and hostile, through both phases of edits, signing and dkimpy.

Runs when MAILWRIGHT_CORPUS names a folder of ``.eml`` files (see ``conftest.py``).
"""

import email
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from mailwright.accounts.signing_keys import DkimSecret
from mailwright.message import defects, fields, find, split
from mailwright.mta.dkim.records import record_text
from mailwright.mta.dkim.signing import UnsignableError, sign
from mailwright.mta.edits.intake import edit_for_storing, has_long_line
from mailwright.mta.edits.session import edit_for_receiver

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def key():
    return DkimSecret(
        "rsa-sha256", "example.com", "s1", generate_private_key(65_537, 2048)
    )


def mails():
    folder = os.environ.get("MAILWRIGHT_CORPUS")
    found = sorted(Path(folder).rglob("*.eml")) if folder else []
    # Without a folder one placeholder is collected, for conftest to deselect.
    return found or [Path("no corpus")]


def text_of(header: bytes, body: bytes) -> list[bytes]:
    message = email.message_from_bytes(header + body)
    return [
        part.get_payload(decode=True)
        for part in message.walk()
        if part.get_content_maintype() == "text" and not part.is_multipart()
    ]


def may_verify(header: bytes) -> bool:
    """Whether dkimpy can read the header at all: it raises on lines that are no field."""
    return not defects(header) and not re.search(
        rb"^[^\s:]+[ \t]+:", header, re.MULTILINE
    )


def verifies(content: bytes, key: DkimSecret) -> bool:
    record = record_text(key.private_key).encode()
    return dkim.verify(content, dnsfunc=lambda *_, **__: record)


@pytest.mark.parametrize("path", mails(), ids=lambda path: path.name)
def test_a_real_mail_survives(path, key):
    octets = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes()).replace(b"\0", b"")
    header, body = split(octets)
    stored = edit_for_storing(header, body, date=AT, message_id="<1@example.com>")
    if not has_long_line(body):
        assert stored.body == body
    for has_8bitmime in (True, False):
        header, body, edits = edit_for_receiver(
            stored.header, stored.body, has_8bitmime=has_8bitmime
        )
        if has_8bitmime or stored.body.isascii():
            assert (header, body) == (stored.header, stored.body)
        elif not body.isascii():
            assert any(edit.startswith("kept") for edit in edits)
        if not defects(stored.header):
            assert text_of(header, body) == text_of(stored.header, stored.body)
        try:
            signature = sign(header, body, key, signed_at=1_767_323_045)
        except UnsignableError:
            assert not find(fields(header), b"from")
            continue
        if may_verify(header):
            assert verifies(signature + header + body, key)


def test_the_corpus_is_mail():
    assert len(mails()) > 1
