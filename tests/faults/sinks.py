"""Debian's smtp-sink with each of its faults: every message ends as the table says.

Each sink has a port, a domain and a folder into which it dumps what it took; what the
node calls delivered must be there, and once. Control: a node that takes a lost reply to
the dot for success.
"""

import asyncio
import re
import shlex
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fakes.node_process import SERVE, Hop, NodeProcess, write_node
from fakes.postfix import free_port
from fakes.submitting import Book, Letter, submit_all
from faults.ledger import Row, Size
from faults.outcomes import (
    AMBIGUOUS,
    DELIVERED,
    TIMEOUTS,
    Expected,
    Verdict,
    judge,
    outcomes,
)

_CONTROL = (str(Path(__file__).with_name("credulous_node.py")),)
#: What is wrong with the control is in its own process.
_CONTROL_DELIVERY = "session_processes = 0"
_PROGRAM = "/usr/sbin/smtp-sink"
_RCPT = re.compile(r"^X-Rcpt-Args: <([^>]*)>", re.MULTILINE)

#: What is refused after its dot was dumped all the same.
_REFUSED = 1_000
#: Delays within a pipelined group confuse smtp-sink itself: it is told not to offer it.
#: By domain (without ``.example``): options, and how its mail must end.
SINKS: Mapping[str, tuple[str, Expected]] = {
    "plain": ("", DELIVERED),
    "no-8bitmime": ("-8", DELIVERED),
    "no-auth": ("-a", DELIVERED),
    "no-esmtp": ("-e", DELIVERED),
    "no-codes": ("-E", DELIVERED),
    "no-dsn": ("-N", DELIVERED),
    "no-pipelining": ("-p", DELIVERED),
    "pix": ("-P", DELIVERED),
    "one-at-once": ("-m 1", DELIVERED),
    "small-window": ("-T 1024", DELIVERED),
    "slow-read": ("-H 1", DELIVERED),
    "slow-data": ("-w 1", DELIVERED),
    "slow-banner": ("-W CONNECT:1", DELIVERED),
    "slow-mail": ("-p -W MAIL:1", DELIVERED),
    "slow-rcpt": ("-p -W RCPT:1", DELIVERED),
    "slow-dot": ("-W .:1", DELIVERED),
    "slow-quit": ("-W QUIT:3", DELIVERED),
    "late-banner": ("-W CONNECT:9", Expected("deferred", "421 4.4.2 .*timed out")),
    "late-ehlo": ("-W EHLO:9", Expected("deferred", "421 4.4.2 .*timed out")),
    "late-mail": ("-p -W MAIL:9", Expected("deferred", "421 4.4.2 .*timed out")),
    "late-data": ("-w 9", Expected("deferred", "421 4.4.2 .*timed out")),
    "late-dot": ("-W .:9", AMBIGUOUS),
    "data-aborted": ("-A 0", Expected("bounced", "550")),
    **{
        f"hard-{name}": (f"-f {step}", Expected("bounced", "500 5.3.0"))
        for name, step in (
            ("mail", "MAIL"),
            ("rcpt", "RCPT"),
            ("data", "DATA"),
            ("dot", "."),
        )
    },
    **{
        f"soft-{name}": (
            f"-r {step}",
            Expected("deferred", "450 4.3.0", at_most=_REFUSED),
        )
        for name, step in (
            *(("banner", "CONNECT"), ("mail", "MAIL"), ("rcpt", "RCPT")),
            *(("data", "DATA"), ("dot", ".")),
        )
    },
    **{
        f"leave-{name}": (
            f"-Q {step}",
            Expected("deferred", "421", at_most=_REFUSED),
        )
        for name, step in (
            *(("banner", "CONNECT"), ("ehlo", "EHLO"), ("mail", "MAIL")),
            *(("rcpt", "RCPT"), ("data", "DATA"), ("dot", ".")),
        )
    },
    **{
        f"drop-{name}": (f"-q {step}", Expected("deferred", "421 4.4.2"))
        for name, step in (
            *(("banner", "CONNECT"), ("ehlo", "EHLO"), ("mail", "MAIL")),
            *(("rcpt", "RCPT"), ("data", "DATA")),
        )
    },
    "drop-dot": ("-q .", AMBIGUOUS),
    "hard-banner": ("-f CONNECT", Expected("deferred", "500 5.3.0")),
    "hard-ehlo": ("-f EHLO", DELIVERED),  # HELO is tried
    "soft-ehlo": ("-r EHLO", Expected("deferred", "450 4.3.0")),
    "hard-quit": ("-f QUIT", DELIVERED),
    "drop-quit": ("-q QUIT", DELIVERED),
    "own-words": (
        "-f RCPT -B '550 5.1.1 no such user'",
        Expected("bounced", "550 5.1.1 .*no such user"),
    ),
    "own-soft-words": (
        "-r RCPT -b '451 4.7.1 greylisted'",
        Expected("deferred", "451 4.7.1 .*greylisted"),
    ),
}


