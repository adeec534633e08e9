"""The n-th write, sync or rename fails, for every n of a short script.

The script is one life of a node: it starts on a state that was set up before, takes
letters by SMTP and HTTP (small ones, and large ones whose bodies are files), delivers
them and stops. strace lets the n-th call of a kind fail, in each thread that gets so
far. After each life another one, unharmed, delivers what is left. Control: a node whose
store takes every error for success.
"""

import asyncio
import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fakes.node_process import SERVE, NodeProcess, query, write_node
from fakes.submitting import Book, HttpClient, Letter, RefusedError, SmtpClient
from faults import trace
from faults.ledger import Row, Size
from faults.under_strace import under_strace
from mailwright.daemon.lifecycle import Exit
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet

_CONTROL = (str(Path(__file__).with_name("careless_node.py")),)
#: What fails, and how. Bodies are written by ``write``, which sockets are too, so only
#: calls on their files are meant.
_KINDS = ("fsync", "fdatasync", "rename", "pwrite64", "write")
_ERRORS = ("EIO", "ENOSPC")
_DELIVERED_S = 60.0
_ENDS_S = 300.0
_LARGE = 90_000
#: Stands for the folder of a life in the options of strace.
_HERE = "{here}"
#: Lives at a time.
_WORKERS = 2


@dataclass(slots=True)
class _Life:
    """What came of one life with a fault, and of the unharmed one after it."""

    label: str
    acknowledged: int = 0
    lost: int = 0
    complaints: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        self.complaints.append(f"{self.label}: {text}")


@dataclass(slots=True)
class _Bench:
    """A state that was set up, and receivers."""

    folder: Path
    net: Internet

    def fresh(self, name: str) -> Path:
        """Return the settings of a node with a copy of the state."""
        place = self.folder / name
        sockets = shutil.ignore_patterns("*.sock")
        shutil.copytree(self.folder / "set-up", place, ignore=sockets)
        return place / "node.toml"

    def arrived(self, prefix: str) -> Counter[str]:
        return Counter(
            recipient
            for letter in self.net.inbox.letters
            for recipient in letter.recipients
            if recipient.startswith(prefix)
        )


async def _submit(node: NodeProcess, letter: Letter, book: Book, life: _Life) -> None:
    """Submit ``letter``; note an answer that would make a client give up."""
    book.offer(letter)
    client = None
    try:
        if "http" in letter.token:
            client = HttpClient(node.http)
        else:
            client = await SmtpClient.connect(node.smtp)
        await client.submit(letter)
        book.acknowledge(letter)
    except RefusedError as refused:
        text = str(refused)
        is_fitting = re.match(r"4\d\d |50[37] ", text)
        if not is_fitting or str(node.settings.parent) in text:
            life.complain(f"answered {text.strip()}")
    except OSError:
        pass
    finally:
        if client is not None:
            with contextlib.suppress(OSError):
                await client.close()


async def _script(node: NodeProcess, prefix: str, bench: _Bench, life: _Life) -> Book:
    book = Book()
    for token, octets in (
        ("one", 600),
        ("large", _LARGE),
        ("http", 600),
        ("large-http", _LARGE),
        ("last", 600),
    ):
        name = f"{prefix}{token}"
        letter = Letter(name, (f"{name}@a.example",), octets)
        await _submit(node, letter, book, life)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DELIVERED_S):
            while not node.has_ended and len(bench.arrived(prefix)) < len(
                book.acknowledged
            ):
                await asyncio.sleep(0.05)
    return book


async def _live(
    bench: _Bench, label: str, options: Sequence[str], command: Sequence[str] = SERVE
) -> _Life:
    """Live once with what ``options`` inject, and once more without."""
    life = _Life(label)
    prefix = re.sub(r"\W", "", label).lower() + "."
    settings = await asyncio.to_thread(bench.fresh, prefix)
    book = Book()
    here = [option.replace(_HERE, str(settings.parent)) for option in options]
    node = NodeProcess(settings, under_strace(*here, command=command))
    await node.spawn()
    try:
        try:
            await node.wait_running()
        except AssertionError:  # it ended amid its start
            pass
        else:
            book = await _script(node, prefix, bench, life)
        status = await node.stop(within_s=_ENDS_S)
    except TimeoutError:
        life.complain("did not end")
        status = 0
    finally:
        await node.kill()
    if status not in {Exit.OK, Exit.DISK, Exit.SETTINGS}:
        life.complain(f"exit status {status}")
    if status and not node.log:
        life.complain("ended without a word")
    if "Traceback" in node.text:
        life.complain(f"traceback: {node.text.splitlines()[-1]}")
    life.acknowledged = len(book.acknowledged)
    await _drain(bench, settings, prefix, life)
    arrived = bench.arrived(prefix)
    expected = {f"{token}@a.example" for token in book.acknowledged}
    life.lost = len(expected - arrived.keys())
    for recipient, copies in arrived.items():
        if copies > 2:
            life.complain(f"{copies} copies to {recipient}")
    await asyncio.to_thread(shutil.rmtree, settings.parent)
    return life


