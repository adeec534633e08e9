"""How fast a node takes a campaign's recipients, and what that costs in memory.

``make bench-ingest`` writes a million recipients with five fields as NDJSON (60 % in ten
domains, 40 % over 40 000), starts a node in a fresh folder on a disk, and hands them
over as a program would: one streamed upload, then ``seal``. The last line is
``upload N seal N rss_mb N``: rows a second from the first octet of the upload to its
answer, rows a second from the request to seal until the job is ready, and the node's
resident memory at most, less what it had before the job, in MB (10⁶ octets).

``--staging`` measures the same without HTTP and without a database: parsing, staging,
and the sort, in this process.
"""

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailwright.accounts.subjects import SubjectKey
from mailwright.clock import SystemClock
from mailwright.queue.campaign.staging import StagingArea
from mailwright.queue.campaign.uploads import RowFormat
from node_files import folder_on_disk

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.node_process import API_KEY, SERVE, write_node

#: In the large domains, of 100.
LARGE_SHARE: Final = 60
SMALL_DOMAINS: Final = 40_000
#: Goals of the budgets.
UPLOAD_ROWS_S: Final = 60_000
SEAL_ROWS_S: Final = 20_000
RSS_MB: Final = 100
_PIECE: Final = 256 << 10
_SAMPLE_S: Final = 0.05
_SEAL_S: Final = 1800.0


@dataclass
class Figures:
    """Rows a second, and MB above what there was before."""

    upload: float
    seal: float
    rss_mb: float

    def line(self) -> str:
        """Return the last line."""
        return f"upload {self.upload:.0f} seal {self.seal:.0f} rss_mb {self.rss_mb:.0f}"


def write_rows(path: Path, count: int) -> None:
    """Write recipients as a CRM has them: sorted by nothing that helps us."""
    with path.open("w") as file:
        for number in range(count):
            domain = (
                f"large{number % 10}.example"
                if number % 100 < LARGE_SHARE
                else f"d{number * 7919 % SMALL_DOMAINS}.example"
            )
            fields = {
                "first_name": "Maria",
                "last_name": "Lindqvist",
                "city": "Göteborg",
                "balance": number,
                "code": f"X{number:08}",
            }
            row = {"email": f"someone{number}@{domain}", "fields": fields}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def pieces(path: Path) -> Iterator[bytes]:
    """Yield a file as a program would send it."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def memory_mb(process: int, field: str) -> float:
    """Return ``VmRSS`` (now) or ``VmHWM`` (at most) of a process."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no {field} of {process}")


def processor_s(process: int) -> float:
    """Return the processor time that a process has taken (proc(5), stat)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reset_peak(process: int) -> None:
    """Let ``VmHWM`` begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


def run_staging(rows: Path, count: int, folder: Path) -> Figures:
    """Measure parsing, staging and sorting alone."""
    me = os.getpid()
    area = StagingArea(folder / "staging", SystemClock())
    key = SubjectKey(os.urandom(32))
    reset_peak(me)
    before = memory_mb(me, "VmRSS")
    began = time.perf_counter()
    with area.open_chunk(1, "all", RowFormat()) as writer:
        for piece in pieces(rows):
            writer.feed(piece)
        writer.finish()
    uploaded = time.perf_counter()
    prepared = area.prepare(1, key.subject, lambda _: {}, lambda _done, _total: None)
    assert sum(1 for _ in prepared.records()) == count
    sealed = time.perf_counter()
    return Figures(
        count / (uploaded - began),
        count / (sealed - uploaded),
        memory_mb(me, "VmHWM") - before,
    )


