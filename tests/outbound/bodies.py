"""Bodies of every shape, made from a seed: text, multiparts, files, and what is broken."""

import base64
import quopri
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

CRLF: Final = b"\r\n"
_WORDS: Final = (
    *("order", "invoice", "shipment", "the", "of", "and", "your", "total", "thank you"),
    *(".", "..", ".hidden", "From", ">From", "=3D", "=?utf-8?q?x?=", "--", "--x"),
    *("заказ", "счёт", "доставка", "спасибо", "ёлка", "株式会社", "✨", "🎉", "façade"),
)
_CHARSETS: Final = ("utf-8", "utf-8", "windows-1251", "koi8-r", "iso-8859-1")
_LONG: Final = (997, 998, 999, 1000, 1500, 4_096, 20_000)


@dataclass(frozen=True, slots=True)
class Entity:
    """A MIME entity: its own fields, complete with CRLF, and its body."""

    fields: tuple[bytes, ...]
    body: bytes


def entity(rng: Random, *, is_large: bool = False) -> Entity:
    """Return the fields that describe a body, and the body."""
    shapes = (*_SHAPES, _large) if is_large else _SHAPES
    shape = _large if is_large else rng.choice(shapes)
    return shape(rng)


def lines(rng: Random, *, charset: str = "utf-8", most: int = 40) -> bytes:
    """Return text with CRLF line ends, none of them missing."""
    return b"".join(_line(rng, charset) + CRLF for _ in range(rng.randint(1, most)))


def _line(rng: Random, charset: str) -> bytes:
    kind = rng.random()
    if kind < 0.08:
        return rng.choice((b"", b".", b"..", b"...", b". ", b".x", b"-- "))
    if kind < 0.12:
        return b""
    words = " ".join(rng.choices(_WORDS, k=rng.randint(1, 14)))
    if kind < 0.2:
        words += rng.choice((" ", "\t", " \t  "))
    elif kind < 0.25:
        words = rng.choice((".", "..", " ", "\t")) + words
    return words.encode(charset, "replace")


def _plain(rng: Random) -> Entity:
    text = "".join(
        f"{rng.choice(('', '.', '..', ' '))}line {number} of plain text\r\n"
        for number in range(rng.randint(1, 60))
    )
    return Entity((), text.encode())


def _empty(rng: Random) -> Entity:
    # A body of blanks alone is left out: see ``differences.py``.
    return Entity((), rng.choice((b"", CRLF, CRLF * 3, CRLF * 40)))


def _text(rng: Random) -> Entity:
    charset = rng.choice(_CHARSETS)
    body = lines(rng, charset=charset)
    declared = rng.choice(("8bit", "8bit", "8BIT", "binary", ""))
    fields = [_type(rng, f"text/{rng.choice(('plain', 'html'))}", charset=charset)]
    if declared:
        fields.append(f"Content-Transfer-Encoding: {declared}\r\n".encode())
    return Entity((_version(rng), *fields), body)


def _undeclared(rng: Random) -> Entity:
    """8-bit text that says nothing of itself."""
    return Entity((), lines(rng, charset=rng.choice(_CHARSETS)))


def _long_lines(rng: Random) -> Entity:
    length = rng.choice(_LONG)
    line = (rng.choice(("x", "word ", "пр", ".")) * length).encode()[:length]
    line = line.decode("utf-8", "ignore").encode()
    text = lines(rng, most=5) + line + CRLF + lines(rng, most=5)
    return Entity((_version(rng), _type(rng, "text/plain", charset="utf-8")), text)


def _encoded(rng: Random) -> Entity:
    text = lines(rng)
    if rng.random() < 0.5:
        encoding, body = "base64", _base64(text)
    else:
        encoding = "quoted-printable"
        body = quopri.encodestring(text.replace(CRLF, b"\n")).replace(b"\n", CRLF)
    field = f"Content-Transfer-Encoding: {encoding}\r\n".encode()
    kind = _type(rng, "text/plain", charset="utf-8")
    return Entity((_version(rng), kind, field), body)


def _alternative(rng: Random) -> Entity:
    parts = [_part(rng, "text/plain"), _part(rng, "text/html")]
    return _multipart(rng, "alternative", parts)


def _mixed(rng: Random) -> Entity:
    inner = _alternative(rng)
    first = _wire(inner.fields[1:], inner.body)
    files = [_file(rng) for _ in range(rng.randint(1, 3))]
    return _multipart(rng, "mixed", [first, *files])


def _related(rng: Random) -> Entity:
    image = _wire(
        (
            b"Content-Type: image/png\r\n",
            b"Content-ID: <i1@example.com>\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
        ),
        _base64(rng.randbytes(rng.randint(1, 3_000))),
    )
    return _multipart(rng, "related", [_part(rng, "text/html"), image])


def _deep(rng: Random) -> Entity:
    inner = _alternative(rng)
    for _ in range(rng.randint(2, 12)):
        inner = _multipart(rng, "mixed", [_wire(inner.fields[1:], inner.body)])
    return inner


