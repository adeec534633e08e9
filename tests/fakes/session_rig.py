"""Parcels, keys and calls for tests of sessions in processes."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fakes.campaign_contents import content_json, merge_of
from mailwright.accounts.signing_keys import DkimSecret, SigningKeys
from mailwright.attempt import Attempt, Parcel
from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.mta.sessions.session import Call, Session, Sessions
from mailwright.mta.smtp.client import Terms
from mailwright.reply import Reply
from mailwright.site import Pipelining, TlsDemand

HEADER = (
    b"From: a@example.com\r\nTo: b@example.org\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
)
#: A content of a campaign; a field that it does not know is an error.
CONTENT = content_json(**{"from": {"address": "a@example.com"}}, strict=True)


def parcel(number: int, body: bytes = b"text\r\n") -> Parcel:
    return Parcel(
        delivery=DeliveryId(number),
        attempt=1,
        message=MessageId(number),
        header=HEADER,
        body=body,
        recipient=f"b{number}@example.org",
        reverse_path="a@example.com",
        accepted_at=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC),
        sending_domain=SendingDomainId(7),
        selector="s1",
    )


def campaign_parcel(
    number: int, field: str = "name", content: bytes = CONTENT
) -> Parcel:
    merge = replace(
        merge_of({field: f"N{number}"}), message_id=f"<{number}@example.com>"
    )
    return replace(parcel(number, content), header=b"", merge=merge)


class Keys:
    """A key ring whose keys can be replaced."""

    def __init__(self, *secrets: DkimSecret, note: str = "") -> None:
        self.secrets = secrets
        self.note = note

    def keys_for(
        self, _sending_domain: SendingDomainId, selector: str, _accepted_at: datetime
    ) -> SigningKeys | str:
        if not self.secrets:
            return f"no DKIM key has the selector {selector}"
        return SigningKeys(self.secrets, self.note)


def call_to(
    port: int,
    *,
    pipelining: Pipelining = Pipelining.TRANSACTIONS,
    tls: TlsDemand = TlsDemand.NONE,
    source: str = "",
) -> Call:
    terms = Terms("out.example.org", tls, pipelining, 1000)
    return Call("localhost", "127.0.0.1", port, source, terms, 60, 60, 0.02)


async def opened(sessions: Sessions, call: Call, attempts: list[Attempt]) -> Session:
    """Return a session whose ends come into ``attempts``."""
    session = await sessions.open(call, attempts.append)
    assert not isinstance(session, Reply), session
    assert hasattr(session, "offer"), session
    return session


async def carried(
    sessions: Sessions, call: Call, *batches: Sequence[Parcel]
) -> list[Attempt]:
    """Send ``batches`` over one session; return how they ended, by delivery."""
    attempts: list[Attempt] = []
    session = await opened(sessions, call, attempts)
    for batch in batches:
        session.offer(batch)
    await session.wait_until(lambda: not session.in_hand)
    session.quit()
    await session.wait_until(lambda: False)
    await session.end()
    return sorted(attempts, key=lambda each: each.parcel.delivery)


def children(process: int | None = None) -> list[int]:
    """Return the processes that ``process``, or this one, has started."""
    tasks = Path(f"/proc/{process or os.getpid()}/task").glob("*/children")
    return [int(pid) for path in tasks for pid in path.read_text().split()]


def is_alive(process: int) -> bool:
    """Return whether ``process`` runs; one that nobody has waited for does not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def open_files(process: int) -> list[str]:
    """Return what the descriptors of ``process`` are."""
    found = []
    for each in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.append(os.readlink(each))
    return found
