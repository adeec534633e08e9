"""A campaign over HTTP, from the create to the last recipient, on a node that runs.

Oracles: the receivers of the sandbox, which count copies and verify signatures with code
that is not ours; the sums of what the node says became of each row.
"""

import asyncio
import base64
import email
import email.policy
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from fakes.node_process import API_KEY, NodeProcess, dkim_pem, write_node
from mailwright.api.server import reachable
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

DEADLINE_S = 200.0
GOOD, STRICT = "good.example", "strict.example"
PATH = "/v1/campaigns"
CAMPAIGN = {
    "name": "spring",
    "from": {"address": "news@example.com", "name": "Shop für {{ name }}"},
    "subject": "{{ name }}, your {{ points }} points",
    "html": "<p>Dear {{ name }}: <a href='https://example.com/?u={{ number }}'>go</a>"
    "</p>",
    "headers": {"X-Number": "{{ number }}"},
    "defaults": {"points": 5},
    "tags": ["spring"],
}


def dkim_record() -> str:
    """Return what DNS says of the node's key."""
    public = load_pem_private_key(dkim_pem(), None).public_key()
    octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "v=DKIM1; k=rsa; p=" + base64.b64encode(octets).decode()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Internet, NodeProcess, Any]]:
    """Give an internet, a node that sends to it, and a client of its API."""
    inbox = InboxSettings(keep_content=True)
    async with (
        Internet([GOOD, STRICT], inbox=inbox) as net,
        asyncio.timeout(DEADLINE_S),
    ):
        net.dns.put_text("s1._domainkey.example.com", dkim_record())
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
                yield net, node, client


def rows(numbers: Sequence[int]) -> bytes:
    """Return rows of NDJSON, with what is wrong about some of them."""
    lines = []
    for number in numbers:
        domain = GOOD if number % 3 else STRICT
        row: dict[str, Any] = {
            "email": f"p{number}@{domain}",
            "fields": {"name": f"Ada{number}", "number": number},
            "metadata": {"crm": str(number)},
        }
        if number % 20 == 7:
            row["email"] = f"P{number - 1}@{GOOD if (number - 1) % 3 else STRICT}"
        if number % 20 == 13:
            row["email"] = "no address"
        lines.append(json.dumps(row))
    return ("\n".join(lines) + "\n").encode()


async def wait_done(client: httpx.AsyncClient, ident: str) -> Any:
    """Return the campaign when nothing of it is left to send."""
    while True:
        shown = (await client.get(f"{PATH}/{ident}")).raise_for_status().json()
        if shown["state"] in {"done", "failed", "cancelled"}:
            return shown
        await asyncio.sleep(0.1)