async def _drain(bench: _Bench, settings: Path, prefix: str, life: _Life) -> None:
    """Let an unharmed node deliver what is left; it must start without a person."""
    node = NodeProcess(settings)
    await node.spawn()
    try:
        await node.wait_running()
        async with asyncio.timeout(_ENDS_S):
            while query(settings, "SELECT id FROM deliveries LIMIT 1"):
                await asyncio.sleep(0.05)
        assert await node.stop() == Exit.OK
    except (AssertionError, TimeoutError) as error:
        life.complain(f"the next start: {str(error)[-300:]!r}")
    finally:
        await node.kill()


@dataclass(frozen=True, slots=True)
class _Counted:
    """What an unharmed life calls.

    Attributes:
        most: how often each kind is called at most in one thread.
        bodies: passing names of body files.
        starting: writes to the database and its log before the doors were open.
    """

    most: Counter[str]
    bodies: Sequence[str]
    starting: int


async def _count(bench: _Bench) -> _Counted:
    """Let a node live unharmed, and count."""
    output = bench.folder / "trace"
    options = (*trace.OPTIONS, "-o", str(output))
    life = await _live(bench, "unharmed", options)
    assert not life.complaints, life.complaints
    assert not life.lost
    text = await asyncio.to_thread(output.read_text, "utf-8", "replace")
    calls = trace.parse(text.splitlines())
    each: Counter[tuple[str, int]] = Counter()
    for call in calls:
        if call.name == "write" and not call.path.endswith(".new"):
            continue
        each[call.name, call.pid] += 1
    most: Counter[str] = Counter()
    for (name, _), number in each.items():
        most[name] = max(most[name], number)
    here = str(bench.folder / "unharmed.")
    bodies = [f"{name.replace(here, _HERE)}.new" for name in trace.bodies(calls)]
    runs = next(c for c in calls if c.name == "write" and " runs" in c.arguments)
    early = [c for c in calls if c.name == "pwrite64" and c.began < runs.began]
    return _Counted(most, bodies, len(early))


def _faults(counted: _Counted, size: Size) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the label and the options of each life."""
    for kind in _KINDS:
        last = counted.most[kind]
        middle = last // 2 + 1
        for number in range(1, last + 1) if size is Size.FULL else (middle,):
            # There are hundreds of writes to the log: each fails in one of two ways.
            is_few = size is Size.FULL and kind != "pwrite64"
            for error in _ERRORS if is_few else (_ERRORS[number % 2],):
                options = [
                    *("-o", "/dev/null", "-e", f"trace={kind}"),
                    *("-e", f"inject={kind}:error={error}:when={number}"),
                ]
                if kind == "write":
                    options += [
                        word for name in counted.bodies for word in ("-P", name)
                    ]
                yield f"{kind} {number} {error}", tuple(options)


async def run(folder: Path, size: Size) -> Row:
    """Let each call fail once."""
    async with Internet(
        ["a.example"], inbox=InboxSettings(letters_max=1_000_000, verify_share=0)
    ) as net:
        bench = _Bench(folder, net)
        place = folder / "set-up"
        place.mkdir()
        settings = write_node(place, nameserver=net.nameserver, smtp_port=net.smtp_port)
        async with NodeProcess(settings) as node:
            assert await node.stop() == 0, node.text
        counted = await _count(bench)
        lives: list[_Life] = []
        left = _faults(counted, size)

        async def work() -> None:
            for label, options in left:
                lives.append(await _live(bench, label, options))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(work())
        failing = f"inject=pwrite64:error=EIO:when={counted.starting + 1}+"
        options = ("-o", "/dev/null", "-e", "trace=pwrite64", "-e", failing)
        control = await _live(bench, "control", options, _CONTROL)
    return Row(
        "the n-th call fails",
        len(lives),
        sum(life.acknowledged for life in lives),
        sum(life.lost for life in lives),
        sum(len(life.complaints) for life in lives),
        control.lost > 0,
        {kind: counted.most[kind] for kind in _KINDS},
        tuple(text for life in lives for text in life.complaints),
    )
