"""One job of 20 000 rows, through everything that may happen to it.

Bad rows, duplicates, suppressed addresses; a chunk that is sent twice and one that breaks
off; pause, another pace, another pool, ``kill -9`` amid the seal and amid delivery, cancel.
At the end every row has one outcome, every delivery one end, and the receiver has seen
each accepted recipient once, or twice where the node says so.
"""

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import pytest

from fakes.keeping_receiver import KeepingReceiver, Kept
from fakes.node_process import API_KEY, Hop, NodeProcess, query_days, write_node

ROWS: Final = 20_000
INVALID: Final = 300
DUPLICATES: Final = 1_500
SUPPRESSED: Final = 200
CHUNKS: Final = 4
DOMAINS: Final = ("big.example", *(f"d{number}.example" for number in range(40)))
#: A change acts on all that is not on the wire within this.
ACTS_S: Final = 2.0
PATIENCE_S: Final = 300.0
SECOND_POOL: Final = """
[[source]]
name = "second"
ehlo_name = "second.example.com"

[[pool]]
name = "second"
sources = { second = 1 }
"""

pytestmark = pytest.mark.scenario


class Receiver(KeepingReceiver):
    """Keeps who got what, how often and when."""

    def __init__(self) -> None:
        super().__init__(has_8bitmime=True)
        self.times: list[tuple[float, str]] = []

    def take(self, kept: Kept) -> None:
        super().take(kept)
        now = time.monotonic()
        self.times += ((now, recipient) for recipient in kept.recipients)

    @property
    def arrived(self) -> Counter[str]:
        return Counter(recipient for _, recipient in self.times)

    def since(self, moment: float) -> int:
        return sum(at > moment for at, _ in self.times)


