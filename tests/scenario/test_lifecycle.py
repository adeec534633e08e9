"""A node's start, stop, reload and end, as its process shows them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from time import perf_counter

import pytest

from fakes.node_process import Hop, NodeProcess, query, query_days, write_node
from fakes.scripted_receiver import SILENCE, ScriptedReceiver
from fakes.scripted_receiver import Behaviour as Silence
from fakes.submitting import (
    Book,
    HttpClient,
    Letter,
    RefusedError,
    SmtpClient,
    submit_all,
)
from mailwright.daemon.lifecycle import DOORS_CLOSE_S, FLIGHTS_END_S, Exit
from mailwright.queue.delivery import State
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
#: A stop takes no longer, whatever receivers do; and what a busy machine adds.
STOP_BOUND_S = DOORS_CLOSE_S + FLIGHTS_END_S
STARTLED_S = 60.0


def letters(prefix: str, domain: str = "a.example") -> list[Letter]:
    """Return a few letters that nobody else sends."""
    return [Letter(f"{prefix}{n}", (f"{prefix}{n}@{domain}",)) for n in range(5)]


@asynccontextmanager
async def receivers() -> AsyncIterator[Internet]:
    """Run a quick receiver and one that takes its time."""
    domains = ["a.example", SandboxDomain("b.example", Behaviour(reply_delay_s=0.05))]
    async with Internet(domains, inbox=InboxSettings(verify_share=0)) as net:
        yield net


class PoliteClient:
    """Submits until the node says goodbye, and remembers how it was left."""

    def __init__(self, name: str, book: Book) -> None:
        self._name = name
        self._book = book
        #: Letters whose content was sent and never answered.
        self.unanswered: list[str] = []

    async def run(self, address: tuple[str, int]) -> None:
        client = await SmtpClient.connect(address)
        letter: Letter | None = None
        try:
            for number in count():
                domain = "ab"[number % 2]
                token = f"{self._name}.{number}"
                letter = Letter(token, (f"{token}@{domain}.example",))
                self._book.offer(letter)
                await client.submit(letter)
                self._book.acknowledge(letter)
        except RefusedError as goodbye:
            if not str(goodbye).startswith("421"):
                raise
        except ConnectionError:
            if client.has_sent_content and letter is not None:
                self.unanswered.append(letter.token)
        finally:
            await client.close()


def test_a_stop_under_load_finishes_what_is_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        async with receivers() as net:
            settings = write_node(
                tmp_path, nameserver=net.nameserver, smtp_port=net.smtp_port
            )
            book = Book()
            clients = [PoliteClient(f"c{n}", book) for n in range(6)]
            async with NodeProcess(settings) as node:
                async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
                    for client in clients:
                        tasks.create_task(client.run(node.smtp))
                    await book.wait_acknowledged(150)
                    await net.inbox.wait_copies(50)
                    status = await node.stop()
                assert status == Exit.OK, node.text
            assert [client.unanswered for client in clients] == [[]] * 6
            states = query(settings, "SELECT state FROM deliveries")
            assert (State.SENDING,) not in states
            # The sender whose answer is on its way counts as well.
            known = len(states) + len(query_days(settings, "finished", "id"))
            assert known == len(book.acknowledged)
            delivered = query_days(settings, "finished", "state")
            assert net.inbox.totals.copies == delivered.count((State.DELIVERED,))

            async with NodeProcess(settings) as node:
                async with asyncio.timeout(DEADLINE_S):
                    await net.inbox.wait_copies(known)
                assert await node.stop() == Exit.OK
                assert "unclean" not in node.text
            assert net.inbox.totals.duplicates == 0
            events = query_days(settings, "events", "type, data")
            assert not [each for each in events if "duplicate" in "".join(each)]

    asyncio.run(main())


def test_a_stop_settles_what_a_silent_receiver_never_answers(tmp_path: Path) -> None:
    async def main() -> None:
        silent = Silence(replies={".": SILENCE})
        async with ScriptedReceiver(silent) as receiver:
            hop = Hop("silent.example", f"127.0.0.1:{receiver.port}")
            settings = write_node(tmp_path, routes=[hop])
            async with NodeProcess(settings) as node:
                await submit_all(node.smtp, letters("m", "silent.example"), Book())
                async with asyncio.timeout(DEADLINE_S):
                    await receiver.at(".").wait()
                began_at = perf_counter()
                assert await node.stop() == Exit.OK, node.text
                took_s = perf_counter() - began_at
            # The control: it had something to wait for, and did.
            assert STOP_BOUND_S / 2 < took_s < STOP_BOUND_S + STARTLED_S
            rows = query(settings, "SELECT state, ambiguous FROM deliveries")
            assert len(rows) == len(letters("m"))
            assert {state for state, _ in rows} == {State.QUEUED}
            assert any(ambiguous for _, ambiguous in rows)

    asyncio.run(main())


def test_a_reload_tells_what_it_took_over_and_what_it_cannot(tmp_path: Path) -> None:
    async def main() -> None:
        settings = write_node(tmp_path, more="[limits]\nerrors = 10\n")
        async with NodeProcess(settings) as node:
            text = settings.read_text()
            settings.write_text(
                text.replace("errors = 10", "errors = 7").replace(
                    'hostname = "mta.example.com"', 'hostname = "mx.example.com"'
                )
            )
            node.send(signal.SIGHUP)
            applied = await node.wait_log(r"limits\.errors")
            assert " info " in applied
            assert "7" in applied
            kept = await node.wait_log(r"hostname")
            assert " warning " in kept
            assert "restart" in kept
            # A file that is wrong changes nothing and stops nothing.
            settings.write_text(text + "\n[limts]\n")
            node.send(signal.SIGHUP)
            await node.wait_log(r"not taken over.*limts")
            client = await SmtpClient.connect(node.smtp)
            await client.say(b"QUIT\r\n", b"221")
            await client.close()
            assert await node.stop() == Exit.OK

    asyncio.run(main())


async def run_once(settings: Path) -> None:
    """Let a node set up its state, and take mail that goes nowhere."""
    async with NodeProcess(settings) as node:
        await submit_all(node.smtp, letters("q"), Book())
        assert await node.stop() == Exit.OK, node.text


@pytest.mark.parametrize(
    "spoil",
    [lambda key: key.write_bytes(os.urandom(32)), lambda key: key.unlink()],
    ids=["foreign", "absent"],
)
def test_a_state_is_not_opened_with_another_key(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    async def main() -> None:
        settings = write_node(tmp_path)
        await run_once(settings)
        key = tmp_path / "state" / "node.key"
        spoil(key)
        node = NodeProcess(settings)
        await node.spawn()
        assert await node.wait() == Exit.SETTINGS
        assert "key" in node.text
        assert "Traceback" not in node.text
        # What was queued is still there, for whoever has the key.
        assert len(query(settings, "SELECT id FROM deliveries")) == len(letters("q"))

    asyncio.run(main())


def test_a_second_node_on_the_same_state_says_who_has_it(tmp_path: Path) -> None:
    async def main() -> None:
        settings = write_node(tmp_path)
        async with NodeProcess(settings) as first:
            second = NodeProcess(settings)
            await second.spawn()
            assert await second.wait() == Exit.SETTINGS
            assert f"process {first.pid}" in second.text
            assert "Traceback" not in second.text
            await submit_all(first.smtp, letters("s"), Book())
            assert await first.stop() == Exit.OK

    asyncio.run(main())


@asynccontextmanager
async def failing_syncs(pid: int) -> AsyncIterator[None]:
    """Let every sync of the process fail, as a dying disk does."""
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-p", str(pid), "-e", "trace=fsync,fdatasync"),
        *("-e", "inject=fsync,fdatasync:error=EIO", "-o", "/dev/null"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while b"attached" not in (line := await tracer.stderr.readline()):
                assert line, "strace does not run"
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            tracer.terminate()
        await tracer.communicate()


async def try_to_submit(node: NodeProcess, wanted: Sequence[Letter]) -> list[str]:
    """Return the tokens that the node took, by SMTP and by HTTP."""
    taken = []
    http = HttpClient(node.http)
    for letter in wanted:
        with contextlib.suppress(OSError, RefusedError):
            client = await SmtpClient.connect(node.smtp)
            try:
                await client.submit(letter)
                taken.append(letter.token)
            finally:
                await client.close()
        with contextlib.suppress(ConnectionError, RefusedError):
            await http.submit(letter)
            taken.append(letter.token)
    await http.close()
    return taken


@pytest.mark.needs("tracing")
def test_a_disk_that_fails_a_sync_ends_the_node(tmp_path: Path) -> None:
    async def main() -> None:
        settings = write_node(tmp_path)
        book = Book()
        async with NodeProcess(settings) as node:
            await submit_all(node.smtp, letters("before"), book)
            async with failing_syncs(node.pid):
                assert await try_to_submit(node, letters("after")) == []
                assert await node.wait(within_s=DEADLINE_S) == Exit.DISK
            assert "the disk failed" in node.text
        async with NodeProcess(settings) as node:
            # What was taken before is there; the rest was refused, or never answered.
            stored = query(settings, "SELECT recipient FROM deliveries")
            recipients = {recipient for (recipient,) in stored}
            assert recipients >= {
                to for token in book.acknowledged for to in book.offered[token]
            }
            await submit_all(node.smtp, letters("again"), book)
            assert await node.stop() == Exit.OK

    asyncio.run(main())
