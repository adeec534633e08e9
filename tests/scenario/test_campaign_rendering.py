"""Recipients that cannot be rendered, on a node that runs: they alone do not get mail.

One strict campaign whose rows miss a field, carry line ends and headers, or set off a
bomb; another whose every message is a bomb. Oracle: what the receivers of the sandbox
took, and what the node says became of each row.
"""

import asyncio
import email
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.node_process import API_KEY, NodeProcess, write_node
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

DEADLINE_S = 200.0
DOMAIN = "good.example"
PATH = "/v1/campaigns"
ROWS = 120
BOMB = (
    "{% set n = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x|length }}"
)
CAMPAIGN: dict[str, Any] = {
    "name": "strict",
    "from": {"address": "news@example.com", "name": "Shop for {{ name }}"},
    "subject": "Hello {{ name }}",
    "text": "{% if bomb %}" + BOMB + "{% endif %}Dear {{ name }}",
    "headers": {"X-Name": "{{ name }}"},
    "strict": True,
}
#: What is wrong about every tenth row, by its number within the ten.
WRONG: dict[int, dict[str, Any]] = {
    2: {},
    4: {"name": "x\r\nBcc: evil@evil.example"},
    6: {"name": "x\nX-Evil: 1"},
    8: {"name": "x\u2028Bcc: evil@evil.example"},
}
#: Rows that would take all memory; fewer, for each takes time.
BOMBS = (15, 55)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Internet, httpx.AsyncClient]]:
    inbox = InboxSettings(keep_content=True)
    async with Internet([DOMAIN], inbox=inbox) as net, asyncio.timeout(DEADLINE_S):
        settings = write_node(
            folder, nameserver=net.nameserver, smtp_port=net.smtp_port
        )
        async with NodeProcess(settings) as node:
            host, port = node.http
            async with httpx.AsyncClient(
                base_url=f"http://{host}:{port}",
                headers={"Authorization": f"Bearer {API_KEY}"},
                timeout=60,
                trust_env=False,
            ) as client:
                yield net, client


def row(number: int) -> dict[str, Any]:
    fields = WRONG.get(number % 10, {"name": f"Ada{number}"})
    if number in BOMBS:
        fields = {"name": "Eve", "bomb": True}
    return {"email": f"p{number}@{DOMAIN}", "fields": fields}


def is_right(number: int) -> bool:
    return number % 10 not in WRONG and number not in BOMBS


async def start(
    client: httpx.AsyncClient, job: dict[str, Any], rows: Iterable[dict[str, Any]]
) -> str:
    made = await client.post(PATH, json=job)
    assert made.status_code == 201, made.text
    path = f"{PATH}/{made.json()['id']}"
    content = "".join(json.dumps(each) + "\n" for each in rows)
    put = await client.put(
        f"{path}/recipients",
        params={"key": "all"},
        content=content.encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert put.status_code == 200, put.text
    assert (await client.post(f"{path}/start")).status_code == 200
    return path


async def ended(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    """Return what became of each recipient when nothing is left to send."""
    while (await client.get(path)).json()["state"] != "done":
        await asyncio.sleep(0.1)
    answer = await client.get(f"{path}/recipients?format=ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_who_cannot_be_rendered_gets_nothing_and_all_others_get_theirs(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with running(tmp_path) as (net, client):
            path = await start(client, CAMPAIGN, map(row, range(ROWS)))
            bombs = {**CAMPAIGN, "name": "bombs", "text": BOMB, "strict": False}
            other = await start(
                client,
                bombs,
                (
                    {"email": f"b{n}@{DOMAIN}", "fields": {"name": "B"}}
                    for n in range(30)
                ),
            )
            results = await ended(client, path)
            bombed = await ended(client, other)

            right = {f"p{n}@{DOMAIN}" for n in range(ROWS) if is_right(n)}
            states = Counter(
                (each["state"], each["category"], each["email"] in right)
                for each in results
            )
            assert states == {
                ("delivered", "", True): len(right),
                ("bounced", "unrendered", False): ROWS - len(right),
            }
            assert {(each["state"], each["category"]) for each in bombed} == {
                ("bounced", "unrendered")
            }
            for each in results:
                if each["state"] == "bounced":
                    assert each["code"] == 554
                    assert each["reply"].startswith("not rendered: ")
                    assert "evil" not in each["reply"].lower()
            took = Counter(each.recipients[0] for each in net.inbox.letters)
            assert took == dict.fromkeys(right, 1)
            for letter in net.inbox.letters:
                message = email.message_from_bytes(letter.content or b"")
                assert "X-Evil" not in message
                assert "Bcc" not in message

    asyncio.run(main())
