"""What nobody may do to a signed message unseen, and what a relay may.

Each case takes a message as a receiver got it and returns it changed. All judges must
refuse every case, and accept the message as it was, and as an honest relay leaves it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fakes.dkim_judges import Judges
from mailwright.message import Field, fields, find, split
from outbound.comparing import Copy
from outbound.letters import DOMAIN

_BOUNDARY: Final = re.compile(rb'boundary="?([^\s";]+)', re.IGNORECASE)
_CRLF: Final = b"\r\n"
_SIGNER: Final = f"d={DOMAIN}".encode()


@dataclass(frozen=True, slots=True)
class Message:
    """A signed message in its pieces."""

    header: bytes
    body: bytes

    @property
    def octets(self) -> bytes:
        """The whole."""
        return self.header + self.body

    def only(self, name: bytes) -> Field:
        """Return the first field of that name."""
        return find(fields(self.header), name)[0]

    def has(self, name: bytes) -> bool:
        """Whether there is such a field."""
        return bool(find(fields(self.header), name))

    def with_field(self, name: bytes, octets: bytes) -> bytes:
        """Return the message with ``octets`` in place of the first field of a name."""
        old = self.only(name)
        return self.header[: old.start] + octets + self.header[old.end :] + self.body

    def with_value(self, name: bytes, change: Callable[[bytes], bytes]) -> bytes:
        """Return the message with the value of the first field of a name changed."""
        old = self.only(name)
        return self.with_field(name, old.name + b":" + change(old.value) + _CRLF)

    def below_signature(self, octets: bytes) -> bytes:
        """Return the message with a field below the signature, above the others."""
        end = self.only(b"dkim-signature").end
        return self.header[:end] + octets + self.header[end:] + self.body


def _body_octet(it: Message) -> bytes:
    body = bytearray(it.body)
    place = next(at for at in range(len(body) // 2, len(body)) if body[at] > 0x20)
    body[place] ^= 0x01
    return it.header + bytes(body)


def _retagged(it: Message, tag: bytes) -> bytes:
    def change(value: bytes) -> bytes:
        return re.sub(rb"\bbh=", tag + b"; bh=", value, count=1)

    return it.with_value(b"dkim-signature", change)


def _boundary_in(it: Message) -> bytes:
    found = _BOUNDARY.search(it.only(b"content-type").value)
    assert found is not None
    return found[1]


def _other_boundary(it: Message) -> bytes:
    old = _boundary_in(it)
    return it.octets.replace(old, old[:-1] + (b"0" if old[-1:] != b"0" else b"1"))


def _first_boundary_hidden(it: Message) -> bytes:
    """The parts become a preamble that no reader shows."""
    return it.with_value(
        b"content-type", lambda v: v.replace(_boundary_in(it), b"another")
    )


def _truncated(it: Message) -> bytes:
    lines = it.body.rstrip().split(_CRLF)
    return it.header + _CRLF.join(lines[: len(lines) // 2]) + _CRLF


CASES: Final[Mapping[str, Callable[[Message], bytes]]] = {
    "one bit of the body": _body_octet,
    "half of the body is gone": _truncated,
    "text after the body": lambda it: it.octets + b"buy this instead\r\n",
    "text before the body": lambda it: it.header + b"buy this instead\r\n" + it.body,
    "another Subject": lambda it: it.with_value(b"subject", lambda v: v + b"!"),
    "another Date": lambda it: it.with_field(
        b"date", b"Date: Sat, 3 Jan 2026 03:04:05 +0000\r\n"
    ),
    "no Date": lambda it: it.with_field(b"date", b""),
    "no Message-ID": lambda it: it.with_field(b"message-id", b""),
    "another From": lambda it: it.with_field(b"from", b"From: boss@shop.example\r\n"),
    "a second From on top": lambda it: b"From: boss@shop.example\r\n" + it.octets,
    "a second From below": lambda it: (
        it.header[:-2] + b"From: boss@shop.example\r\n\r\n" + it.body
    ),
    "a second Subject": lambda it: it.below_signature(b"Subject: you won\r\n"),
    "a Reply-To that was not": lambda it: it.below_signature(
        b"Reply-To: thief@example.net\r\n"
    ),
    "a List-Unsubscribe that was not": lambda it: it.below_signature(
        b"List-Unsubscribe: <https://example.net/>\r\n"
    ),
    "another Content-Type": lambda it: it.with_field(
        b"content-type", b"Content-Type: text/html\r\n"
    ),
    "a second Content-Type": lambda it: it.below_signature(
        b"Content-Type: text/html\r\n"
    ),
    "a Content-Transfer-Encoding": lambda it: it.below_signature(
        b"Content-Transfer-Encoding: base64\r\n"
    ),
    "another boundary all through": _other_boundary,
    "a boundary that hides the parts": _first_boundary_hidden,
    "l= of the whole, and text after it": lambda it: (
        _retagged(it, b"l=%d" % len(it.body)) + b"buy this instead\r\n"
    ),
    "l=0 and another body": lambda it: (
        Message(*split(_retagged(it, b"l=0"))).header + b"buy this instead\r\n"
    ),
    "another domain that has a key": lambda it: it.with_value(
        b"dkim-signature", lambda v: v.replace(_SIGNER, b"d=other.example")
    ),
    "From out of h=": lambda it: it.with_value(
        b"dkim-signature", lambda v: v.replace(b"h=From:From:", b"h=", 1)
    ),
    "signed later": lambda it: it.with_value(
        b"dkim-signature", lambda v: re.sub(rb"\bt=(\d+)", rb"t=1\1", v)
    ),
}
#: What relays do, and what relaxed canonicalization forgives (RFC 6376 §3.4).
HONEST: Final[Mapping[str, Callable[[Message], bytes]]] = {
    "untouched": lambda it: it.octets,
    "a Received on top": lambda it: (
        b"Received: from a by b;\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n" + it.octets
    ),
    "refolded": lambda it: it.with_value(
        b"subject", lambda v: b"\r\n\t" + v.strip() + b"  "
    ),
    "blank lines at the end": lambda it: it.octets + b"\r\n\r\n",
}


@dataclass(slots=True)
class Outcome:
    """What the judges said.

    Attributes:
        messages: that were tampered with.
        accepted: verdicts on honest changes that say that the signature holds, of how many.
        refused: verdicts on tampering that say that it does not, of how many.
        complaints: which verdicts were wrong.
    """

    messages: int = 0
    accepted: tuple[int, int] = (0, 0)
    refused: tuple[int, int] = (0, 0)
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every verdict is right, and there are some of both kinds."""
        return all(right == asked > 0 for right, asked in (self.accepted, self.refused))

    def __str__(self) -> str:
        accepted, refused = (f"{a}/{b}" for a, b in (self.accepted, self.refused))
        return (
            f"tampering: cases {len(CASES)} messages {self.messages} "
            f"refused {refused} control (honest changes): accepted {accepted}"
        )


