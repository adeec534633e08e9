"""What became of mail to receivers that misbehave: the events, the queue, and a table.

Each receiver has a domain of its own and an expectation: how the events about its mail
begin and end, and what they say.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fakes.node_process import NodeProcess, query
from fakes.submitting import HttpClient

#: Short enough to wait for; longer than any receiver that only dawdles takes.
TIMEOUTS = (
    "\n[delivery.timeouts]\n"
    + "".join(
        f'{step} = "4s"\n'
        for step in ("connect", "banner", "ehlo", "tls", "mail", "rcpt", "data")
    )
    + 'block = "6s"\ndot = "4s"\n'
)
_WITHIN_S = 120.0

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """How mail to one receiver must end.

    Attributes:
        end: the type of the last event that counts: ``delivered``, ``bounced``,
            ``expired``, or ``deferred`` for what waits.
        said: a pattern for code, phase, origin and text of the first outcome.
        is_marked: whether the end must be marked as a possible duplicate.
        at_most: copies that the receiver may have.
    """

    end: str
    said: str = ""
    is_marked: bool = False
    at_most: int = 1


DELIVERED = Expected("delivered")
#: Lost between dot and reply, twice.
AMBIGUOUS = Expected("expired", is_marked=True, at_most=2)


@dataclass(slots=True)
class Verdict:
    """What was found."""

    acknowledged: int = 0
    lost: int = 0
    complaints: list[str] = field(default_factory=list)


async def outcomes(
    node: NodeProcess, table: Mapping[str, Expected], per_domain: int
) -> dict[str, dict[str, list[Event]]]:
    """Return the events by domain and recipient, when there are enough to judge."""
    client = HttpClient(node.http)
    try:
        found: dict[str, dict[str, list[Event]]] = {}
        try:
            async with asyncio.timeout(_WITHIN_S):
                while True:
                    found = _sorted(await client.events())
                    if all(
                        _is_enough(found.get(domain, {}), expected, per_domain)
                        for domain, expected in table.items()
                    ):
                        return found
                    await asyncio.sleep(0.5)
        except TimeoutError:
            return found
    finally:
        await client.close()


def _sorted(events: Sequence[Event]) -> dict[str, dict[str, list[Event]]]:
    found: dict[str, dict[str, list[Event]]] = {}
    for event in events:
        if event["type"] == "received":
            continue
        recipient = event["recipient"]
        domain = recipient.rpartition("@")[2]
        found.setdefault(domain, {}).setdefault(recipient, []).append(event)
    return found


def _is_enough(
    found: Mapping[str, Sequence[Event]], expected: Expected, per_domain: int
) -> bool:
    return len(found) >= per_domain and all(
        events[-1]["type"] != "deferred"
        or (expected.end == "deferred" and len(events) > 1)
        for events in found.values()
    )


def judge(
    node: NodeProcess,
    table: Mapping[str, Expected],
    found: Mapping[str, Mapping[str, Sequence[Event]]],
    acknowledged: Sequence[str],
    copies_of: Callable[[str], int],
) -> Verdict:
    """Compare everything that was acknowledged with the table, and with the receivers.

    Args:
        node: whose queue is looked at.
        table: what is expected, by domain.
        found: as :func:`outcomes` gives it.
        acknowledged: recipients.
        copies_of: how many copies the receiver of a recipient has.
    """
    verdict = Verdict(len(acknowledged))
    queued = Counter(row[0] for row in query(node.settings, _QUEUED))
    for recipient in acknowledged:
        domain = recipient.rpartition("@")[2]
        expected = table[domain]
        events = found.get(domain, {}).get(recipient, [])
        copies = copies_of(recipient)
        end = events[-1]["type"] if events else "nothing"
        is_final = end in {"delivered", "bounced", "expired"}
        if (end == "delivered" and not copies) or (
            not is_final and not queued[recipient]
        ):
            verdict.lost += 1
        wrong = _wrong(expected, events, copies)
        if wrong:
            verdict.complaints.append(f"{domain}: {', '.join(wrong)}: {_told(events)}")
    return verdict


_QUEUED = "SELECT recipient FROM deliveries"


def _wrong(expected: Expected, events: Sequence[Event], copies: int) -> list[str]:
    wrong = []
    end = events[-1]["type"] if events else "nothing"
    if end != expected.end:
        wrong.append(f"{end} instead of {expected.end}")
    if events and not re.search(expected.said, said_in(events[0])):
        wrong.append(f"not {expected.said!r}")
    is_marked = bool(events) and "possible_duplicate" in events[-1]["data"]
    if is_marked != expected.is_marked:
        wrong.append("not marked" if expected.is_marked else "marked")
    if copies > expected.at_most:
        wrong.append(f"{copies} copies")
    if not all(str(event["data"].get("text", "")).isprintable() for event in events):
        wrong.append("control characters in an event")
    return wrong


def said_in(event: Event) -> str:
    """Return what an event says of its reply, on one line."""
    data = event["data"]
    members = ("code", "enhanced", "phase", "origin", "text")
    return " ".join(str(data.get(member, "")) for member in members)


def _told(events: Sequence[Event]) -> str:
    return "; ".join(f"{event['type']} {said_in(event)}" for event in events[:3])
