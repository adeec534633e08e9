#!/usr/bin/env python3
"""Receives mailwright's webhooks: checks the signature, keeps each event once.

Standard library only. Signatures are those of Standard Webhooks 1.0.0
(https://www.standardwebhooks.com): HMAC-SHA256 over id, timestamp and body. A batch is
answered with 204 only when its events are in the file; whatever else is answered, or no
answer at all, makes the node send it again. So an event can come twice: its id tells.

    receiver.py --listen 127.0.0.1:9000 --secret-file webhook.secret --out events.ndjson
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: An older or newer timestamp is a replay, or a wrong clock.
TOLERANCE_S = 300
#: A batch has at most 100 events and 256 KB; one large event may go alone.
MAX_OCTETS = 4_000_000
PREFIX = "whsec_"


class SignatureError(Exception):
    """A request that was not sent by the node, or not now."""


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Return if the node sent ``body`` a moment ago.

    Raises:
        SignatureError: it did not; the text says why.
    """
    ident = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "").split()
    if not ident or not timestamp.isdecimal() or not signatures:
        raise SignatureError("without signature")
    if abs(now - int(timestamp)) > TOLERANCE_S:
        raise SignatureError("timestamp too far off")
    key = base64.b64decode(secret.strip().removeprefix(PREFIX))
    signed = f"{ident}.{timestamp}.".encode() + body
    right = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # Several while a secret is being replaced; compared in constant time, each of them.
    found = [hmac.compare_digest(each, f"v1,{right}") for each in signatures]
    if not any(found):
        raise SignatureError("wrong signature")


class Events:
    """The events so far, each once: in a file, and counted by type."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.repeated = 0
        if path.exists():
            for line in path.read_bytes().splitlines():
                self._note(json.loads(line))
        self._file = path.open("ab")

    def take(self, events: list[dict]) -> None:
        """Keep ``events``; they are on the disk when this returns."""
        with self._lock:
            fresh = [each for each in events if self._note(each)]
            self.repeated += len(events) - len(fresh)
            for each in fresh:
                self._file.write(json.dumps(each, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _note(self, event: dict) -> bool:
        if event["id"] in self._seen:
            return False
        self._seen.add(event["id"])
        self.counts[event["type"]] += 1
        return True


def receiver(
    listen: tuple[str, int], secret: Callable[[], str], events: Events
) -> ThreadingHTTPServer:
    """Return a server that takes batches; it serves once it is told to."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > MAX_OCTETS:
                self.close_connection = True
                self._answer(413)
                return
            body = self.rfile.read(int(length))
            try:
                verify(secret(), self.headers, body, now=time.time())
            except SignatureError as error:
                print(f"refused: {error}", flush=True)
                self._answer(401)
                return
            events.take(json.loads(body)["data"])
            self._answer(204)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    return ThreadingHTTPServer(listen, Handler)


def main() -> None:
    """Serve until interrupted."""
    options = argparse.ArgumentParser(description="Receive mailwright's webhooks")
    options.add_argument("--listen", default="127.0.0.1:9000")
    options.add_argument("--secret-file", type=Path, required=True)
    options.add_argument("--out", type=Path, default=Path("events.ndjson"))
    given = options.parse_args()
    host, _, port = given.listen.rpartition(":")
    events = Events(given.out)
    server = receiver((host, int(port)), given.secret_file.read_text, events)
    print(f"receiving on http://{host}:{server.server_address[1]}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        events.close()


if __name__ == "__main__":
    main()