def fit(copies: Sequence[Copy]) -> list[Message]:
    """Return messages that every case can be done to."""
    found = []
    for copy in copies:
        it = Message(*split(copy.kept.content))
        needed = (b"subject", b"date", b"message-id", b"content-type")
        absent = (b"reply-to", b"list-unsubscribe", b"content-transfer-encoding")
        if (
            all(map(it.has, needed))
            and not any(map(it.has, absent))
            and it.only(b"subject").value.strip()
            and len(find(fields(it.header), b"dkim-signature")) == 1
            and _BOUNDARY.search(it.only(b"content-type").value)
            and b"--" + _boundary_in(it) in it.body
        ):
            found.append(it)
    return found


async def tamper(messages: Sequence[Message], judges: Judges) -> Outcome:
    """Let every judge see every case of every message."""
    outcome = Outcome(len(messages))
    accepted = await _verdicts(messages, HONEST, judges, outcome, holds=True)
    refused = await _verdicts(messages, CASES, judges, outcome, holds=False)
    outcome.accepted, outcome.refused = accepted, refused
    return outcome


async def _verdicts(
    messages: Sequence[Message],
    changes: Mapping[str, Callable[[Message], bytes]],
    judges: Judges,
    outcome: Outcome,
    *,
    holds: bool,
) -> tuple[int, int]:
    """Return how many verdicts are right, and how many there are."""
    right = asked = 0
    for name, change in changes.items():
        changed = [change(each) for each in messages]
        for old, new in zip(messages, changed, strict=True):
            assert holds or old.octets != new, f"{name} changes nothing"
        for who, said in (await judges.judge(changed)).items():
            good = [(not text) is holds for text in said]
            right, asked = right + sum(good), asked + len(good)
            if not all(good):
                wrong = next(text for text in said if (not text) is not holds)
                outcome.complaints.append(f"{who}: {name}: {wrong or 'accepted'}")
    return right, asked
