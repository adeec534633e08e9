"""Text in header fields: encoded words, phrases, parameters, folding.

Everything here returns *words*: pieces that must not be broken. :func:`fold` lays them
out with a blank or a line end and a blank between them, which is the only place where a
line end is ever written into a field.

Standards: RFC 2047 (encoded words), RFC 2231 §3–4 (parameters), RFC 5322 §2.1.1, §2.2.3
(line length, folding), §3.2.4–3.2.5 (quoted strings, phrases).
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Final

MAX_LINE_OCTETS: Final = 78  # RFC 5322 §2.1.1, without CRLF
MAX_ENCODED_LINE_OCTETS: Final = 76  # RFC 2047 §2, a line with an encoded word
MAX_ENCODED_WORD_OCTETS: Final = 75  # RFC 2047 §2
#: A word this long still fits a line of 998 octets with any field name before it.
MAX_WORD_OCTETS: Final = 900

_OPEN_Q: Final = "=?utf-8?q?"
_OPEN_B: Final = "=?utf-8?b?"
_CLOSE: Final = "?="
#: The longest character, four octets, as Q.
_MIN_ROOM: Final = 12
_ROOM: Final = MAX_ENCODED_WORD_OCTETS - len(_OPEN_Q) - len(_CLOSE)
#: What an encoded word may hold as it is, even inside a phrase (RFC 2047 §5 (3)).
_Q_LITERAL: Final = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!*+-/"
)
_ATOMS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
)
_PRINTABLE: Final = re.compile(r"[ -~]*")
#: C0, DEL and C1 controls, line and paragraph separators, lone surrogates.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WORD: Final = re.compile(r"(?: *[^ ]+)")
#: RFC 2231 §7: ``attribute-char``.
_ATTRIBUTE_CHARS: Final = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&+-.^_`{|}~"
)
_MAX_PARAMETER_OCTETS: Final = 60


def has_controls(text: str) -> bool:
    """Whether ``text`` has characters that no field, log line or row should see.

    C0, DEL, C1, the line and paragraph separators (some readers break lines at them),
    and lone surrogates (they are not UTF-8).
    """
    return _CONTROLS.search(text) is not None


def is_plain(text: str) -> bool:
    """Whether ``text`` can stand in an unstructured field as it is and be read back.

    Printable ASCII, no blank at either end, and nothing that a reader would take for an
    encoded word.
    """
    return (
        _PRINTABLE.fullmatch(text) is not None
        and "=?" not in text
        and text == text.strip(" ")
    )


def fold(name: str, words: Iterable[str]) -> bytes:
    """Return the whole field ``name: words CRLF``.

    A line end goes before a word that would not fit its line. Words that begin with
    blanks keep them; others get one before them. The name stands alone only before an
    encoded word that needs it (some readers take an empty first line for the value).
    """
    line = f"{name}:"
    lines: list[str] = []
    has_encoded = False
    for word in words:
        piece = word if word.startswith(" ") else f" {word}"
        is_encoded = word.startswith("=?")
        limit = (
            MAX_ENCODED_LINE_OCTETS if has_encoded or is_encoded else MAX_LINE_OCTETS
        )
        is_full = _octets(line) + _octets(piece) > limit
        if is_full and (lines or line != f"{name}:" or is_encoded):
            lines.append(line)
            line = piece
            has_encoded = is_encoded
        else:
            line += piece
            has_encoded = has_encoded or is_encoded
    lines.append(line)
    return ("\r\n".join(lines) + "\r\n").encode()


def room_after(name: str) -> int:
    """Return what an encoded word may hold on the line of the field's name."""
    room = MAX_ENCODED_LINE_OCTETS - len(f"{name}: {_OPEN_Q}{_CLOSE}")
    return max(room, _MIN_ROOM)


def text_words(text: str, first_room: int = _ROOM) -> list[str]:
    """Return the words of an unstructured value: plain ones, or all of it encoded.

    Args:
        text: without control characters (:func:`has_controls`).
        first_room: of the first encoded word (:func:`room_after`).
    """
    if is_plain(text):
        words = _WORD.findall(text)
        if all(len(word) < MAX_ENCODED_LINE_OCTETS for word in words):
            return words
    return encoded_words(text, first_room)


def encoded_words(text: str, first_room: int = _ROOM) -> list[str]:
    """Return ``text`` as encoded words, each of ≤ 75 octets; Q or B, which is shorter.

    No character is split between two words (RFC 2047 §5), so each decodes by itself.
    Blanks between encoded words mean nothing to a reader; all of ``text``, blanks too, is
    inside them.
    """
    octets = text.encode()
    quoted = sum(1 if octet in _Q_LITERAL or octet == 0x20 else 3 for octet in octets)
    if quoted <= -(-len(octets) // 3) * 4:
        return [_OPEN_Q + part + _CLOSE for part in _q_parts(text, first_room)]
    return [_OPEN_B + part + _CLOSE for part in _b_parts(text, first_room)]


def phrase_words(name: str) -> list[str]:
    """Return a display name as words: atoms, one quoted string, or encoded words."""
    if _ATOMS.fullmatch(name) and "=?" not in name:
        words = name.split(" ")
        if all(len(word) < MAX_ENCODED_LINE_OCTETS for word in words):
            return words
    if is_plain(name) and len(name) <= _MAX_PARAMETER_OCTETS and "  " not in name:
        return [quoted_string(name)]
    return encoded_words(name, room_after("Reply-To"))


def quoted_string(text: str) -> str:
    """Return printable ASCII as an RFC 5322 §3.2.4 quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parameter_words(name: str, value: str) -> list[str]:
    """Return a MIME parameter as words; all but the last end with ``;``.

    Short printable ASCII is a quoted string; the rest is RFC 2231, in numbered pieces when
    it does not fit one line.
    """
    if is_plain(value) and len(value) <= _MAX_PARAMETER_OCTETS and "%" not in value:
        return [f"{name}={quoted_string(value)}"]
    room = MAX_LINE_OCTETS - len(f" {name}*00*=utf-8'';")
    pieces = list(_percent_parts(value, room))
    if len(pieces) == 1:
        return [f"{name}*=utf-8''{pieces[0]}"]
    words = [
        f"{name}*{number}*={'' if number else 'utf-8' + chr(39) * 2}{piece};"
        for number, piece in enumerate(pieces)
    ]
    words[-1] = words[-1].removesuffix(";")
    return words


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _q_parts(text: str, first_room: int) -> Iterator[str]:
    room = min(first_room, _ROOM)
    part = ""
    for char in text:
        coded = "".join(
            "_"
            if octet == 0x20
            else chr(octet)
            if octet in _Q_LITERAL
            else f"={octet:02X}"
            for octet in char.encode()
        )
        if part and len(part) + len(coded) > room:
            yield part
            part, room = "", _ROOM
        part += coded
    if part:
        yield part


def _b_parts(text: str, first_room: int) -> Iterator[str]:
    room = min(first_room, _ROOM) // 4 * 3
    part = b""
    for char in text:
        coded = char.encode()
        if part and len(part) + len(coded) > room:
            yield b64encode(part).decode()
            part, room = b"", _ROOM // 4 * 3
        part += coded
    if part:
        yield b64encode(part).decode()


def _percent_parts(text: str, room: int) -> Iterator[str]:
    part = ""
    for char in text:
        coded = "".join(
            chr(octet) if octet in _ATTRIBUTE_CHARS else f"%{octet:02X}"
            for octet in char.encode()
        )
        if len(part) + len(coded) > room:
            yield part
            part = ""
        part += coded
    yield part
