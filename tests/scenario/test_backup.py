"""Coming back: a stop of all mail, a backup under load, and a restore that sends nothing.

The node is a process, and so is every command.
"""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import pytest

from fakes.node_process import API_KEY, SERVE, NodeProcess, query, write_node
from fakes.submitting import Book, Letter, SmtpClient, submit_all
from mailwright.daemon.lifecycle import Exit
from mailwright.ids import COUNTER_BITS
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
#: A node that would send has sent long before.
SENDS_WITHIN_S = 3.0
HELD = (*SERVE, "--held")
CLIENTS = 4
#: More than leave while a command starts, on a machine that is slow.
HELD_MANY = 200
#: Letters in a backup that is older than their delivery.
OLD = 20
#: Over 64 KB: the body is a file.
LARGE = 90_000


async def command(settings: Path, *words: str, status: int = 0) -> str:
    """Return what a command printed; ``status`` is what it must exit with."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mailwright", *words, "--settings", str(settings)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(120):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        raise
    assert process.returncode == status, (words, out.decode(), err.decode())
    return (out or err).decode()


async def answer(settings: Path, *words: str) -> Any:
    return json.loads(await command(settings, *words, "--json"))


def letters(prefix: str, number: int, domain: str = "a.example") -> list[Letter]:
    return [
        Letter(f"{prefix}{n}", (f"{prefix}{n}@{domain}",), LARGE if n % 5 == 0 else 600)
        for n in range(number)
    ]


@asynccontextmanager
async def receivers() -> AsyncIterator[Internet]:
    """Run a quick receiver and one that takes a second for each of its replies."""
    domains = ["a.example", SandboxDomain("slow.example", Behaviour(reply_delay_s=0.5))]
    async with Internet(domains, inbox=InboxSettings(verify_share=0)) as net:
        yield net


async def settle_down(net: Internet, seconds: float) -> int:
    """Return how many copies arrive within ``seconds``."""
    before = net.inbox.totals.copies
    await asyncio.sleep(seconds)  # for what must not happen there is no condition
    return net.inbox.totals.copies - before


async def get(node: NodeProcess, path: str) -> str:
    host, port = node.http
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with httpx.AsyncClient(
        trust_env=False, headers=headers, timeout=120
    ) as client:
        return (await client.get(f"http://{host}:{port}{path}")).text


def test_a_stop_acts_at_once_outlives_a_kill_and_ends_by_a_release(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    async def main() -> float:
        async with receivers() as net:
            settings = write_node(
                tmp_path,
                nameserver=net.nameserver,
                smtp_port=net.smtp_port,
                delivery="connections = 4",
            )
            async with NodeProcess(settings) as node:
                await submit_all(
                    node.smtp, letters("s", HELD_MANY, "slow.example"), Book()
                )
                async with asyncio.timeout(DEADLINE_S):
                    await net.inbox.wait_copies(3)
                await command(settings, "stop-all", "--reason", "a test")
                stopped_at = perf_counter()
                # What is on the wire has some replies of half a second to wait for.
                while query(settings, "SELECT 1 FROM deliveries WHERE state = 1"):
                    assert perf_counter() - stopped_at < DEADLINE_S
                    await asyncio.sleep(0.05)
                took_s = perf_counter() - stopped_at
                assert await settle_down(net, SENDS_WITHIN_S) == 0
                assert net.inbox.totals.copies < HELD_MANY // 2
                net.conduct.behaviours["slow.example"] = Behaviour()
                # It goes on taking mail, and says how it is.
                await submit_all(node.smtp, letters("t", 5), Book())
                assert "all mail is held" in await get(node, "/readyz")
                assert "mailwright_all_held 1.0" in await get(node, "/metrics")
                explained = await command(settings, "explain", "slow.example")
                assert "held by cli:root: a test" in explained
                await node.kill()
            async with NodeProcess(settings) as node:
                assert await settle_down(net, SENDS_WITHIN_S) == 0
                assert "a test" in await command(settings, "release-all")
                async with asyncio.timeout(DEADLINE_S):
                    await net.inbox.wait_copies(HELD_MANY + 5)
                assert "held" not in await get(node, "/readyz")
                assert await node.stop() == Exit.OK
            assert net.inbox.totals.duplicates == 0
            return took_s

    publish(f"stop-all: the wire was quiet after {asyncio.run(main()):.1f} s")


def test_a_node_that_starts_held_takes_mail_and_sends_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with receivers() as net:
            settings = write_node(
                tmp_path, nameserver=net.nameserver, smtp_port=net.smtp_port
            )
            async with NodeProcess(settings, command=HELD) as node:
                await submit_all(node.smtp, letters("h", 5), Book())
                assert await settle_down(net, SENDS_WITHIN_S) == 0
                assert await node.stop() == Exit.OK
            # While no node runs a stop is written to the database, and so is its end.
            await command(settings, "release-all")
            await command(settings, "release-all", status=1)
            await command(settings, "stop-all", "--until", "1h")
            async with NodeProcess(settings) as node:
                assert await settle_down(net, SENDS_WITHIN_S) == 0
                await command(settings, "release-all")
                async with asyncio.timeout(DEADLINE_S):
                    await net.inbox.wait_copies(5)
                assert await node.stop() == Exit.OK

    asyncio.run(main())


async def old_backup(tmp_path: Path, net: Internet) -> tuple[Path, Path]:
    """Return the settings and a backup of twenty letters that were delivered since."""
    settings = write_node(tmp_path, nameserver=net.nameserver, smtp_port=net.smtp_port)
    backup = tmp_path / "backup"
    async with NodeProcess(settings, command=HELD) as node:
        await submit_all(node.smtp, letters("r", OLD), Book())
        said = await command(settings, "backup", str(backup))
        assert "node key is not in this backup" in said
        in_use = await command(settings, "restore", str(backup), status=1)
        assert "running" in in_use
        await command(settings, "release-all")
        async with asyncio.timeout(DEADLINE_S):
            await net.inbox.wait_copies(OLD)
        assert await node.stop() == Exit.OK
    return settings, backup


def test_a_restore_of_an_old_backup_sends_nothing_by_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with receivers() as net:
            settings, backup = await old_backup(tmp_path, net)
            said = await command(settings, "restore", str(backup), status=1)
            assert "--replace" in said
            restored = await answer(settings, "restore", str(backup), "--replace")
            assert restored["deliveries"] == OLD
            [group] = restored["again"]
            assert (group["tenant"], group["stream"]) == ("acme", "news")
            aside = tmp_path / "state" / Path(restored["replaced"]).name
            assert (aside / "mailwright.db").stat().st_size > 0
            async with NodeProcess(settings) as node:
                assert await settle_down(net, SENDS_WITHIN_S) == 0
                assert await node.stop() == Exit.OK
            assert net.inbox.totals.duplicates == 0

            # The control: what was restored sends as soon as the hold is not there.
            database = tmp_path / "state" / "mailwright.db"
            with closing(sqlite3.connect(database)) as connection, connection:
                connection.execute("DELETE FROM holds")
            async with NodeProcess(settings) as node:
                async with asyncio.timeout(DEADLINE_S):
                    await net.inbox.wait_copies(2 * OLD)
                assert await node.stop() == Exit.OK
            assert net.inbox.totals.duplicates == OLD

    asyncio.run(main())


def test_after_a_restore_what_must_not_go_is_cancelled_and_ids_are_new(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with receivers() as net:
            settings, backup = await old_backup(tmp_path, net)
            [(given,)] = query(settings, "SELECT max(ids_end) FROM nodes")
            await command(settings, "restore", str(backup), "--replace")
            async with NodeProcess(settings) as node:
                await command(
                    settings, "queue", "cancel", "--tenant", "acme", "--reason", "sent"
                )
                await submit_all(node.smtp, letters("new", 5), Book())
                await command(settings, "release-all")
                async with asyncio.timeout(DEADLINE_S):
                    await net.inbox.wait_copies(OLD + 5)
                assert await settle_down(net, SENDS_WITHIN_S) == 0
                assert net.inbox.totals.duplicates == 0
                [(newest,)] = query(settings, "SELECT max(id) FROM messages")
                assert await node.stop() == Exit.OK
            # No id that was given out after the backup was made is given out again.
            assert newest % (1 << COUNTER_BITS) > given

    asyncio.run(main())


class Load:
    """Clients that submit until they are told to stop, and time every answer."""

    def __init__(self, address: tuple[str, int], book: Book) -> None:
        self._address = address
        self._book = book
        self._numbers = count()
        self.is_over = False
        #: (when it was acknowledged, seconds it took).
        self.answers: list[tuple[float, float]] = []

    async def client(self) -> None:
        client = await SmtpClient.connect(self._address)
        while not self.is_over:
            number = next(self._numbers)
            octets = LARGE if number % 20 == 0 else 3_000
            letter = Letter(f"l{number}", (f"l{number}@a.example",), octets)
            self._book.offer(letter)
            began_at = perf_counter()
            await client.submit(letter)
            ended_at = perf_counter()
            self._book.acknowledge(letter)
            self.answers.append((ended_at, ended_at - began_at))
        await client.close()

    def longest_ms(self, since: float, until: float) -> float:
        took = [took for at, took in self.answers if since <= at - took and at <= until]
        return 1000 * max(took, default=0.0)


@pytest.mark.parametrize(
    "is_far",
    [
        pytest.param(False, id="linked"),
        pytest.param(True, id="copied", marks=pytest.mark.needs("shared memory")),
    ],
)
def test_a_backup_under_load_has_every_message_acknowledged_before_it(
    tmp_path: Path, publish: Callable[[str], None], *, is_far: bool
) -> None:
    far = Path("/dev/shm") / f"mailwright-backup-{tmp_path.name}"  # noqa: S108 another disk
    backup = far if is_far else tmp_path / "backup"

    async def main() -> None:
        settings = write_node(tmp_path)
        book = Book()
        async with NodeProcess(settings, command=HELD) as node:
            load = Load(node.smtp, book)
            async with asyncio.timeout(180), asyncio.TaskGroup() as tasks:
                for _ in range(CLIENTS):
                    tasks.create_task(load.client())
                await book.wait_acknowledged(400)
                quiet_since = perf_counter()
                before = list(book.acknowledged)
                manifest = await answer(settings, "backup", str(backup))
                ended_at = perf_counter()
                after = len(book.acknowledged)
                await book.wait_acknowledged(after + 100)
                load.is_over = True
            publish(
                f"backup under load ({'copied' if is_far else 'linked'}): "
                f"{manifest['counts']['messages']} messages, "
                f"{manifest['database_octets'] / 1e6:.0f} MB in "
                f"{ended_at - quiet_since:.1f} s; longest answer before it "
                f"{load.longest_ms(0, quiet_since):.0f} ms, during it "
                f"{load.longest_ms(quiet_since, ended_at):.0f} ms"
            )
            assert after > len(before), "there was no load during the backup"
            assert await node.stop() == Exit.OK
        await command(settings, "restore", str(backup), "--replace")
        await command(settings, "db", "check", "--full")
        stored = {row[0] for row in query(settings, "SELECT recipient FROM deliveries")}
        assert {f"{token}@a.example" for token in before} <= stored
        assert len(stored) < len(book.acknowledged)
        bodies = query(
            settings,
            "SELECT body_file, body_octets FROM contents WHERE body_file IS NOT NULL",
        )
        assert len(bodies) == manifest["bodies"] > 0
        for name, octets in bodies:
            assert (tmp_path / "state" / "bodies" / name).stat().st_size == octets

    try:
        asyncio.run(main())
    finally:
        if is_far:
            shutil.rmtree(far, ignore_errors=True)


def test_a_backup_that_changed_is_refused_and_the_state_stays(tmp_path: Path) -> None:
    async def main() -> None:
        settings = write_node(tmp_path)
        async with NodeProcess(settings, command=HELD) as node:
            await submit_all(node.smtp, letters("c", 6), Book())
            assert await node.stop() == Exit.OK
        backup = tmp_path / "backup"
        await command(settings, "backup", str(backup))
        await command(settings, "backup", str(backup), status=1)  # not empty
        database = tmp_path / "state" / "mailwright.db"
        kept = hashlib.sha256(database.read_bytes()).digest()
        body = next(backup.rglob("bodies/*/*"))
        for path in (body, backup / "mailwright.db", backup / "bodies.list"):
            whole = path.read_bytes()
            path.unlink()  # the body is a link: the state's must not change
            path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
            said = await command(
                settings, "restore", str(backup), "--replace", status=1
            )
            assert "not what was backed up" in said
            path.write_bytes(whole)
        (backup / "manifest.json").rename(backup / "manifest.away")
        said = await command(settings, "restore", str(backup), "--replace", status=1)
        assert "no backup" in said
        (backup / "manifest.away").rename(backup / "manifest.json")
        key = tmp_path / "state" / "node.key"
        right = key.read_bytes()
        key.write_bytes(bytes(32))
        said = await command(settings, "restore", str(backup), "--replace", status=2)
        assert "not the one this database was sealed with" in said
        key.write_bytes(right)
        assert hashlib.sha256(database.read_bytes()).digest() == kept
        assert not (tmp_path / "state" / "restoring").exists()
        # The control: nothing is wrong with it now.
        await command(settings, "restore", str(backup), "--replace")

    asyncio.run(main())


def test_a_database_that_is_gone_or_damaged_is_never_begun_anew(tmp_path: Path) -> None:
    async def refused(settings: Path, why: str) -> None:
        node = NodeProcess(settings)
        await node.spawn()
        assert await node.wait() in {Exit.SETTINGS, Exit.DISK}
        assert why in node.text
        assert "Traceback" not in node.text

    async def main() -> None:
        settings = write_node(tmp_path)
        async with NodeProcess(settings, command=HELD) as node:
            await submit_all(node.smtp, letters("g", 200), Book())
            await node.wait_log("quick check of the database.*no damage", within_s=240)
            assert await node.stop() == Exit.OK
        backup = tmp_path / "backup"
        await command(settings, "backup", str(backup))
        database = tmp_path / "state" / "mailwright.db"
        whole = database.read_bytes()

        database.unlink()
        await refused(settings, "is gone or empty")
        database.write_bytes(b"")
        await refused(settings, "is gone or empty")
        database.write_bytes(bytes(len(whole)))
        await refused(settings, "not a SQLite database")

        # Damage far from where a start looks: the check in the background finds it.
        (page,) = query_pages(backup / "mailwright.db")
        octets = bytearray(whole)
        octets[page : page + 64] = b"\xff" * 64
        database.write_bytes(octets)
        async with NodeProcess(settings) as node:
            await node.wait_log("the database is damaged", within_s=240)
            assert "the database is damaged" in await get(node, "/readyz")
            assert "mailwright_database_damaged 1.0" in await get(node, "/metrics")
            await node.kill()
        await refused(settings, "was found damaged")
        await command(settings, "db", "check", status=1)
        await refused(settings, "was found damaged")
        await command(settings, "restore", str(backup), "--replace")
        await command(settings, "db", "check")
        async with NodeProcess(settings) as node:
            assert len(query(settings, "SELECT id FROM deliveries")) == 200
            assert await node.stop() == Exit.OK

    asyncio.run(main())


def query_pages(database: Path) -> list[int]:
    """Return where the root page of the finished deliveries' index lies, in octets."""
    with closing(sqlite3.connect(database)) as connection:
        [(size,)] = connection.execute("PRAGMA page_size").fetchall()
        [(root,)] = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name LIKE 'finished_%_message' "
            "ORDER BY name LIMIT 1"
        ).fetchall()
    return [(root - 1) * size]
