"""A state folder on a small file system that fills up: refused, never lost, healed."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import httpx
import pytest

from fakes.node_process import NodeProcess, query, write_node
from fakes.slowness import allowed
from fakes.submitting import Book, HttpClient, Letter, RefusedError, SmtpClient
from mailwright.queue.delivery import State
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

pytestmark = [pytest.mark.scenario, pytest.mark.needs("mounts")]

DEADLINE_S = 300.0
HEALS_S = 10.0
SIZE = "32m"
#: A node without a ballast: it must be seen to leave outcomes unwritten.
CONTROL = (str(Path(__file__).with_name("unballasted_node.py")),)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system on ``folder``."""
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "none"]
    subprocess.run([*mount, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every octet that is free."""
    path = folder / "filler"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for size in (1_000_000, 65_536, 4096):
            with suppress(OSError):
                while os.write(file, bytes(size)) == size:
                    pass
    finally:
        os.close(file)
    return path


def letter_of(name: str, domain: str = "quick.example") -> Letter:
    return Letter(name, (f"{name}@{domain}",), 2000)


async def submit_until_refused(node: NodeProcess, book: Book, prefix: str) -> str:
    """Submit by SMTP until something is refused; return the reply."""
    client = await SmtpClient.connect(node.smtp)
    try:
        for number in range(100_000):
            letter = letter_of(f"{prefix}{number}")
            book.offer(letter)
            await client.submit(letter)
            book.acknowledge(letter)
    except RefusedError as refused:
        return str(refused)
    finally:
        await client.close()
    raise AssertionError("a full disk refuses nothing")


async def http_refusal(node: NodeProcess) -> str:
    client = HttpClient(node.http)
    try:
        await client.submit(letter_of("http"))
    except RefusedError as refused:
        return str(refused)
    finally:
        await client.close()
    raise AssertionError("a full disk refuses nothing")


def sending(settings: Path) -> int:
    return len(
        query(settings, f"SELECT 1 FROM deliveries WHERE state = {State.SENDING.value}")
    )


async def fill_in_flight(
    net: Internet, node: NodeProcess, settings: Path, book: Book
) -> Path:
    """Fill the disk while deliveries are with receivers that take their time."""
    for number in range(40):
        letter = letter_of(f"first{number}", "slow.example")
        client = await SmtpClient.connect(node.smtp)
        book.offer(letter)
        await client.submit(letter)
        book.acknowledge(letter)
        await client.close()
    await net.inbox.wait_copies(2)
    filler = fill(settings.parent / "state")
    assert sending(settings) > 0, "nothing was in flight: this shows nothing"
    return filler


def test_a_full_disk_refuses_pauses_and_heals(tmp_path: Path) -> None:
    async def main(settings: Path, net: Internet) -> None:
        book = Book()
        async with NodeProcess(settings) as node, asyncio.timeout(DEADLINE_S):
            filler = await fill_in_flight(net, node, settings, book)
            reply = await submit_until_refused(node, book, "more")
            assert reply.startswith("452 4.3.1 "), reply
            assert "/" not in reply
            answer = await http_refusal(node)
            assert answer.startswith("507 "), answer
            assert str(tmp_path) not in answer
            # What was in flight is recorded, on a disk that is still full.
            while sending(settings):
                await asyncio.sleep(0.1)
            copies = net.inbox.totals.copies
            await wait_refusing(node, refusing=True)
            assert net.inbox.totals.copies == copies, "delivery did not pause"

            filler.unlink()
            healed_s = await taken_again(node, book)
            assert healed_s <= allowed(HEALS_S)
            await net.inbox.wait_copies(len(book.acknowledged))
            await wait_refusing(node, refusing=False)
        assert net.inbox.totals.copies == len(book.acknowledged)
        assert net.inbox.totals.duplicates == 0

    asyncio.run(on_small_disk(tmp_path, main))


async def wait_refusing(node: NodeProcess, *, refusing: bool) -> None:
    """Return when the node says that it refuses mail for want of room, or says not."""
    host, port = node.http
    async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
        while True:
            answer = await client.get(f"http://{host}:{port}/readyz")
            if ("mail gets 452" in answer.text) == refusing:
                assert answer.status_code == 503 or not refusing
                return
            await asyncio.sleep(0.1)


async def taken_again(node: NodeProcess, book: Book) -> float:
    """Return after how many seconds mail is taken; until then it gets 452."""
    began_at = monotonic()
    letter = letter_of("healed")
    book.offer(letter)
    while True:
        client = await SmtpClient.connect(node.smtp)
        try:
            await client.submit(letter)
        except RefusedError as refused:
            if not str(refused).startswith("452 "):
                raise
            await asyncio.sleep(0.1)
        else:
            book.acknowledge(letter)
            return monotonic() - began_at
        finally:
            await client.close()


def test_control_without_a_ballast_outcomes_stay_unwritten(tmp_path: Path) -> None:
    async def main(settings: Path, net: Internet) -> None:
        book = Book()
        async with NodeProcess(settings, CONTROL) as node:
            async with asyncio.timeout(DEADLINE_S):
                await fill_in_flight(net, node, settings, book)
                await submit_until_refused(node, book, "more")
                while not await unwritten(node):
                    await asyncio.sleep(0.1)
            assert sending(settings) > 0

    asyncio.run(on_small_disk(tmp_path, main))


async def unwritten(node: NodeProcess) -> int:
    """Return how many outcomes wait for room."""
    host, port = node.http
    async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
        text = (await client.get(f"http://{host}:{port}/metrics")).text
    name = "mailwright_unwritten_outcomes "
    [line] = [each for each in text.splitlines() if each.startswith(name)]
    return int(float(line.removeprefix(name)))


async def on_small_disk(tmp_path: Path, main: object) -> None:
    assert callable(main)
    slow = SandboxDomain("slow.example", Behaviour(reply_delay_s=0.2))
    with small_disk(tmp_path / "state"):
        async with Internet(
            [slow, "quick.example"], inbox=InboxSettings(verify_share=0)
        ) as net:
            settings = write_node(
                tmp_path, nameserver=net.nameserver, smtp_port=net.smtp_port
            )
            await main(settings, net)
