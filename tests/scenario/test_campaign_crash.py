"""``kill -9`` amid a campaign, again and again: none is skipped, few are copied.

What was uploaded is followed to what the receiver saw. A copy is only allowed where its
delivery says that it may have arrived already; without kills during the seal and during
the sending the test fails, since it would have shown nothing.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from fakes.keeping_receiver import KeepingReceiver, Kept
from fakes.node_process import (
    API_KEY,
    SERVE,
    Hop,
    NodeProcess,
    query,
    query_days,
    write_node,
)
from mailwright.queue.delivery import State

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]

DOMAIN = "there.example"
PEOPLE = [f"p{n}@{DOMAIN}" for n in range(4000)]
BAD = ["no address", PEOPLE[0]]
CAMPAIGN = {
    "name": "spring",
    "from": "news@example.com",
    "subject": "Hello {{ name }}",
    "text": "Dear {{ name }}\n",
}
#: Positions at which a seal is killed, and copies at which the sending is.
SEAL_KILLS = (1, 2000)
SEND_KILLS = (1, 1000, 2500)
CONTROL = (str(Path(__file__).with_name("forgetful_seal_node.py")), "serve")


class CountingReceiver(KeepingReceiver):
    """Counts the copies of each recipient's message."""

    def __init__(self) -> None:
        super().__init__(has_8bitmime=True)
        self.seen: Counter[str] = Counter()
        self.subjects: dict[str, set[bytes]] = {}

    def take(self, kept: Kept) -> None:
        super().take(kept)
        (recipient,) = kept.recipients
        self.seen[recipient] += 1
        self.subjects.setdefault(recipient, set()).add(kept.content)


def rows() -> bytes:
    lines = [
        json.dumps({"email": email, "fields": {"name": f"N{number}"}})
        for number, email in enumerate([*PEOPLE, *BAD])
    ]
    return "\n".join(lines).encode()


def client(node: NodeProcess) -> httpx.AsyncClient:
    host, port = node.http
    return httpx.AsyncClient(
        base_url=f"http://{host}:{port}",
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=120,
        trust_env=False,
    )


async def begin(node: NodeProcess) -> str:
    """Create the campaign, upload its rows, start it; return its id."""
    async with client(node) as http:
        made = await http.post("/v1/campaigns", json=CAMPAIGN)
        ident = made.raise_for_status().json()["id"]
        uploaded = await http.put(
            f"/v1/campaigns/{ident}/recipients?key=all",
            content=rows(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert uploaded.raise_for_status().json()["rows"] == len(PEOPLE) + len(BAD)
        (await http.post(f"/v1/campaigns/{ident}/start")).raise_for_status()
    return ident


def sealed_rows(settings: Path) -> tuple[str, int]:
    """Return the campaign's state and how many recipients it has, on the disk."""
    counting = "SELECT state, (SELECT count(*) FROM recipients) FROM campaigns"
    ((state, written),) = query(settings, counting)
    return state, written


async def kill_in_seal(settings: Path, node: NodeProcess, position: int) -> bool:
    """Kill ``node`` once the seal has come to ``position``; whether it was amid it."""
    while True:
        state, at = await asyncio.to_thread(sealed_rows, settings)
        if at >= position or state != "sealing":
            await node.kill()
            state, at = await asyncio.to_thread(sealed_rows, settings)
            return state == "sealing" and 0 < at < len(PEOPLE)
        await asyncio.sleep(0)


async def wait_done(node: NodeProcess, ident: str) -> dict:
    async with client(node) as http, asyncio.timeout(300):
        while True:
            answer = await http.get(f"/v1/campaigns/{ident}")
            found = answer.raise_for_status().json()
            if found["state"] == "done":
                return found
            await asyncio.sleep(0.1)


async def drive(
    settings: Path,
    receiver: CountingReceiver,
    command: Sequence[str] = SERVE,
    send_kills: Sequence[int] = SEND_KILLS,
) -> tuple[dict, int, int]:
    """Run the campaign to its end through all kills; return it and what was met."""
    met_seal = met_sending = 0
    ident = ""
    for position in SEAL_KILLS:
        async with NodeProcess(settings, command) as node:
            ident = ident or await begin(node)
            met_seal += await kill_in_seal(settings, node, position)
    for copies in send_kills:
        async with NodeProcess(settings, command) as node, asyncio.timeout(240):
            while receiver.copies < copies:
                await asyncio.sleep(0.001)
            await node.kill()
            met_sending += len(receiver.seen) < len(PEOPLE)
    async with NodeProcess(settings, command) as node:
        found = await wait_done(node, ident)
        await node.stop()
    return found, met_seal, met_sending


def test_a_campaign_survives_kills_of_its_seal_and_of_its_sending(
    tmp_path: Path, publish
) -> None:
    async def main() -> None:
        async with CountingReceiver() as receiver:
            hop = Hop(DOMAIN, f"127.0.0.1:{receiver.port}", "commands")
            settings = write_node(tmp_path, routes=[hop])
            found, met_seal, met_sending = await drive(settings, receiver)
            check(settings, receiver, found)
            copied = sum(count > 1 for count in receiver.seen.values())
            publish(
                f"{met_seal} kills of the seal, {met_sending} of the sending, "
                f"{copied} of {len(PEOPLE)} twice"
            )
            assert met_seal > 0
            assert met_sending > 0

    asyncio.run(main())


def test_a_node_that_forgets_how_far_its_seal_was_is_found_out(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with CountingReceiver() as receiver:
            hop = Hop(DOMAIN, f"127.0.0.1:{receiver.port}", "commands")
            settings = write_node(tmp_path, routes=[hop])
            found, met_seal, _ = await drive(settings, receiver, CONTROL, ())
            assert met_seal > 0
            with pytest.raises(AssertionError):
                check(settings, receiver, found)

    asyncio.run(main())


def check(settings: Path, receiver: CountingReceiver, found: dict) -> None:
    """See that each row has its outcome and each accepted one its one delivery."""
    count = len(PEOPLE)
    assert found["rows"]["accepted"] == found["deliveries"]["delivered"] == count
    assert found["rows"]["duplicate"] == found["rows"]["invalid"] == 1
    assert sum(found["deliveries"].values()) == count
    assert set(receiver.seen) == set(PEOPLE), "somebody was skipped"
    finished = dict(query_days(settings, "finished", "recipient, ambiguous"))
    assert len(finished) == count
    marked = {each for each, ambiguous in finished.items() if ambiguous}
    for person, copies in receiver.seen.items():
        assert copies == 1 or person in marked, f"{person} came {copies} times"
        # A copy has the same octets, but for the trace of its signature's time.
        assert len(receiver.subjects[person]) == 1
    people = query(settings, "SELECT address, state FROM recipients")
    assert Counter(people) == Counter((each, State.DELIVERED) for each in PEOPLE)
    events = Counter(row[0] for row in query_days(settings, "events", "type"))
    assert events["received"] == events["delivered"] == count
    totals = query(settings, "SELECT state, count FROM campaign_totals WHERE count > 0")
    assert totals == [(State.DELIVERED, count)]
