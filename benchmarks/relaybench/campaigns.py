"""A campaign's round: what is sent, how a job runs, and the bare limit.

The bare limit is what a machine can do at most: two processes that render and sign each
message with the product's own functions and write it to a socket, without a queue,
without durability, without reading a reply before the next.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mailwright.accounts.signing_keys import DkimSecret, read_der, read_pem
from mailwright.merge import Merge
from mailwright.mta.compose.reading import parse_content
from mailwright.mta.compose.rendering import compile_content, render
from mailwright.mta.dkim.signing import sign_all
from mailwright.mta.smtp.stuffing import stuff
from relaybench import cpu
from relaybench.measuring import Round, Sink
from relaybench.processes import PATIENCE_S, BenchError, read_line, running
from relaybench.relays import ROOT, Relay
from relaybench.signatures import DOMAIN, SELECTOR, faults

BARE_PROCESSES: Final = 2
#: Domains of the recipients; one next hop takes them all.
DOMAINS: Final = 10
_POLL_S: Final = 0.05
_PARAGRAPH: Final = (
    '<p style="margin:0 0 12px">A newsletter of usual size has some paragraphs of text '
    "about what is new in the shop, and nobody reads all of it.</p>\n"
)


def content(octets: int = 5_000) -> dict[str, Any]:
    """Return a content with html of this size and five fields."""
    head = (
        "<html><body><h1>Dear {{ first_name }} {{ last_name }},</h1>\n"
        "<p>in {{ city }} it is time for our sale.</p>\n"
    )
    foot = (
        '<p><a href="https://shop.example.com/sale?c={{ code }}">To the sale</a></p>\n'
        "<p>You have {{ points }} points. "
        '<a href="https://shop.example.com/u/{{ code }}">Unsubscribe</a></p>\n'
        "</body></html>\n"
    )
    count = max(octets - len(head) - len(foot), 0) // len(_PARAGRAPH)
    return {
        "from": {"address": f"news@{DOMAIN}", "name": "The Shop"},
        "subject": "{{ first_name }}, our sale has begun",
        "html": head + _PARAGRAPH * count + foot,
        "headers": {"List-Unsubscribe": "<https://shop.example.com/u/{{ code }}>"},
        "strict": True,
    }


def row(number: int) -> dict[str, Any]:
    """Return a recipient."""
    return {
        "email": f"someone{number}@d{number % DOMAINS}.example",
        "fields": {
            "first_name": f"Maria{number % 97}",
            "last_name": "Lindqvist",
            "city": "Göteborg",
            "points": number,
            "code": f"x{number:08}",
        },
    }


@dataclass(frozen=True, slots=True)
class JobRound:
    """What a job showed.

    Attributes:
        sent: from the start of a sealed job until the sink had the last message.
        whole_s: from the first request to then: with upload and seal.
    """

    sent: Round
    whole_s: float


class CampaignNode:
    """``benchmarks/campaign-node``, and its API."""

    def __init__(self, process: "subprocess.Popen[str]", said: dict[str, str]) -> None:
        self.process = process
        self._said = said

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "json") -> Any:
        """Return what a request answers.

        Raises:
            OSError: it is refused.
        """
        request = urllib.request.Request(  # noqa: S310 - our own node
            self._said["api"] + path,
            data=body or None,
            method=method,
            headers={
                "Authorization": f"Bearer {self._said['key']}",
                "Content-Type": f"application/{kind}",
            },
        )
        with urllib.request.urlopen(  # noqa: S310
            request, timeout=PATIENCE_S
        ) as answer:
            return json.loads(answer.read())


@contextmanager
def campaign_node(folder: Path, key: Path, sink: int) -> Iterator[CampaignNode]:
    """Run a node with its state in a new ``folder``."""
    folder.mkdir()
    env = os.environ | {
        "SINK": f"127.0.0.1:{sink}",
        "DKIM_KEY": str(key),
        "TMPDIR": str(folder),
    }
    env.pop("LISTEN", None)
    command = [ROOT / "benchmarks" / "campaign-node"]
    with running(command, folder / "log", env=env, piped=True) as process:
        assert process.stdout is not None
        line = read_line(process.stdout, PATIENCE_S)
        if not line:
            raise BenchError(f"no node: {(folder / 'log').read_text()[-2000:]}")
        yield CampaignNode(process, json.loads(line))


def run_job(
    node: CampaignNode,
    taker: Sink,
    messages: int,
    *,
    html_octets: int,
    record: bytes,
    timeout_s: float,
) -> JobRound:
    """Run one job of ``messages`` recipients and return what came of it.

    Raises:
        BenchError: not all arrived, some are not well signed, or it did not seal.
    """
    whole_at = time.monotonic()
    job = node.ask(
        "POST",
        "/v1/campaigns",
        json.dumps({"name": "bench", **content(html_octets)}).encode(),
    )
    path = f"/v1/campaigns/{job['id']}"
    rows = b"".join(json.dumps(row(n)).encode() + b"\n" for n in range(messages))
    node.ask("PUT", f"{path}/recipients?key=all", rows, "x-ndjson")
    node.ask("POST", f"{path}/seal")
    while (state := node.ask("GET", path))["state"] != "ready":
        if time.monotonic() - whole_at > timeout_s or state["state"] == "failed":
            raise BenchError(f"the job is not ready: {state}")
        time.sleep(_POLL_S)  # noqa: TID251  # no loop is here

    def start() -> None:
        node.ask("POST", f"{path}/start")

    sent = _counted(
        "campaign", (node.process.pid,), taker, messages, start, record, timeout_s
    )
    state = node.ask("GET", path)
    if state["deliveries"].get("bounced"):
        raise BenchError(f"some bounced: {state['deliveries']}")
    return JobRound(sent, time.monotonic() - whole_at)


def run_bare(
    taker: Sink,
    key: Path,
    messages: int,
    *,
    html_octets: int,
    record: bytes,
    timeout_s: float,
) -> Round:
    """Run the bare limit once.

    Raises:
        BenchError: not all arrived, or some are not well signed.
    """
    share = messages // BARE_PROCESSES
    writers = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "relaybench.campaigns", str(taker.port)),
                *(str(key), str(share), str(place), str(html_octets)),
            ],
            cwd=ROOT / "benchmarks",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(BARE_PROCESSES)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            if read_line(writer.stdout, PATIENCE_S) != "ready\n":
                raise BenchError("a bare process does not start")

        def start() -> None:
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()

        pids = tuple(writer.pid for writer in writers)
        total = share * BARE_PROCESSES
        return _counted("bare", pids, taker, total, start, record, timeout_s)
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def _counted(
    name: str,
    pids: Sequence[int],
    taker: Sink,
    messages: int,
    start: Any,
    record: bytes,
    timeout_s: float,
) -> Round:
    relay = Relay(name, 0, tuple(pids), ())
    sample = taker.folder / "sample"
    sample.mkdir()
    try:
        os.sync()
        taker.begin(messages, 20, sample)
        busy, spent = cpu.used_by_all(), cpu.used_by(pids)
        sink = cpu.used_by((taker.process.pid,)).total
        began = time.monotonic()
        start()
        counts = taker.wait_complete(relay, timeout_s)
        passed = time.monotonic() - began
        spent = cpu.used_by(pids) - spent
        sink = cpu.used_by((taker.process.pid,)).total - sink
        busy = cpu.used_by_all() - busy - spent.total - sink
        checked = list(sample.glob("*.eml"))
        if wrong := faults(checked, record):
            raise BenchError(f"{name}: {wrong[0]} ({len(wrong)} such)")
        if len(checked) < min(20, messages):
            raise BenchError(f"{name}: only {len(checked)} were kept to check")
    finally:
        for path in sample.iterdir():
            path.unlink()
        sample.rmdir()
    return Round(
        relay=name,
        messages=messages,
        seconds=counts["last_at"] - began,
        copies=int(counts["copies"]),
        verified=len(checked),
        user_ms=spent.user * 1000 / messages,
        system_ms=spent.system * 1000 / messages,
        others=max(0.0, busy / passed / (os.cpu_count() or 1)),
    )


def _write_bare(port: int, key: Path, share: int, place: int, html_octets: int) -> None:
    """Render, sign, write: nothing else."""
    algorithm, der = read_pem(key.read_bytes())
    secret = DkimSecret(algorithm, DOMAIN, SELECTOR, read_der(der))
    compiled = compile_content(parse_content(json.dumps(content(html_octets)).encode()))
    mark = f"{os.getpid()}.{time.monotonic_ns()}"
    with socket.create_connection(("127.0.0.1", port)) as door:
        door.recv(100)
        door.sendall(b"EHLO bare.example\r\n")
        door.recv(1000)
        print("ready", flush=True)
        sys.stdin.readline()
        dated_at = datetime.now(UTC)  # noqa: TID251  # a benchmark's own clock
        for number in range(place * share, (place + 1) * share):
            given = row(number)
            merge = Merge(
                1,
                json.dumps(given["fields"]).encode(),
                "",
                given["email"],
                f"<{number}.{mark}@{DOMAIN}>",
            )
            header, body = render(compiled, merge, dated_at=dated_at)
            stamp = int(dated_at.timestamp())
            signature = sign_all(header, body, (secret,), signed_at=stamp)
            door.sendall(
                b"MAIL FROM:<news@example.com>\r\nRCPT TO:<%b>\r\nDATA\r\n"
                % given["email"].encode()
                + stuff(signature + header + body)
            )
            if number % 50 == 0:
                _drain(door)
        while door.recv(65_536):  # the sink's answers, until we are ended
            pass


def _drain(door: socket.socket) -> None:
    """Take the answers that have come, so that the sink never waits for us."""
    door.setblocking(False)
    try:
        while door.recv(65_536):
            pass
    except BlockingIOError:
        pass
    finally:
        door.setblocking(True)


if __name__ == "__main__":
    _port, _key, *_counts = sys.argv[1:]
    _write_bare(int(_port), Path(_key), *map(int, _counts))