class Node:
    """A node of one's own, and its API."""

    def __init__(self, folder: Path) -> None:
        """Start it in ``folder``; return when it runs."""
        settings = write_node(folder)
        self._log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, *SERVE, settings], stderr=self._log
        )
        self._rest = threading.Event()
        self._address = self._wait_running()

    def rest(self) -> None:
        """Let some time go by before the node is asked again."""
        self._rest.wait(_SAMPLE_S)

    def ask(self, method: str, path: str, body: Any = None, **more: str) -> Any:
        """Return what a request answers, from JSON."""
        host, port = self._address
        connection = http.client.HTTPConnection(host, port, timeout=_SEAL_S)
        headers = {"Authorization": f"Bearer {API_KEY}", **more}
        if isinstance(body, dict):
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        connection.request(
            method, path, body, headers, encode_chunked=isinstance(body, Iterator)
        )
        answer = connection.getresponse()
        octets = answer.read()
        connection.close()
        if answer.status not in {200, 201}:
            raise RuntimeError(f"{method} {path}: {answer.status} {octets.decode()}")
        return json.loads(octets)

    def tell(self, what: str, took_s: float, worked_s: float) -> float:
        """Print how long something took, and how much of it the node worked.

        The second says what the first would be on a machine with nothing else to do.
        """
        now_s = processor_s(self.process.pid)
        print(
            f"{what} in {took_s:.1f} s; the node's processor time "
            f"{now_s - worked_s:.1f} s",
            flush=True,
        )
        return now_s

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()
        self._log.close()

    def _wait_running(self) -> tuple[str, int]:
        address = ("", 0)
        ends_at = time.monotonic() + 240
        while time.monotonic() < ends_at:
            self._log.seek(0)
            for line in self._log.read().splitlines():
                if " HTTP on " in line:
                    address = line.split()[-3], int(line.split()[-1])
                if line.endswith("runs"):
                    return address
            if self.process.poll() is not None:
                break
            self.rest()
        raise RuntimeError("the node did not start")


def run_node(rows: Path, count: int, folder: Path) -> Figures:
    """Measure a whole job in a running node."""
    node = Node(folder)
    try:
        campaign = node.ask(
            "POST",
            "/v1/campaigns",
            {
                "name": "ingest",
                "from": {"address": "news@example.com"},
                "subject": "News for {{ first_name }}",
                "text": "Dear {{ first_name }} of {{ city }}, {{ code }}: {{ balance }}",
            },
        )
        path = f"/v1/campaigns/{campaign['id']}"
        reset_peak(node.process.pid)
        before = memory_mb(node.process.pid, "VmRSS")
        began, worked = time.perf_counter(), processor_s(node.process.pid)
        node.ask(
            "PUT",
            f"{path}/recipients?key=all",
            pieces(rows),
            **{"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"},
        )
        uploaded = time.perf_counter()
        worked = node.tell("uploaded", uploaded - began, worked)
        node.ask("POST", f"{path}/seal")
        while (state := node.ask("GET", path))["state"] == "sealing":
            if time.perf_counter() - uploaded > _SEAL_S:
                raise RuntimeError("the job is not ready in time")
            node.rest()
        sealed = time.perf_counter()
        node.tell("sealed", sealed - uploaded, worked)
        if state["state"] != "ready" or state["rows"]["accepted"] != count:
            raise RuntimeError(f"the job is {state['state']}: {state['rows']}")
        return Figures(
            count / (uploaded - began),
            count / (sealed - uploaded),
            memory_mb(node.process.pid, "VmHWM") - before,
        )
    finally:
        node.stop()


def main() -> int:
    """Measure, and say whether the goals are met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--staging", action="store_true", help="without a node")
    arguments = parser.parse_args()
    folder = folder_on_disk("bench-ingest-")
    try:
        rows = folder / "rows.ndjson"
        write_rows(rows, arguments.rows)
        measure = run_staging if arguments.staging else run_node
        figures = measure(rows, arguments.rows, folder)
    finally:
        shutil.rmtree(folder)
    is_met = (
        figures.upload >= UPLOAD_ROWS_S
        and figures.seal >= SEAL_ROWS_S
        and figures.rss_mb <= RSS_MB
    )
    print("the goals are met" if is_met else "the goals are not met")
    print(figures.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
