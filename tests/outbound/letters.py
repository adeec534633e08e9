"""Letters of every kind, made from a seed: what is submitted, and where to.

A letter is the same for the same seed and number. Left out is what the judges of
signatures disagree about among themselves: see ``differences.py``.
"""

import base64
from dataclasses import dataclass, field
from email.header import Header
from enum import StrEnum
from random import Random
from typing import Any, Final

from outbound.bodies import CRLF, entity, lines

#: The sending domain, and who writes. No mail of a corpus comes from there.
DOMAIN: Final = "shop.example"
AUTHOR: Final = f"a@{DOMAIN}"
#: Receivers that offer 8BITMIME, and that do not.
EIGHT: Final = "eight.example"
SEVEN: Final = "seven.example"
_LARGE_EVERY: Final = 150

_TEXTS: Final = (
    "Your order",
    "Ваш заказ №42 отправлен ✨",
    "株式会社からのお知らせ",
    "  blanks  inside   and around  ",
    "a: b; c, d <e@f> (g) \"h\" \\ 'i'",
    "x" * 70,
    "word " * 60,
    "слово " * 40,
    "🎉",
    "=?utf-8?q?not_encoded?",
)


class Door(StrEnum):
    """By which a letter is submitted."""

    SMTP = "smtp"
    OCTETS = "octets"  # HTTP, message/rfc822
    JSON = "json"


@dataclass(frozen=True, slots=True)
class HeaderField:
    """A field as submitted, with its CRLF; ``leaves``: the receiver gets it."""

    octets: bytes
    leaves: bool = True

    @property
    def name(self) -> bytes:
        """Its name as it is spelt."""
        return self.octets.partition(b":")[0].rstrip(b" \t")


@dataclass(frozen=True, slots=True)
class Letter:
    """What is submitted.

    Attributes:
        token: stands in the recipients.
        recipients: one at each receiver at most.
        fields: of the header, as octets.
        body: as octets.
        has_blank_line: whether one ends the header; without it there is no body.
        members: of the JSON instead of fields and body.
    """

    token: str
    door: Door
    recipients: tuple[str, ...]
    fields: tuple[HeaderField, ...] = ()
    body: bytes = b""
    has_blank_line: bool = True
    members: dict[str, Any] = field(default_factory=dict)

    @property
    def octets(self) -> bytes:
        """The message, for the doors that take octets."""
        blank = CRLF if self.has_blank_line else b""
        return b"".join(each.octets for each in self.fields) + blank + self.body

    @property
    def kept_fields(self) -> bytes:
        """The fields that receivers get, with their final empty line."""
        return b"".join(each.octets for each in self.fields if each.leaves) + CRLF

    def has(self, name: bytes) -> bool:
        """Whether there is a field of that lower-case name."""
        return any(each.name.lower() == name for each in self.fields)


def letter(seed: int, number: int) -> Letter:
    """Return letter ``number`` of ``seed``."""
    rng = Random(f"{seed}/{number}")  # noqa: S311  # chance that repeats is the point
    token = f"m{number}"
    door = rng.choice((Door.SMTP, Door.SMTP, Door.OCTETS, Door.JSON))
    domains = rng.choice(((EIGHT,), (EIGHT,), (SEVEN,), (SEVEN, EIGHT)))
    recipients = tuple(f"{token}@{domain}" for domain in domains)
    is_large = number % _LARGE_EVERY == _LARGE_EVERY - 1
    if door is Door.JSON:
        members = _members(rng, is_large=is_large)
        return Letter(token, door, recipients, members=members)
    described = entity(rng, is_large=is_large)
    body = described.body
    if door is Door.OCTETS and rng.random() < 0.3:
        body = body.removesuffix(CRLF)  # DATA cannot say this; HTTP can
    has_blank_line = bool(body) or rng.random() < 0.5
    fields = _header(rng, described.fields)
    return Letter(token, door, recipients, fields, body, has_blank_line)


def _header(rng: Random, of_body: tuple[bytes, ...]) -> tuple[HeaderField, ...]:
    fields = [HeaderField(_field(rng, "From", _author(rng)))]
    fields += map(HeaderField, of_body)
    for name, chance in (
        *(("To", 0.8), ("Cc", 0.2), ("Subject", 0.9), ("Reply-To", 0.2)),
        *(("Sender", 0.1), ("References", 0.2), ("In-Reply-To", 0.2)),
        *(("List-Id", 0.2), ("X-Order", 0.5), ("X-EMAIL-ID", 0.2)),
        *(("Comments", 0.1), ("Organization", 0.2)),
    ):
        if rng.random() < chance:
            fields.append(HeaderField(_field(rng, name, _value(rng, name))))
    if rng.random() < 0.8:
        date = rng.choice(("Fri, 2 Jan 2026 03:04:05 +0000", "2 Jan 26 03:04 GMT"))
        fields.append(HeaderField(_field(rng, "Date", date)))
    if rng.random() < 0.7:
        ident = f"<{rng.getrandbits(64):x}@example.com>"
        fields.append(HeaderField(_field(rng, "Message-ID", ident)))
    fields += _odd_fields(rng)
    rng.shuffle(fields)
    return tuple(fields)