@asynccontextmanager
async def sink(folder: Path, options: str) -> AsyncIterator[int]:
    """Run one that dumps into ``folder``; give its port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(_PROGRAM, "-u", "root", "-d", f"{folder}/m.", *shlex.split(options)),
        *(f"127.0.0.1:{port}", "100"),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _copies(folder: Path) -> Counter[str]:
    """Count what was dumped in full, by recipient."""
    found: Counter[str] = Counter()
    for path in folder.glob("*/m.*"):
        text = path.read_text("utf-8", "replace")
        for recipient in _RCPT.findall(text):
            token = recipient.partition("@")[0]
            whole = Letter(token, (recipient,)).text.replace("\r\n", "\n")
            found[recipient] += whole in text
    return found


async def _play(
    folder: Path,
    name: str,
    command: Sequence[str],
    sinks: Mapping[str, tuple[str, Expected]],
    letters: int,
) -> Verdict:
    place = folder / name
    place.mkdir()
    dumps = folder / f"{name}-dumps"
    dumps.mkdir()
    async with AsyncExitStack() as stack:
        hops = []
        for domain, (options, _) in sinks.items():
            (dumps / domain).mkdir()
            port = await stack.enter_async_context(sink(dumps / domain, options))
            hops.append(Hop(f"{domain}.example", f"127.0.0.1:{port}", "commands"))
        settings = write_node(
            place,
            routes=hops,
            more=TIMEOUTS,
            delivery="" if command == SERVE else _CONTROL_DELIVERY,
        )
        table = {
            f"{domain}.example": expected for domain, (_, expected) in sinks.items()
        }
        async with NodeProcess(settings, command) as node:
            book = Book()
            every = [
                Letter(f"{domain}{number}", (f"{domain}{number}@{domain}.example",))
                for domain in sinks
                for number in range(letters)
            ]
            await submit_all(node.smtp, every, book)
            found = await outcomes(node, table, letters)
            acknowledged = [
                recipient
                for token in book.acknowledged
                for recipient in book.offered[token]
            ]
            copies = await asyncio.to_thread(_copies, dumps)
            verdict = judge(node, table, found, acknowledged, copies.__getitem__)
            if "Traceback" in node.text:
                verdict.complaints.append(node.text[-500:])
    return verdict


async def run(folder: Path, size: Size) -> Row:
    """Send to every sink."""
    assert shutil.which(_PROGRAM), "smtp-sink is not installed; run make peers"
    letters = size.pick(2, 10)
    found = await _play(folder, "node", SERVE, SINKS, letters)
    lossy = {name: SINKS[name] for name in ("plain", "drop-dot", "late-dot")}
    control = await _play(folder, "control", _CONTROL, lossy, letters)
    return Row(
        "smtp-sink with its faults",
        len(SINKS),
        found.acknowledged,
        found.lost,
        len(found.complaints),
        bool(control.complaints),
        {"control_complaints": len(control.complaints)},
        tuple(found.complaints[:40]),
    )
