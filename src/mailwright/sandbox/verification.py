"""DKIM verified by code that is not ours: dkimpy, for worker processes.

A verification costs 1–2 ms of pure Python, so it is kept out of the loop's interpreter.
The workers get the public keys with the messages and ask no DNS.

Standard: RFC 6376 §6.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import dkim

MAX_SIGNATURES: Final = 4  # tried of one message
MIN_KEY_BITS: Final = 1024  # RFC 8301 §3.2
#: What dkimpy raises for signatures, keys and messages that it cannot read.
_UNREADABLE: Final = (dkim.DKIMException, ValueError, LookupError, TypeError)


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out.

    Attributes:
        domain: ``d=`` of a signature that holds; ``""`` when none does.
        reason: why none does.
    """

    domain: str
    reason: str = ""

    @property
    def is_valid(self) -> bool:
        """Whether a signature holds."""
        return bool(self.domain)


def verify(content: bytes, keys: Mapping[str, str]) -> Verification:
    """Verify the signatures of one message until one holds. Total.

    Args:
        content: as received, dots unstuffed.
        keys: TXT records by lower-case name without the final dot; no others exist.
    """

    def look_up(name: bytes, timeout: float = 0) -> bytes | None:
        del timeout  # of a question that is never asked
        text = keys.get(name.decode("ascii", "replace").rstrip(".").lower())
        return None if text is None else text.encode()

    reason = "not signed"
    for number in range(MAX_SIGNATURES):
        try:
            verifier = dkim.DKIM(content, minkey=MIN_KEY_BITS)
            if verifier.verify(idx=number, dnsfunc=look_up):
                return Verification(verifier.domain.decode("ascii", "replace"))
        except _UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}"
            continue
        if verifier.domain is None:
            break  # there is no signature of this number
        reason = "the signature does not hold, or its key is missing"
    return Verification("", reason)


def verify_all(
    contents: Sequence[bytes], keys: Mapping[str, str]
) -> list[Verification]:
    """Verify a batch: one hop to a worker costs as much as several messages."""
    return [verify(content, keys) for content in contents]


def prepare_worker() -> None:
    """Leave Ctrl-C to the parent, which then stops its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
