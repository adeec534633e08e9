"""From a :class:`~mailwright.mta.compose.spec.MessageSpec` to octets.

The parts nest as ``mixed(related(alternative(text, html), inline…), attachment…)``; a level
with one part is left out. Text goes as 7bit when it is short ASCII lines, else as
quoted-printable, or as base64 where that is shorter (Cyrillic, CJK).
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from hashlib import blake2b
from io import BytesIO
from typing import Final, NamedTuple

from mailwright.message import PIECE_OCTETS
from mailwright.mta.compose.spec import (
    Attachment,
    ComposeError,
    Mailbox,
    MessageSpec,
    defects_of,
)
from mailwright.mta.compose.words import (
    encoded_words,
    fold,
    is_plain,
    parameter_words,
    phrase_words,
    room_after,
    text_words,
)
from mailwright.mta.edits import quoted_printable

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
#: Short lines of printable ASCII that do not end in a blank and that no mailbox format
#: and no gateway is known to touch.
_SEVEN_BIT: Final = re.compile(rb"(?:(?!From )(?!\.)[\t -~]{0,76}(?<![ \t])\r\n)*")
_ASCII: Final = bytes(range(128))
_NO_LINE_ENDS: Final = {0x0D: None, 0x0A: None}
#: Octets of a base64 line's content: 76 characters (RFC 2045 §6.8).
_BASE64_LINE: Final = 57
#: base64 with its line ends, in units of the octets encoded.
_BASE64_COST: Final = 78 / _BASE64_LINE


class Composed(NamedTuple):
    """A message.

    Attributes:
        header: header section with its final empty line.
        body: ends with CRLF.
    """

    header: bytes
    body: bytes

    @property
    def octets(self) -> bytes:
        """The whole message."""
        return self.header + self.body


def compose(
    spec: MessageSpec, *, date: datetime, message_id: str, boundary_seed: bytes
) -> Composed:
    """Return the message that ``spec`` describes; the same arguments give the same octets.

    Args:
        spec: what it says.
        date: value of the Date field; aware.
        message_id: value of the Message-ID field, with angle brackets.
        boundary_seed: boundaries are hashes of it.

    Blocking: about 50 µs for a small message, 10 ms for each MB.

    Raises:
        ComposeError: ``spec`` has defects; all of them are in it.
    """
    defects = defects_of(spec)
    if defects:
        raise ComposeError(defects)
    part = _whole(spec, _Boundaries(boundary_seed))
    header = b"".join([*_fields(spec, date, message_id), *part.fields, b"\r\n"])
    return Composed(header, b"".join(part.body))


@dataclass(frozen=True, slots=True)
class _Part:
    """A MIME part: its fields, and its body as pieces to join."""

    media_type: str
    fields: tuple[bytes, ...]
    body: tuple[bytes, ...]


class _Boundaries:
    """Gives boundaries that are in no part that they separate."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0

    def apart_from(self, parts: Sequence[_Part]) -> str:
        while True:
            number = self._count.to_bytes(4)
            self._count += 1
            digest = blake2b(number, key=self._key(), digest_size=15).hexdigest()
            # "=_" is in no quoted-printable and no base64 (RFC 2045 §6.7).
            boundary = f"=_{digest}"
            octets = boundary.encode()
            if not any(octets in piece for part in parts for piece in part.body):
                return boundary

    def _key(self) -> bytes:
        return blake2b(self._seed, digest_size=32).digest()


def _fields(spec: MessageSpec, date: datetime, message_id: str) -> Iterator[bytes]:
    yield _address_field("From", (spec.author,))
    if spec.to:
        yield _address_field("To", spec.to)
    elif not spec.cc:
        # RFC 5322 §3.6.3 needs no destination field; old readers do.
        yield fold("To", ["undisclosed-recipients:;"])
    if spec.cc:
        yield _address_field("Cc", spec.cc)
    if spec.reply_to:
        yield _address_field("Reply-To", spec.reply_to)
    yield fold("Subject", text_words(spec.subject, room_after("Subject")))
    yield fold("Date", [format_datetime(date)])
    yield fold("Message-ID", [message_id])
    yield fold("MIME-Version", ["1.0"])
    for name, value in spec.headers:
        yield _further_field(name, value)