def _signed(rng: Random) -> Entity:
    """8-bit text that must not be touched: another signature covers it."""
    signature = _wire((b"Content-Type: application/pgp-signature\r\n",), b"-----x\r\n")
    return _multipart(rng, "signed", [_part(rng, "text/plain"), signature])


def _forwarded(rng: Random) -> Entity:
    inner = b"From: c@example.net\r\nSubject: inner\r\n\r\n" + lines(rng, most=8)
    part = _wire((b"Content-Type: message/rfc822\r\n",), inner)
    return _multipart(rng, "mixed", [_part(rng, "text/plain"), part])


def _raw_file(rng: Random) -> Entity:
    """A file as it is: octets that are no text and must not be taken for it."""
    octets = rng.randbytes(rng.randint(1, 4_000)).translate(None, b"\0\r\n\x0b\x0c")
    part = _wire(
        (
            b"Content-Type: application/octet-stream\r\n",
            b"Content-Transfer-Encoding: binary\r\n",
        ),
        octets,
    )
    return _multipart(rng, "mixed", [_part(rng, "text/plain"), part])


def _unclosed(rng: Random) -> Entity:
    """A multipart whose end, or whose boundary, is missing."""
    whole = _multipart(rng, "mixed", [_part(rng, "text/plain"), _file(rng)])
    if rng.random() < 0.5:
        return Entity(whole.fields, whole.body.rpartition(b"--")[0] + CRLF)
    fields = (_version(rng), b"Content-Type: multipart/mixed\r\n")
    return Entity(fields, whole.body)


def _large(rng: Random) -> Entity:
    # Around 64 KB bodies move from the row to a file.
    octets = rng.choice((64 << 10, 70_000, 200_000, 700_000))
    field = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    file = _wire((field,), _base64(rng.randbytes(octets * 3 // 4)))
    return _multipart(rng, "mixed", [_part(rng, "text/plain"), file])


_SHAPES: Final[tuple[Callable[[Random], Entity], ...]] = (
    *(_plain, _empty, _text, _text, _undeclared, _long_lines, _encoded),
    *(_alternative, _alternative, _mixed, _mixed, _related, _deep),
    *(_signed, _forwarded, _raw_file, _unclosed),
)


def _part(rng: Random, media_type: str) -> bytes:
    charset = rng.choice(_CHARSETS)
    fields = [_type(rng, media_type, charset=charset)]
    if rng.random() < 0.7:
        fields.append(b"Content-Transfer-Encoding: 8bit\r\n")
    body = lines(rng, charset=charset, most=20)
    return _wire(tuple(fields), body if rng.random() < 0.7 else body[:-2])


def _file(rng: Random) -> bytes:
    name = rng.choice(('"a.pdf"', "b.bin", '"два слова.txt"', '"=?utf-8?q?=C3=A9?="'))
    fields = (
        f"Content-Type: application/octet-stream; name={name}\r\n".encode(),
        f"Content-Disposition: attachment;\r\n\tfilename={name}\r\n".encode(),
        b"Content-Transfer-Encoding: base64\r\n",
    )
    return _wire(fields, _base64(rng.randbytes(rng.randint(0, 6_000))))


def _multipart(rng: Random, subtype: str, parts: list[bytes]) -> Entity:
    boundary = f"{rng.choice(('=_', '', '----'))}{rng.getrandbits(64):016x}"
    quoted = f'"{boundary}"' if boundary.startswith("=") else boundary
    delimiter = f"--{boundary}".encode()
    blank = rng.choice((b"", b"", b" "))
    pieces = [rng.choice((b"", b"This is MIME.\r\n", b"\r\n"))]
    for part in parts:
        pieces += [delimiter, blank, CRLF, part, CRLF]
    pieces += [delimiter, b"--", rng.choice((CRLF, b"\r\nepilogue\r\n", b"\r\n\r\n"))]
    kind = _type(rng, f"multipart/{subtype}", boundary=quoted)
    return Entity((_version(rng), kind), b"".join(pieces))


def _type(rng: Random, media_type: str, **parameters: str) -> bytes:
    name = rng.choice(("Content-Type", "Content-type", "content-type"))
    gap = rng.choice((" ", "", "\t", "\r\n "))
    joint = rng.choice(("; ", ";", ";\r\n\t", ";\r\n   "))
    said = "".join(f"{joint}{key}={value}" for key, value in parameters.items())
    return f"{name}:{gap}{media_type}{said}\r\n".encode()


def _version(rng: Random) -> bytes:
    spelt = rng.choice(("MIME-Version: 1.0", "Mime-Version: 1.0 (made by hand)"))
    return f"{spelt}\r\n".encode()


def _wire(fields: tuple[bytes, ...], body: bytes) -> bytes:
    return b"".join(fields) + CRLF + body


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", CRLF)
