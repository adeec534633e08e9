"""The demo's CRM: hands its job over as a campaign and asks who got which message.

Blocking, in a thread of its own, by HTTP alone. The recipients go in two uploads; the
second is sent twice with one key, as after a lost answer, and must count once.
"""

import gzip
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final

from mailwright.address import canonical_domain
from mailwright.sandbox.demo.content import NEWS
from mailwright.sandbox.demo.doors import DoorError, Doors, HttpClient
from mailwright.sandbox.demo.folder import BULK
from mailwright.sandbox.demo.job import Job, Member, request
from mailwright.sandbox.demo.ledger import Promise

_PATH: Final = "/v1/campaigns"
_PACKED: Final = {
    "Content-Type": "application/x-ndjson",
    "Content-Encoding": "gzip",
}
#: Between two looks whether the list is sealed.
_TICK_S: Final = 0.1
_LOOKS: Final = 1200
_SEALED: Final = frozenset({"running", "done", "held"})


@dataclass(frozen=True, slots=True)
class Receipt:
    """One message of the campaign, as the node told it."""

    member: Member
    message: str
    promise: Promise


@dataclass(frozen=True, slots=True)
class Handed:
    """What the CRM was told.

    Attributes:
        campaign: its public id.
        rows: how many got which outcome.
        receipts: of the accepted ones.
        wrong: what is not as it must be, in words.
    """

    campaign: str
    rows: Mapping[str, int]
    receipts: tuple[Receipt, ...]
    wrong: tuple[str, ...]


def hand_over(doors: Doors, job: Job, is_over: threading.Event) -> Handed | None:
    """Create, upload, start; return when every row has its outcome.

    ``None`` when the demo was over before it began. Once it did, the end is awaited even
    when the demo is over: what was accepted has to be known.

    Raises:
        DoorError: the node refused it, or did not answer in time.
    """
    if is_over.is_set():
        return None
    http, pause = HttpClient(doors), threading.Event()
    try:
        campaign = _started(http, job)
        for _ in range(_LOOKS):
            shown = http.ask("GET", f"{_PATH}/{campaign}", BULK)
            if shown["state"] in _SEALED:
                return _handed(http, job, campaign, shown)
            if shown["state"] not in {"sealing", "ready"}:
                raise DoorError(f"the campaign is {shown['state']}: {shown['reason']}")
            pause.wait(_TICK_S)
        raise DoorError("the campaign's list is not sealed in time")
    except (OSError, HTTPException) as error:
        raise DoorError(f"campaign: {error}") from error
    finally:
        http.close()


def _started(http: HttpClient, job: Job) -> str:
    """Return the id of the campaign, when it was told to start."""
    body = json.dumps(request()).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": "demo-spring"}
    made = http.ask("POST", _PATH, BULK, body, headers)
    if http.ask("POST", _PATH, BULK, body, headers)["id"] != made["id"]:
        raise DoorError("a repeated campaign was created twice")
    path = f"{_PATH}/{made['id']}"
    lines = list(job.rows())
    half = len(lines) // 2
    for key, part in (("a", lines[:half]), ("b", lines[half:]), ("b", lines[half:])):
        content = gzip.compress(b"\n".join(part) + b"\n")
        done = http.ask("PUT", f"{path}/recipients?key={key}", BULK, content, _PACKED)
        if (done["rows"], done["finished"]) != (len(part), True):
            raise DoorError(f"of {len(part)} rows {done['rows']} were taken")
    http.ask("POST", f"{path}/start", BULK)
    return str(made["id"])


def _handed(
    http: HttpClient, job: Job, campaign: str, shown: Mapping[str, Any]
) -> Handed:
    wanted = {each.person.canonical: each for each in job.members}
    receipts, wrong = [], []
    if shown["rows"] != job.outcomes:
        wrong.append(f"campaign: rows are {shown['rows']}, not {job.outcomes}")
    for row in http.lines(f"{_PATH}/{campaign}/recipients", BULK):
        member = wanted.pop(row["email"], None)
        if member is None:
            wrong.append(f"campaign: {row['email']} is there twice, or not in the list")
            continue
        message_id = f"<{row['message']}@{canonical_domain(NEWS)}>"
        receipts.append(Receipt(member, row["message"], Promise(message_id, NEWS)))
    wrong += [f"campaign: {each} got no delivery" for each in wanted]
    rejects = sum(1 for _ in http.lines(f"{_PATH}/{campaign}/rejects", BULK))
    if rejects + len(job.members) != job.outcomes["uploaded"]:
        wrong.append(f"campaign: {rejects} rejects do not add up")
    return Handed(campaign, shown["rows"], tuple(receipts), tuple(wrong))