def _address_field(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    words: list[str] = []
    for mailbox in mailboxes:
        if words:
            words[-1] += ","
        address = mailbox.address.canonical
        if mailbox.name:
            words += [*phrase_words(mailbox.name), f"<{address}>"]
        else:
            words.append(address)
    return fold(name, words)


def _further_field(name: str, value: str) -> bytes:
    if is_plain(value):
        # A long URL in it (List-Unsubscribe) must stay in one piece.
        return fold(name, re.findall(r" *[^ ]+", value))
    return fold(name, encoded_words(value, room_after(name)))


def _whole(spec: MessageSpec, boundaries: _Boundaries) -> _Part:
    inline = [part for part in spec.attachments if part.content_id]
    attached = [part for part in spec.attachments if not part.content_id]
    texts = []
    if spec.text is not None:
        texts.append(_text_part("plain", spec.text))
    if spec.html is not None:
        texts.append(_text_part("html", spec.html))
    else:
        inline, attached = [], list(spec.attachments)
    whole = _joined("alternative", texts, boundaries)
    whole = _joined("related", [whole, *map(_file_part, inline)], boundaries)
    return _joined("mixed", [whole, *map(_file_part, attached)], boundaries)


def _joined(subtype: str, parts: Sequence[_Part], boundaries: _Boundaries) -> _Part:
    """Return ``parts`` as one multipart, or the only one of them as it is."""
    if len(parts) == 1:
        return parts[0]
    boundary = boundaries.apart_from(parts)
    words = [f"multipart/{subtype};", f'boundary="{boundary}"']
    if subtype == "related":
        # RFC 2387 §3.1: the type of the root part.
        words.insert(1, f'type="{parts[0].media_type}";')
    pieces: list[bytes] = []
    delimiter = f"--{boundary}\r\n".encode()
    for part in parts:
        pieces += [delimiter, *part.fields, b"\r\n", *part.body, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return _Part(f"multipart/{subtype}", (fold("Content-Type", words),), tuple(pieces))


def _text_part(subtype: str, text: str) -> _Part:
    octets = _LINE_END.sub("\r\n", text).encode()
    if octets and not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    encoding, body = _encoded(octets)
    fields = (
        f"Content-Type: text/{subtype}; charset=utf-8\r\n".encode(),
        f"Content-Transfer-Encoding: {encoding}\r\n".encode(),
    )
    return _Part(f"text/{subtype}", fields, (body,))


def _encoded(octets: bytes) -> tuple[str, bytes]:
    if _SEVEN_BIT.fullmatch(octets):
        return "7bit", octets
    beyond = len(octets.translate(None, _ASCII))
    if len(octets) + 2 * beyond > _BASE64_COST * len(octets):
        return "base64", base64_lines(octets)
    return "quoted-printable", _quoted_printable(octets)


def _quoted_printable(octets: bytes) -> bytes:
    """Return text with CRLF line ends as quoted-printable; no line begins oddly."""
    quoted = binascii.b2a_qp(octets, istext=True)
    # The C codec takes 10 µs, but does not look at how its lines begin.
    if b"\n." in quoted or b"\nFrom " in quoted or quoted.startswith((b".", b"From ")):
        return quoted_printable.encode(octets)
    return quoted


def base64_lines(octets: bytes) -> bytes:
    """Return ``octets`` as base64 in lines of 76, each with CRLF (RFC 2045 §6.8)."""
    view = memoryview(octets)
    # A join would first have each line as an object of its own.
    lines = BytesIO()
    lines.writelines(
        binascii.b2a_base64(view[at : at + _BASE64_LINE], newline=False) + b"\r\n"
        for at in range(0, len(octets), _BASE64_LINE)
    )
    return lines.getvalue()


def base64_content(text: str) -> bytes:
    """Return what ``text`` is the base64 of (RFC 4648 §4); line ends are allowed in it.

    Works on a piece at a time: each operation holds the interpreter lock to its end.

    Raises:
        ValueError: it is not base64.
    """
    content = BytesIO()
    groups = ""
    for at in range(0, len(text), PIECE_OCTETS):
        groups += text[at : at + PIECE_OCTETS].translate(_NO_LINE_ENDS)
        # The last group is kept back: only the text's last one may be padded.
        end = (len(groups) - 1) // 4 * 4 if groups else 0
        if "=" in groups[:end]:
            raise ValueError("padding before the end")
        content.write(binascii.a2b_base64(groups[:end], strict_mode=True))
        groups = groups[end:]
    content.write(binascii.a2b_base64(groups, strict_mode=True))
    return content.getvalue()


def _file_part(part: Attachment) -> _Part:
    disposition = "inline" if part.content_id else "attachment"
    fields = [
        fold("Content-Type", part.content_type.split(" ")),
        b"Content-Transfer-Encoding: base64\r\n",
        fold(
            "Content-Disposition",
            [f"{disposition};", *parameter_words("filename", part.filename)],
        ),
    ]
    if part.content_id:
        fields.append(fold("Content-ID", [f"<{part.content_id}>"]))
    return _Part(
        part.content_type, tuple(fields), (part.encoded or base64_lines(part.content),)
    )
