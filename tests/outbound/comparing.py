"""What must be true of octets: at intake, in the session, and on the wire.

The rules are written anew and compare with the standard library's reading of a message
where octets are allowed to differ. ``""`` says that all is well.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import Message
from typing import Any, Final

from fakes.keeping_receiver import Kept
from mailwright.attempt import Parcel
from mailwright.mta.preparing import Prepared, Preparer
from outbound.letters import CRLF, Door, Letter

MAX_LINE: Final = 998
FIELD: Final = re.compile(rb"[^\r]*(?:\r\n[ \t][^\r]*)*\r\n")
_ABOUT_UNFIT: Final = ("re-encoded", "kept", "added MIME-Version")
_REENCODED: Final = (b"content-transfer-encoding", b"mime-version")
_IDENTITY: Final = frozenset(("", "7bit", "8bit", "binary"))
_BREAKS: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Copy:
    """One delivery of a letter: what was stored, and what a receiver got.

    Attributes:
        edits: what intake says that it changed.
        session_edits: what the event says that was changed for this receiver.
    """

    letter: Letter
    parcel: Parcel
    edits: tuple[str, ...]
    session_edits: tuple[str, ...]
    kept: Kept
    has_8bitmime: bool


def faults(copy: Copy, preparer: Preparer) -> list[str]:
    """Return what is wrong with a copy's octets."""
    found = (
        intake_fault(copy.letter, copy.parcel.header, copy.parcel.body),
        report_fault(copy.letter, copy.edits),
        session_fault(copy),
        session_report_fault(copy),
        wire_fault(copy, preparer),
    )
    return [f"{copy.kept.recipients[0]}: {each}" for each in found if each]


def wire_fault(copy: Copy, preparer: Preparer) -> str:
    """Return where the wire is not the function of the stored octets and the row."""
    content = copy.kept.content
    if (CRLF + content).replace(b"\r\n.", b"\r\n..")[2:] != copy.kept.wire:
        return "a dot is stuffed that need not be, or is not that must"
    [expected] = preparer.prepare([copy.parcel], has_8bitmime=copy.has_8bitmime)
    if not isinstance(expected, Prepared):
        return f"not signed: {expected}"
    if content != expected.content:
        return "the wire is not what the row says"
    has_8bit = copy.has_8bitmime and not content.isascii()
    if copy.kept.is_8bit_declared != has_8bit:
        return f"BODY=8BITMIME is {copy.kept.is_8bit_declared}, 8-bit is {has_8bit}"
    return ""


def session_fault(copy: Copy) -> str:
    """Return what of the stored octets is not below the signature."""
    content, stored = copy.kept.content, copy.parcel
    signature = _first_field(content)
    if not signature.startswith(b"DKIM-Signature: v=1; a=rsa-sha256;"):
        return "the signature does not stand on top"
    below = content[len(signature) :]
    whole = stored.header + stored.body
    if stored.body and not stored.body.endswith(CRLF):
        whole += CRLF
    if copy.has_8bitmime or stored.body.isascii():
        return "" if below == whole else "something changed that need not"
    return _reencoding_fault(whole, below, must_fit=bytes.isascii)


def intake_fault(letter: Letter, header: bytes, body: bytes) -> str:
    """Return what of a letter is not stored as it was submitted."""
    fault, header = _without_additions(letter, header)
    if fault:
        return fault
    if letter.door is Door.JSON:
        return _json_fault(letter.members, header + body)
    if (header, body) == (letter.kept_fields, letter.body):
        return ""
    if not _has_long_line(letter.body):
        return "what is stored is not what was submitted"
    submitted = letter.kept_fields + letter.body
    return _reencoding_fault(submitted, header + body, must_fit=_fits)


def report_fault(letter: Letter, edits: Sequence[str]) -> str:
    """Return which edits are told that were not foretold from the octets, or not told.

    What is done about lines over 998 octets is foretold as a whole.
    """
    is_long = _has_long_line(letter.body)
    about_long = [each for each in edits if each.startswith(_ABOUT_UNFIT)]
    told = {each for each in edits if each not in about_long}
    if told != foretold(letter) or len(edits) != len(set(edits)):
        return f"the edits are told as {sorted(told)}, not {sorted(foretold(letter))}"
    return "" if bool(about_long) is is_long else f"long lines: {about_long}"


def session_report_fault(copy: Copy) -> str:
    """Return what is wrong with the report of edits for this receiver.

    There is one if, and only if, 8-bit octets meet a receiver without 8BITMIME; it says
    that text was re-encoded exactly when the body is another one.
    """
    told = copy.session_edits
    is_due = not copy.has_8bitmime and not copy.parcel.body.isascii()
    if bool(told) is not is_due or not all(x.startswith(_ABOUT_UNFIT) for x in told):
        return f"the session tells of {told}"
    changed = not copy.kept.content.removesuffix(CRLF).endswith(
        copy.parcel.body.removesuffix(CRLF)
    )
    says_so = any(each.startswith(_ABOUT_UNFIT[0]) for each in told)
    return "" if changed is says_so else f"changed: {changed}, but told: {told}"