def _author(rng: Random) -> str:
    return rng.choice(
        (
            AUTHOR,
            f"<{AUTHOR}>",
            f"Acme Shop <{AUTHOR}>",
            f'"Acme, Shop" <{AUTHOR}>',
            f"=?utf-8?b?{base64.b64encode('Магазин'.encode()).decode()}?= <{AUTHOR}>",
            f'"Магазин ✨" <{AUTHOR}>',
            f"(a comment) {AUTHOR}",
        )
    )


def _value(rng: Random, name: str) -> str:
    if name in {"References", "In-Reply-To"}:
        return "\r\n ".join(
            f"<{rng.getrandbits(40):x}@example.net>" for _ in range(rng.randint(1, 12))
        )
    if name in {"To", "Cc"}:
        return ",\r\n\t".join(
            f'"{rng.choice(("Имя", "B. C.", "x"))}" <b{number}@example.net>'
            for number in range(rng.randint(1, 8))
        )
    if name in {"Reply-To", "Sender"}:
        return "reply@example.com"
    if name == "List-Id":
        return "News of Acme <news.example.com>"
    text = rng.choice(_TEXTS)
    if text.isascii() or rng.random() < 0.5:
        return text.strip()  # UTF-8 as it is (RFC 6532)
    return Header(text, "utf-8", header_name=name).encode(linesep="\r\n")


def _field(rng: Random, name: str, value: str) -> bytes:
    """Return a field: any case, any blanks around the value, folded anywhere."""
    name = rng.choice((name, name, name.lower(), name.upper()))
    gap = rng.choice((" ", " ", " ", "", "\t", "   ", "\r\n ", "\r\n\t "))
    if "\r\n" not in value and rng.random() < 0.3:
        value = value.replace(" ", rng.choice(("  ", "\r\n ", " \r\n\t")), 1)
    tail = rng.choice(("", "", "", " ", " \t", "\r\n "))
    return f"{name}:{gap}{value}{tail}\r\n".encode()


def _odd_fields(rng: Random) -> list[HeaderField]:
    """Return fields that are repeated, empty, strange, foreign, or not for receivers."""
    pool = (
        HeaderField(b"X-Repeated: one\r\n"),
        HeaderField(b"X-Repeated: two\r\n"),
        HeaderField(b"x-repeated:\r\n"),
        HeaderField(b"Comments:\r\n \r\n folded around a line of blanks\r\n"),
        HeaderField(b"List-Unsubscribe: <https://example.com/u>\r\n"),
        HeaderField(b"list-unsubscribe: <mailto:u@example.com>\r\n"),
        HeaderField(b"Feedback-ID: 1:2:3:acme\r\n"),
        HeaderField(b"Feedback-ID: 4:5:6:acme\r\n"),
        HeaderField(b"Received: from a (b [192.0.2.1]) by c;\r\n\tFri, 2 Jan 2026\r\n"),
        HeaderField(b"X-!#$%&'*+/=?^_`{|}~: the name has every sign\r\n"),
        HeaderField(b"X-Latin: caf\xe9 \xff\xfe\r\n"),
        HeaderField(b"X-Long: " + b"word " * 400 + b"\r\n"),
        HeaderField(b"X-Unbroken: " + b"x" * 3000 + b"\r\n"),
        HeaderField(
            b"DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=none;\r\n"
            b"\tc=relaxed/simple; h=from:to; bh=AAAA; b=BBBB\r\n"
        ),
        HeaderField(b"Bcc: hidden@example.net\r\n", leaves=False),
        HeaderField(b"bcc:\r\n hidden@example.net\r\n", leaves=False),
        HeaderField(b"Return-Path: <x@example.net>\r\n", leaves=False),
        HeaderField(b"Content-Length: 7\r\n", leaves=False),
        HeaderField(b"X-Mailwright-Tags: a, b\r\n", leaves=False),
        HeaderField(b"X-Mailgun-Tag: a\r\n", leaves=False),
        HeaderField(b'X-SMTPAPI: {"to": ["x@example.net"]}\r\n', leaves=False),
    )
    return rng.sample(pool, rng.choice((0, 0, 1, 2, 3, 6)))


def _members(rng: Random, *, is_large: bool) -> dict[str, Any]:
    members: dict[str, Any] = {
        "from": {
            "address": AUTHOR,
            "name": rng.choice(("", "Acme", "Магазин ✨", 'a "b"')),
        },
        "subject": rng.choice((*_TEXTS, "")),
    }
    kind = rng.randrange(3)
    if kind != 1:
        members["text"] = _json_text(rng)
    if kind != 0:
        members["html"] = f"<p>{_json_text(rng)}</p>"
    if rng.random() < 0.4:
        names = ("", "Имя", "B. C.", "x" * 60)
        members["reply_to"] = [{"address": "r@example.com", "name": rng.choice(names)}]
    if rng.random() < 0.4:
        members["headers"] = {"X-Order": "42", "X-Note": rng.choice(_TEXTS).strip()}
    if is_large or rng.random() < 0.4:
        octets = rng.choice((70_000, 400_000)) if is_large else rng.randint(0, 5_000)
        members["attachments"] = [
            {
                "filename": rng.choice(("a.pdf", "счёт № 1.pdf", "a b;c.bin")),
                "content_type": "application/octet-stream",
                "content": base64.b64encode(rng.randbytes(octets)).decode(),
            }
        ]
    return members


def _json_text(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.1:
        return rng.choice(("", "\n", ".", "..\n.", "x" * 5000, "п" * 3000))
    text = lines(rng, most=30).decode()
    return text if rng.random() < 0.5 else text.replace("\r\n", "\n")
