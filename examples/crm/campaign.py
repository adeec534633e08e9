#!/usr/bin/env python3
"""What a CRM does with mailwright: one job, from its database to the last recipient.

Standard library only. Creates a campaign, lets its events come by webhook, streams the
recipients, starts it, and follows it; in the end both sides must have counted the same.

    export MAILWRIGHT_URL=http://127.0.0.1:8025 MAILWRIGHT_API_KEY=mw_…
    campaign.py --from 'Acme <news@example.com>' --recipients 100000 --domain example.net
"""

import argparse
import gzip
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from receiver import Events, receiver

HERE = Path(__file__).parent
#: Rows of one upload. One that is interrupted goes on behind the rows that are durable.
CHUNK_ROWS = 20_000
TRIES = 8
#: Types of events that end a delivery.
ENDS = ("delivered", "bounced", "expired", "cancelled", "suppressed")
RESTING = ("done", "cancelled", "failed", "held")


class RefusedError(Exception):
    """The node refused a request, and says why (RFC 9457)."""

    def __init__(self, status: int, problem: dict) -> None:
        errors = problem.get("errors", ())
        parts = [f"{each['field']}: {each['message']}" for each in errors]
        text = problem.get("detail") or problem.get("title", "")
        super().__init__(f"{status} {'; '.join(parts) or text}")
        self.status = status


class Node:
    """The API of a node."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> dict:
        """Return what a request answers, from JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self._url + path,
            data=body,
            method=method,
            headers={"Authorization": f"Bearer {self._key}", **named},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(
                    error.code, json.loads(error.read() or b"{}")
                ) from None


def customers(count: int, domains: list[str]) -> Iterator[dict]:
    """Yield the recipients: here from nowhere, in a CRM from its database."""
    for number in range(1, count + 1):
        yield {
            "email": f"customer{number}@{domains[number % len(domains)]}",
            "fields": {"first_name": f"Customer {number}", "points": number % 500},
            "metadata": {"customer": str(number)},
            "engaged_at": f"2026-{1 + number % 12:02}-01",
        }


def chunks(rows: Iterator[dict], size: int) -> Iterator[list[bytes]]:
    """Yield ``rows`` as lines of NDJSON, ``size`` at a time."""
    some = []
    for row in rows:
        some.append(json.dumps(row, ensure_ascii=False).encode())
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def upload(node: Node, campaign: str, key: str, lines: list[bytes]) -> None:
    """Upload one chunk; go on where it broke off, never send twice what is durable."""
    wait_s = 0.5
    for left in reversed(range(TRIES)):
        try:
            done = rows_done(node, campaign, key)
            if done is None:
                return
            node.ask(
                "PUT",
                f"/v1/campaigns/{campaign}/recipients?key={key}",
                gzip.compress(b"\n".join(lines[done:]), 1),
                Content_Type="application/x-ndjson",
                Content_Encoding="gzip",
                **({"Upload_Rows_Done": str(done)} if done else {}),
            )
        except (OSError, RefusedError) as error:
            passes = not isinstance(error, RefusedError) or error.status in (
                409,
                429,
                503,
            )
            if left == 0 or not passes:
                raise
            print(f"{key}: {error}; again in {wait_s} s", flush=True)
            time.sleep(wait_s)
            wait_s *= 2
        else:
            return


def rows_done(node: Node, campaign: str, key: str) -> int | None:
    """Return how many rows of a chunk the node has; ``None``: all of them."""
    try:
        chunk = node.ask("GET", f"/v1/campaigns/{campaign}/chunks/{key}")
    except RefusedError as error:
        if error.status != 404:
            raise
        return 0
    return None if chunk["finished"] else chunk["rows"]


def follow(node: Node, campaign: str, events: Events, within_s: float) -> dict:
    """Return the campaign when it is over and all its events have come."""
    ends_at = time.monotonic() + within_s
    while True:
        found = node.ask("GET", f"/v1/campaigns/{campaign}")
        deliveries = found["deliveries"]
        told = sum(events.counts[each] for each in ENDS)
        print(
            f"{found['state']}: {deliveries['delivered']} delivered, "
            f"{deliveries['queued']} queued; events of {told} ends",
            flush=True,
        )
        if found["state"] in RESTING and told >= sum(deliveries.values()):
            return found
        if time.monotonic() > ends_at:
            raise SystemExit("it takes too long")
        time.sleep(1)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description="Run a campaign as a CRM would")
    options.add_argument("--from", dest="author", required=True)
    options.add_argument("--recipients", type=int, default=100_000)
    options.add_argument("--domain", action="append", help="of recipients; repeatable")
    options.add_argument("--name", default="Spring sale")
    options.add_argument("--listen", default="127.0.0.1:0", help="for webhooks")
    options.add_argument("--out", type=Path, default=Path("events.ndjson"))
    options.add_argument("--within", type=float, default=3600.0, metavar="SECONDS")
    return options.parse_args()


def main() -> int:
    """Run the job; exit with 1 when the two sides did not count the same."""
    given = _options()
    node = Node(os.environ["MAILWRIGHT_URL"], os.environ["MAILWRIGHT_API_KEY"])

    # The same name again is the same campaign: a CRM that crashed does it all again.
    job = {
        "name": given.name,
        "from": given.author,
        "subject": "{{ first_name }}, spring is here",
        "html": (HERE / "spring.html").read_text("utf-8"),
        "metadata": {"job": given.name},
        "tags": ["spring"],
    }
    key = f"crm-example-{given.name}".replace(" ", "-").lower()
    campaign = node.ask("POST", "/v1/campaigns", job, Idempotency_Key=key)["id"]
    print(f"campaign {campaign}", flush=True)

    secrets: list[str] = []
    events = Events(given.out)
    host, _, port = given.listen.rpartition(":")
    server = receiver((host, int(port)), lambda: secrets[0], events)
    url = f"http://{host}:{server.server_address[1]}/"
    # From the oldest event kept: what a receiver that crashed has missed comes too.
    wanted = {"url": url, "campaign": campaign, "after": ""}
    made = node.ask("POST", "/v1/webhooks", wanted)
    secrets.append(made["secret"])
    threading.Thread(target=server.serve_forever, daemon=True).start()

    if node.ask("GET", f"/v1/campaigns/{campaign}")["state"] in ("draft", "failed"):
        began = time.monotonic()
        people = customers(given.recipients, given.domain or ["example.net"])
        for number, lines in enumerate(chunks(people, CHUNK_ROWS), 1):
            upload(node, campaign, f"rows-{number:06}", lines)
        rate = given.recipients / (time.monotonic() - began)
        print(f"uploaded {given.recipients} recipients, {rate:.0f}/s", flush=True)
        node.ask("POST", f"/v1/campaigns/{campaign}/start")
    found = follow(node, campaign, events, given.within)
    node.ask("DELETE", f"/v1/webhooks/{made['webhook']['id']}")
    server.shutdown()
    server.server_close()
    events.close()

    told = {each: events.counts[each] for each in ENDS}
    counted = {each: found["deliveries"][each] for each in ENDS}
    print(json.dumps({"campaign": campaign, "rows": found["rows"], "events": told}))
    if told != counted:
        print(f"the node counts otherwise: {counted}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