def foretold(letter: Letter) -> set[str]:
    """Return what intake must do to a letter beside re-encoding it."""
    if letter.door is Door.JSON:
        return set()
    names = ("Date", "Message-ID")
    edits = {f"added {name}" for name in names if not letter.has(name.lower().encode())}
    removed = Counter(each.name for each in letter.fields if not each.leaves)
    for name, count in removed.items():
        times = f" ({count} times)" if count > 1 else ""
        edits.add(f"removed {name.decode()}{times}")
    return edits


def _without_additions(letter: Letter, header: bytes) -> tuple[str, bytes]:
    """Return ``header`` without what intake must add, or what it did not."""
    added = [b"Received: "]
    if letter.door is not Door.JSON:
        added += [b"Date: "] * (not letter.has(b"date"))
        added += [b"Message-ID: <"] * (not letter.has(b"message-id"))
    for beginning in added:
        if not header.startswith(beginning):
            return f"{beginning.decode()} was not added", header
        header = header[len(_first_field(header)) :]
    return "", header


def _reencoding_fault(
    before: bytes, after: bytes, *, must_fit: Callable[[bytes], bool]
) -> str:
    """Return what a re-encoding changed beside the encoding of text."""
    old, new = message_from_bytes(before), message_from_bytes(after)
    if _other_fields(before) != _other_fields(after):
        return "a re-encoding changed other fields"
    if _leaves(old) != _leaves(new):
        return "a re-encoding changed what is read"
    is_text = old.get_content_maintype() == "text" and old["content-type"]
    is_simple = old.get_content_type() in {"multipart/alternative", "multipart/related"}
    is_plain = all(_encoding(each) in _IDENTITY for each in old.walk())
    if (
        (is_text or is_simple)
        and is_plain
        and not must_fit(after.partition(b"\r\n\r\n")[2])
    ):
        return "text was left that must be re-encoded"
    return ""


def _encoding(part: Message) -> str:
    return str(part["content-transfer-encoding"] or "").strip().lower()


def _other_fields(message: bytes) -> list[bytes]:
    header = message.partition(b"\r\n\r\n")[0] + CRLF
    return [
        each
        for each in FIELD.findall(header)
        if each.partition(b":")[0].lower() not in _REENCODED
    ]


def _leaves(message: Message) -> list[tuple[str, object]]:
    return [
        (part.get_content_type(), part.get_payload(decode=True))
        for part in message.walk()
        if not part.is_multipart()
    ]


def _json_fault(members: dict[str, Any], octets: bytes) -> str:
    """Return which member is not what a reader of the message sees."""
    read = message_from_bytes(octets, policy=policy.default)
    author = read["from"].addresses[0]
    seen: dict[str, Any] = {
        "from": {"address": author.addr_spec, "name": author.display_name},
        "subject": str(read["subject"]),
    }
    for name, kind in (("text", "plain"), ("html", "html")):
        part = read.get_body((kind,))
        if part is not None:
            seen[name] = _lined(part.get_content())
    if read["reply-to"]:
        seen["reply_to"] = [
            {"address": each.addr_spec, "name": each.display_name}
            for each in read["reply-to"].addresses
        ]
    if read["x-order"]:
        seen["headers"] = {"X-Order": read["x-order"], "X-Note": read["x-note"]}
    files = [
        (part.get_filename(), part.get_payload(decode=True))
        for part in read.iter_attachments()
    ]
    wanted = {
        key: _lined(value) if key in {"text", "html"} else value
        for key, value in members.items()
        if key not in {"attachments", "bcc"}
    }
    wrong = [key for key in {*seen, *wanted} if seen.get(key) != wanted.get(key)]
    if wrong:
        return "; ".join(
            f"{key} is {seen.get(key)!r:.300}, not {wanted.get(key)!r:.300}"
            for key in wrong
        )
    given = [
        (each["filename"], base64.b64decode(each["content"]))
        for each in members.get("attachments", ())
    ]
    return "" if files == given else "the attachments are others"


def _lined(text: str) -> str:
    """Return text with one kind of line end, the last one there (RFC 2046 §4.1.1)."""
    text = _BREAKS.sub("\n", text)
    return text if text.endswith("\n") or not text else text + "\n"


def _first_field(octets: bytes) -> bytes:
    found = FIELD.match(octets)
    return found[0] if found else b""


def _has_long_line(body: bytes) -> bool:
    return any(len(line) > MAX_LINE for line in body.split(CRLF))


def _fits(body: bytes) -> bool:
    return not _has_long_line(body)