def rows(rng: Random) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows in the order of upload, and who is suppressed."""
    good = ROWS - INVALID - DUPLICATES
    made = [
        {
            "email": f"r{number}@{rng.choice(DOMAINS[:3] if number % 2 else DOMAINS)}",
            "fields": {"name": f"Ann <{number}>\r\nBcc: x@y.z", "points": number},
            "metadata": {"crm_id": str(number)},
        }
        for number in range(good)
    ]
    again = [
        {
            **row,
            "email": row["email"].upper(),
            "fields": {"name": "second", "points": 0},
        }
        for row in rng.sample(made, DUPLICATES)
    ]
    bad = [
        {
            "email": rng.choice(
                ("no address", "a@b@c", "", "x@-.example", "a\nb@d1.example")
            )
        }
        for _ in range(INVALID)
    ]
    barred = [row["email"] for row in rng.sample(made, SUPPRESSED)]
    rest = again + bad
    rng.shuffle(rest)
    # Of equal recipients the first row wins, so that all second ones come later.
    return made + rest, barred


def ndjson(some: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in some)


class Job:
    """The campaign, as its CRM sees it."""

    def __init__(self, node: NodeProcess) -> None:
        self.path = ""
        self.connect(node)

    def connect(self, node: NodeProcess) -> None:
        self.http = httpx.AsyncClient(
            base_url="http://{}:{}".format(*node.http),
            headers={"Authorization": f"Bearer {API_KEY}"},
            timeout=120,
        )

    async def ask(self, method: str, path: str = "", **more: Any) -> Any:
        answer = await self.http.request(method, self.path + path, **more)
        assert answer.status_code < 300, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    async def upload(self, key: str, body: bytes, **headers: str) -> Any:
        path = f"{self.path}/recipients?key={key}"
        headers = {"Content-Type": "application/x-ndjson", **headers}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.http.put(path, content=body, headers=headers)
                if answer.status_code != 409:
                    break
                # The node has not seen yet that the one before broke off.
                assert "Another upload is in progress" in answer.text
                await asyncio.sleep(0.1)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(
        self, holds: Callable[[Any], bool | Awaitable[bool]], what: str
    ) -> Any:
        seen = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds(seen := await self.ask("GET")):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never {what}: {seen}") from None
        return seen

    async def listed(self, what: str) -> list[Any]:
        answer = await self.http.get(f"{self.path}/{what}?format=ndjson")
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


async def restarted(node: NodeProcess, job: Job) -> NodeProcess:
    """Kill the node and start it anew on what it left."""
    await job.http.aclose()
    await node.kill()
    again = NodeProcess(node.settings)
    await again.spawn()
    await again.wait_running()
    job.connect(again)
    return again


async def fill(job: Job, made: list[dict[str, Any]]) -> None:
    """Upload ``made`` in chunks; one twice, one broken off and sent anew."""
    size = len(made) // CHUNKS
    for number in range(CHUNKS):
        body = ndjson(made[number * size : (number + 1) * size])
        if number == 1:
            whole = await job.upload(
                "c1", gzip.compress(body), **{"Content-Encoding": "gzip"}
            )
            again = await job.upload(
                "c1", gzip.compress(body), **{"Content-Encoding": "gzip"}
            )
            assert whole == again
            continue
        if number == 2:

            async def broken(body: bytes = body) -> Any:
                yield body[: len(body) // 2]
                raise ConnectionError("the CRM goes away")

            with pytest.raises(ConnectionError):
                await job.upload("c2", broken())  # type: ignore[arg-type]
        answer = await job.upload(f"c{number}", body)
        assert answer["finished"]
        assert answer["rows"] == size


def test_every_row_and_every_delivery_is_accounted_for(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    made, barred = rows(Random(20261122))  # noqa: S311 - a repeatable list

    async def main() -> None:
        async with Receiver() as receiver:
            settings = write_node(
                tmp_path,
                routes=[Hop("*", f"127.0.0.1:{receiver.port}")],
                scopes=["send", "control", "read", "manage"],
            )
            with (tmp_path / "setup.toml").open("a") as setup:
                setup.write(SECOND_POOL)
            node = NodeProcess(settings)
            await node.spawn()
            try:
                await node.wait_running()
                node = await life(node, receiver, made, barred, publish)
                assert await node.stop() == 0, node.text
            finally:
                await node.kill()

    asyncio.run(main())


async def life(  # noqa: PLR0915 - one story, told in order
    node: NodeProcess,
    receiver: Receiver,
    made: list[dict[str, Any]],
    barred: list[str],
    publish: Callable[[str], None],
) -> NodeProcess:
    job = Job(node)
    await job.ask(
        "POST", "/v1/suppressions", json={"addresses": barred, "reason": "manual"}
    )
    asked = {
        "name": "November",
        "from": "News <news@example.com>",
        "subject": "{{ points }} points for you",
        "html": "<p>Dear {{ name }},</p><p>you have {{ points }} points.</p>",
        "pace": "3600/h",
        "metadata": {"list": "all"},
    }
    campaign = await job.ask("POST", "/v1/campaigns", json=asked)
    job.path = f"/v1/campaigns/{campaign['id']}"
    await fill(job, made)

    await job.ask("POST", "/start")
    node = await restarted(node, job)  # amid the seal
    shown = await job.until(lambda seen: seen["state"] == "running", "sealed")
    counted = shown["rows"]
    assert counted["uploaded"] == ROWS
    assert counted["invalid"] == INVALID
    assert counted["duplicate"] == DUPLICATES
    assert counted["suppressed"] == SUPPRESSED
    assert counted["accepted"] == ROWS - INVALID - DUPLICATES - SUPPRESSED

    # A CRM whose answer was lost sends its chunk again, late.
    size = len(made) // CHUNKS
    late = await job.upload("c0", ndjson(made[:size]))
    assert (late["rows"], late["finished"]) == (size, True)
    assert (await job.ask("GET"))["rows"] == counted

    # One a second, then as fast as it goes.
    await job.until(lambda seen: seen["deliveries"]["delivered"] >= 3, "delivered")
    begun_at, before = time.monotonic(), len(receiver.times)
    await asyncio.sleep(3)
    assert len(receiver.times) - before <= 3 + 2 * (time.monotonic() - begun_at)
    await job.ask("PATCH", json={"pace": None})
    changed_at = time.monotonic()
    while receiver.since(changed_at) < 200:
        await asyncio.sleep(0.02)
    publish(
        f"200 arrived {time.monotonic() - changed_at:.1f} s after the pace was lifted"
    )

    await job.until(lambda seen: seen["deliveries"]["delivered"] >= 2_000, "on its way")
    await job.ask("POST", "/pause")
    await asyncio.sleep(ACTS_S)
    paused_at = time.monotonic()
    await asyncio.sleep(2)
    assert receiver.since(paused_at) == 0

    await job.ask("PATCH", json={"pool": "second"})
    await job.ask("POST", "/resume")
    await job.until(lambda seen: seen["deliveries"]["delivered"] >= 5_000, "resumed")
    node = await restarted(node, job)  # amid delivery
    await job.until(lambda seen: seen["deliveries"]["delivered"] >= 9_000, "on again")

    await job.ask("POST", "/cancel")
    await asyncio.sleep(ACTS_S)
    cancelled_at = time.monotonic()
    shown = await job.until(
        lambda seen: not seen["deliveries"]["queued"] + seen["deliveries"]["sending"],
        "cancelled to the end",
    )
    assert receiver.since(cancelled_at) == 0
    await settle_accounts(node, job, receiver, shown, made, publish)
    await job.http.aclose()
    return node


async def settle_accounts(
    node: NodeProcess,
    job: Job,
    receiver: Receiver,
    shown: Any,
    made: list[dict[str, Any]],
    publish: Callable[[str], None],
) -> None:
    """Compare what the node tells with what was sent and with what arrived."""
    accepted = shown["rows"]["accepted"]
    ended = shown["deliveries"]
    assert ended["delivered"] + ended["cancelled"] == accepted, ended

    listed = await job.listed("recipients")
    states = Counter(each["state"] for each in listed)
    assert states == {"delivered": ended["delivered"], "cancelled": ended["cancelled"]}
    rejects = await job.listed("rejects")
    assert Counter(each["outcome"] for each in rejects) == {
        "invalid": INVALID,
        "duplicate": DUPLICATES,
        "suppressed": SUPPRESSED,
    }
    assert sorted(each["row"] for each in (*listed, *rejects)) == [*range(1, ROWS + 1)]
    by_row = dict(enumerate(made, 1))
    for each in listed:
        assert each["metadata"] == by_row[each["row"]]["metadata"]

    arrived = receiver.arrived
    told = {each["email"]: each["state"] for each in listed}
    lost = [
        who
        for who, state in told.items()
        if state == "delivered" and who not in arrived
    ]
    assert lost == []
    uncalled = [who for who in arrived if told.get(who) != "delivered"]
    marked = {
        row[0]
        for row in query_days(node.settings, "finished", "recipient, ambiguous")
        if row[1]
    }
    copies = {who for who, count in arrived.items() if count > 1}
    assert copies <= marked
    # What a kill left in doubt and the cancel then took back may have arrived.
    assert set(uncalled) <= marked
    assert max(arrived.values()) <= 2
    check_contents(receiver, by_row, listed)

    types = Counter(row[0] for row in query_days(node.settings, "events", "type"))
    assert types["cancelled"] == ended["cancelled"]
    assert types["delivered"] == ended["delivered"]
    publish(
        f"campaign: rows={ROWS} accepted={accepted} delivered={ended['delivered']} "
        f"cancelled={ended['cancelled']} lost=0 copies={len(copies)} marked={len(marked)} "
        "unexplained=0"
    )


def check_contents(
    receiver: Receiver, by_row: dict[int, dict[str, Any]], listed: list[Any]
) -> None:
    """Each message is the recipient's own, and no field made a header or a recipient."""
    row_of = {each["email"]: each["row"] for each in listed}
    names = set()
    for who, kept in list(receiver.kept.items())[:500]:
        header, _, body = kept.content.partition(b"\r\n\r\n")
        names |= {line.partition(b":")[0].lower() for line in unfolded(header)}
        points = by_row[row_of[who]]["fields"]["points"]
        assert b"Subject: %d points for you\r\n" % points in header + b"\r\n"
        assert b"you have %d points" % points in body
    assert names == {
        *(b"dkim-signature", b"from", b"to", b"subject", b"date", b"message-id"),
        *(b"mime-version", b"content-type"),
    }


def unfolded(header: bytes) -> list[bytes]:
    return header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