async def put(
    client: httpx.AsyncClient, ident: str, key: str, content: bytes, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.put(
        f"{PATH}/{ident}/recipients",
        params={"key": key},
        content=content,
        headers={"Content-Type": "application/x-ndjson", **named},
    )


async def listed(client: httpx.AsyncClient, path: str) -> list[Any]:
    answer = (await client.get(path)).raise_for_status()
    return [json.loads(line) for line in answer.text.splitlines()]


def test_each_accepted_row_arrives_once_and_every_row_has_an_outcome(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with running(tmp_path) as (net, _, client):
            made = await client.post(
                PATH, json=CAMPAIGN, headers={"Idempotency-Key": "spring-1"}
            )
            assert made.status_code == 201, made.text
            ident = made.json()["id"]
            first, second = rows(range(100)), rows(range(100, 300))
            one = await put(client, ident, "one", first)
            assert one.status_code == 200, one.text
            again = await put(client, ident, "one", first)
            assert again.content == one.content
            packed = gzip.compress(second)
            two = await put(client, ident, "two", packed, Content_Encoding="gzip")
            assert two.json()["rows"] == 200
            sealed = await client.post(f"{PATH}/{ident}/seal")
            assert sealed.status_code == 200, sealed.text
            await _wait_state(client, ident, "ready")
            assert net.inbox.totals.copies == 0, "nothing leaves before the start"
            assert (await client.post(f"{PATH}/{ident}/start")).status_code == 200
            shown = await wait_done(client, ident)
            await net.inbox.wait_verified()

            results = await _check_outcomes(client, ident, shown)
            totals = net.inbox.totals
            assert (totals.copies, totals.duplicates) == (270, 0)
            assert (totals.verified, totals.unverified) == (270, 0)
            took = {each.recipients[0] for each in net.inbox.letters}
            assert took == {each["email"] for each in results}
            for letter in net.inbox.letters:
                _check_letter(letter.recipients[0], letter.content or b"")

    asyncio.run(main())


async def _check_outcomes(
    client: httpx.AsyncClient, ident: str, shown: Any
) -> list[Any]:
    """See that each row has one outcome; return the recipients."""
    counted = shown["rows"]
    assert counted["uploaded"] == 300
    assert counted["duplicate"] == counted["invalid"] == 15
    assert counted["accepted"] == 270
    assert sum(shown["deliveries"].values()) == 270
    assert shown["deliveries"]["delivered"] == 270

    results = await listed(client, f"{PATH}/{ident}/recipients")
    rejects = await listed(client, f"{PATH}/{ident}/rejects")
    numbers = sorted(each["row"] for each in [*results, *rejects])
    assert numbers == list(range(1, 301)), "a row without an outcome, or two"
    outcomes = Counter(each["outcome"] for each in rejects)
    assert outcomes == {"duplicate": 15, "invalid": 15}
    csv = await client.get(f"{PATH}/{ident}/recipients?format=csv&limit=3")
    assert csv.text.splitlines()[0].startswith("row,email,state,")
    assert len(csv.text.splitlines()) == 4
    assert csv.headers["Next-After"]
    return results


def _check_letter(recipient: str, content: bytes) -> None:
    """See that a letter says its recipient's own fields."""
    number = recipient.partition("@")[0].removeprefix("p")
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert found["Subject"] == f"Ada{number}, your 5 points"
    assert found["X-Number"] == number
    assert found["From"].addresses[0].display_name == f"Shop für Ada{number}"
    assert found["To"].addresses[0].addr_spec == recipient
    html = found.get_body(("html",))
    assert html is not None
    assert f"Dear Ada{number}:" in html.get_content()
    text = found.get_body(("plain",))
    assert text is not None
    assert f"Ada{number}" in text.get_content()


async def _wait_state(client: httpx.AsyncClient, ident: str, state: str) -> None:
    while True:
        shown = (await client.get(f"{PATH}/{ident}")).json()
        if shown["state"] == state:
            return
        assert shown["state"] not in {"failed", "cancelled"}, shown
        await asyncio.sleep(0.05)


def test_what_is_shown_as_rendered_is_what_the_receiver_got(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as (net, _, client):
            people = [
                {"email": f"p{number}@{GOOD}", "fields": {"name": name, "number": 1}}
                for number, name in enumerate(["Ada", "Ünal <b>", "李", "a" * 200])
            ]
            made = await client.post(
                PATH, json={**CAMPAIGN, "recipients": people, "start": True}
            )
            ident = made.raise_for_status().json()["id"]
            plain = await client.post(
                "/v1/messages",
                json={
                    "from": "news@example.com",
                    "to": [f"one@{GOOD}"],
                    "subject": "Grüße",
                    "text": "Grüße\r\n",
                },
            )
            shown = await wait_done(client, ident)
            assert shown["deliveries"]["delivered"] == 4
            await net.inbox.wait_copies(5)
            got = {each.recipients[0]: each.content for each in net.inbox.letters}
            results = await listed(client, f"{PATH}/{ident}/recipients")
            named = {each["email"]: each["message"] for each in results}
            named[f"one@{GOOD}"] = plain.json()["id"]
            for address, message in named.items():
                rendered = await client.get(f"/v1/messages/{message}/rendered")
                assert rendered.headers["Content-Type"] == "message/rfc822"
                assert rendered.content == got[address], address

    asyncio.run(main())


def test_previews_and_test_copies_are_what_is_sent_later(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as (net, _, client):
            template = {
                "name": "spring",
                "subject": "Hi {{ name }}",
                "html": "<p>{{ name }} {{ missing }}<img src='x.png'></p>",
            }
            stored = await client.post("/v1/templates", json=template)
            assert stored.status_code == 201, stored.text
            asked = {"email": f"ada@{GOOD}", "fields": {"name": "Ada & Bob"}}
            preview = await client.post("/v1/templates/spring/preview", json=asked)
            assert preview.status_code == 200, preview.text
            assert preview.json()["subject"] == "Hi Ada & Bob"
            assert "Ada &amp; Bob" in preview.json()["html"]
            assert preview.json()["lint"]
            made = await client.post(
                PATH,
                json={
                    "name": "from a template",
                    "from": "news@example.com",
                    "template": {"name": "spring"},
                },
            )
            ident = made.raise_for_status().json()["id"]
            to = [f"t1@{GOOD}", f"t2@{GOOD}"]
            body = {"to": to, "fields": {"name": "Ada"}}
            headers = {"Idempotency-Key": "t"}
            sent = await client.post(f"{PATH}/{ident}/test", json=body, headers=headers)
            assert sent.status_code == 201, sent.text
            again = await client.post(
                f"{PATH}/{ident}/test", json=body, headers=headers
            )
            assert again.json() == sent.json()
            await net.inbox.wait_copies(2)
            assert net.inbox.totals.duplicates == 0
            for letter in net.inbox.letters:
                assert b"Subject: Hi Ada\r\n" in (letter.content or b"")
            message = sent.json()["messages"][0]["id"]
            shown = (await client.get(f"/v1/messages/{message}")).json()
            assert shown["tags"] == ["test"]
            campaign = (await client.get(f"{PATH}/{ident}")).json()
            assert campaign["state"] == "draft"
            assert set(campaign["deliveries"].values()) == {0}

    asyncio.run(main())


class _Lists(BaseHTTPRequestHandler):
    """Serves a list; not before it was asked for once."""

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        is_there = self.asked[self.path] > 1
        body = rows(range(1, 6)) if is_there else b"not yet"
        self.send_response(200 if is_there else 503)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_list_is_read_when_its_campaign_starts(tmp_path: Path) -> None:
    async def main() -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Lists)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            async with running(tmp_path) as (net, _, client):
                url = f"http://127.0.0.1:{server.server_port}/people.ndjson"
                made = await client.post(PATH, json={**CAMPAIGN, "list_url": url})
                ident = made.raise_for_status().json()["id"]
                assert not _Lists.asked
                await client.post(f"{PATH}/{ident}/start")
                failed = await wait_done(client, ident)
                assert failed["state"] == "failed"
                assert "503" in failed["reason"]["reason"]
                assert net.inbox.totals.copies == 0
                await client.post(f"{PATH}/{ident}/start")
                done = await wait_done(client, ident)
                assert done["deliveries"]["delivered"] == 5
                assert net.inbox.totals.copies == 5
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()

    asyncio.run(main())


def test_the_operators_socket_has_campaigns_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as (net, node, _):
            path = node.settings.parent / "state" / "operator.sock"
            with reachable(path) as name:
                transport = httpx.AsyncHTTPTransport(uds=name)
                async with httpx.AsyncClient(
                    transport=transport, base_url="http://node", timeout=60
                ) as client:
                    people = [{"email": f"p1@{GOOD}", "fields": {"number": 1}}]
                    made = await client.post(
                        PATH, json={**CAMPAIGN, "recipients": people, "start": True}
                    )
                    assert made.status_code == 201, made.text
                    done = await wait_done(client, made.json()["id"])
            assert done["deliveries"]["delivered"] == 1
            assert net.inbox.totals.copies == 1

    asyncio.run(main())
