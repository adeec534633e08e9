"""The campaigns' part of the API as commands see it, in a thread of its own.

It keeps what it is sent, answers as the contract says, and loses connections where a test
wants that: after some octets of an upload, with the rows until then durable.
"""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

KEY = "mw_crm_" + "b" * 32
ID = "cmp_20260301_0000000000001"
_ROUTE = re.compile(r"/v1/campaigns(?:/(cmp_\w+)(?:/(\w+)(?:/(\w+))?)?)?")


@dataclass
class Chunk:
    rows: list[dict[str, Any]] = field(default_factory=list)
    is_finished: bool = False

    def shown(self, key: str) -> dict[str, Any]:
        invalid = sum("@" not in row["email"] for row in self.rows)
        return {
            "key": key,
            "rows": len(self.rows),
            "staged": len(self.rows) - invalid,
            "invalid": invalid,
            "finished": self.is_finished,
        }


@dataclass
class CampaignApi:
    """What was asked, what is kept, and what is to go wrong."""

    url: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    chunks: dict[str, Chunk] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    #: Answers of ``GET /v1/campaigns/{id}``, one after the other; the last one stays.
    states: list[dict[str, Any]] = field(default_factory=list)
    #: Uploads to break off: rows that are durable by then.
    losses: list[int] = field(default_factory=list)
    #: Requests to refuse: status and detail.
    refusals: list[tuple[int, str]] = field(default_factory=list)
    #: Put into what is answered as a list, which then breaks off.
    broken_list: bool = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, chunk by chunk in order of arrival."""
        return [row for chunk in self.chunks.values() for row in chunk.rows]


def shown(state: str = "draft", **changes: Any) -> dict[str, Any]:
    """Return a campaign as the API shows it."""
    campaign: dict[str, Any] = {
        "id": ID,
        "name": "Spring sale",
        "state": state,
        "start_wanted": False,
        "created_at": "2026-03-01T12:00:00Z",
        "stream": "news",
        "pool": None,
        "priority": 4,
        "pace": None,
        "window": None,
        "send_at": None,
        "expires_at": None,
        "list_url": None,
        "tags": [],
        "metadata": {},
        "asked": {},
        "sealed_at": None,
        "started_at": None,
        "finished_at": None,
        "reason": None,
        "rows": dict.fromkeys(
            ("uploaded", "accepted", "duplicate", "invalid", "suppressed"), 0
        ),
        "deliveries": dict.fromkeys(
            (
                *("queued", "sending", "delivered", "bounced", "expired"),
                *("cancelled", "suppressed"),
            ),
            0,
        ),
        "categories": {},
        "progress": None,
        "rate_per_minute": None,
        "eta": None,
    }
    for name, value in changes.items():
        known = campaign[name]
        campaign[name] = {**known, **value} if isinstance(known, dict) else value
    return campaign


@contextmanager
def campaign_api() -> Iterator[CampaignApi]:
    """Serve while the body runs."""
    api = CampaignApi()

    class Bound(_Handler):
        pass

    Bound.api = api
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: CampaignApi
    protocol_version = "HTTP/1.1"

    @override
    def log_message(self, format: str, *args: Any) -> None:
        return

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.api.asked.append((self.command, parts.path, query))
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._problem(401, "A valid API key is needed")
            return
        if self.api.refusals:
            self._problem(*self.api.refusals.pop(0))
            return
        found = _ROUTE.fullmatch(parts.path)
        assert found is not None, parts.path
        ident, what, more = found.groups()
        match (self.command, what):
            case ("PUT", "recipients"):
                self._upload(query["key"], content)
            case ("GET", "chunks"):
                chunk = self.api.chunks.get(more)
                if chunk is None:
                    self._problem(404, "There is no such thing")
                else:
                    self._json(chunk.shown(more))
            case ("GET", "recipients" | "rejects"):
                self._list(query)
            case ("GET", None):
                page = {"campaigns": [shown(), shown("done")], "next": "abc"}
                self._json(self._state() if ident else page)
            case (_, what):
                self._post(what, json.loads(content or b"null"))

    do_GET = do_PUT = do_POST = do_PATCH = _handle  # noqa: N815

    def _post(self, what: str | None, body: Any) -> None:
        self.api.bodies.append(body)
        if what is None and self.command == "POST":
            self.api.created.append(body)
            self.api.keys.append(self.headers.get("Idempotency-Key"))
            self._json(shown(name=body.get("name", "")), 201)
        elif what == "preview":
            self._json(
                {
                    "subject": "Hello Ann", "author": "Acme <news@example.com>",
                    "html": "<p>Hi</p>", "text": "Hi\x1b Ann", "headers": {"X-A": "1"},
                    "octets": 400,
                    "lint": [
                        {
                            "code": "no_unsubscribe",
                            "severity": "warning",
                            "where": "html",
                            "message": "There is no way to leave.",
                        }
                    ],
                }
            )  # fmt: skip
        elif what == "test":
            recipients = [{"address": each, "state": "queued"} for each in body["to"]]
            self._json({"messages": [{"id": "msg_1", "recipients": recipients}]}, 201)
        else:
            names = {"start": "running", "cancel": "cancelled", "pause": "paused"}
            self._json(shown(names.get(what or "", "ready")))

    def _state(self) -> dict[str, Any]:
        states = self.api.states or [shown()]
        return states.pop(0) if len(states) > 1 else states[0]

    def _upload(self, key: str, content: bytes) -> None:
        assert self.headers["Content-Type"] == "application/x-ndjson"
        assert self.headers["Content-Encoding"] == "gzip"
        text = cast("bytes", gzip.decompress(content))
        rows = [json.loads(line) for line in text.splitlines()]
        chunk = self.api.chunks.setdefault(key, Chunk())
        if chunk.is_finished:
            self._json(chunk.shown(key))
            return
        done = int(self.headers.get("Upload-Rows-Done") or 0)
        if done not in {0, len(chunk.rows)}:
            self._problem(422, "not where it ended")
            return
        if done == 0:
            rows = rows[len(chunk.rows) :]
        if self.api.losses:
            chunk.rows += rows[: self.api.losses.pop(0)]
            self.close_connection = True
            return
        chunk.rows += rows
        chunk.is_finished = True
        self._json(chunk.shown(key))

    def _list(self, query: dict[str, str]) -> None:
        rows = [{"row": 1, "email": "ann@example.net", **query}]
        content = (
            b"row,email\r\n1,ann@example.net\r\n"
            if query.get("format") == "csv"
            else "".join(json.dumps(row) + "\n" for row in rows).encode()
        )
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        if self.api.broken_list:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, found: Any, status: int = 200) -> None:
        content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _problem(self, status: int, detail: str) -> None:
        self._json({"title": "refused", "detail": detail, "status": status}, status)
