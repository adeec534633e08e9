"""What lies in the state folder is not what was written there.

A queue of letters is left behind by a node that stopped (all of it in the database) and
by one that was killed (the latest in the log). A copy of it is spoilt, and a node
started on it. It may refuse, with a status that is documented and a text; or run, and
then what leaves must be what was accepted, and what cannot leave must still be there.
Never may the letters be gone without a word. Control: a node that believes its disk.
"""

import asyncio
import contextlib
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fakes.node_process import SERVE, NodeProcess, query, write_node
from fakes.submitting import Book, Letter
from faults.ledger import Row, Size
from faults.sync import submit_smtp
from mailwright.daemon.lifecycle import Exit
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

_CONTROL = (str(Path(__file__).with_name("trusting_node.py")),)
_DOMAIN = "a.example"
_PAGE = 4096
_SETTLES_S = 60.0
_TOLD = re.compile(r"damaged|malformed|corrupt", re.IGNORECASE)
_REFUSED = frozenset({int(Exit.SETTINGS), int(Exit.DISK)})

Spoil = Callable[[Path], None]


def _database(state: Path) -> Path:
    return state / "mailwright.db"


def _body(state: Path) -> Path:
    return min((state / "bodies").glob("*/*"))


def _flip_body(state: Path) -> None:
    octets = bytearray(_body(state).read_bytes())
    octets[len(octets) // 2] ^= 4
    _body(state).write_bytes(octets)


def _cut_body(state: Path) -> None:
    _body(state).write_bytes(_body(state).read_bytes()[:-100])


def _swap_bodies(state: Path) -> None:
    one, other, *_ = sorted((state / "bodies").glob("*/*"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def _flip_row(state: Path) -> None:
    """Change a letter's text where it lies in the database, page sums and all."""
    octets = bytearray(_database(state).read_bytes())
    at = octets.index(b"small1 ....")
    octets[at + 8] = ord(":")
    _database(state).write_bytes(octets)


def _pages(*numbers: float, content: Callable[[Random], bytes]) -> Spoil:
    """Replace pages: whole numbers count from 0, others are shares of the file."""

    def spoil(state: Path) -> None:
        rng = Random(5)  # noqa: S311
        octets = bytearray(_database(state).read_bytes())
        for number in numbers:
            page = number if isinstance(number, int) else len(octets) // _PAGE * number
            at = int(page) * _PAGE
            octets[at : at + _PAGE] = content(rng)
        _database(state).write_bytes(octets)

    return spoil


def _zeros(_rng: Random) -> bytes:
    return bytes(_PAGE)


def _noise(rng: Random) -> bytes:
    return rng.randbytes(_PAGE)


def _root_of(table: str) -> Spoil:
    def spoil(state: Path) -> None:
        [[root]] = query(
            state.parent / "node.toml",
            "SELECT rootpage FROM sqlite_schema WHERE name = ?",
            table,
        )
        _pages(root - 1, content=_noise)(state)

    return spoil


def _cut_database(state: Path) -> None:
    octets = _database(state).read_bytes()
    _database(state).write_bytes(octets[: len(octets) // 2])


def _remove(*names: str) -> Spoil:
    def spoil(state: Path) -> None:
        for name in names:
            (state / name).unlink()

    return spoil


def _empty_database(state: Path) -> None:
    _database(state).write_bytes(b"")


def _text_instead(state: Path) -> None:
    _database(state).write_text("This is no database.\n" * 1000)


def _foreign_database(state: Path) -> None:
    _database(state).unlink()
    with closing(sqlite3.connect(_database(state))) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
        connection.commit()


def _foreign_files(state: Path) -> None:
    (state / "README").write_text("not ours")
    folder = state / "bodies" / "20200101"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"\xff\xd8")
    (folder / "0123456789abcdef.new").write_bytes(b"half")
    (state / "bodies" / "link").symlink_to("/etc/passwd")
    (state / "bodies" / "lost+found").mkdir()


#: By name: whether the node was killed, what is spoilt, and whether it must run.
CASES: dict[str, tuple[bool, Spoil, bool | None]] = {
    "a flipped body": (False, _flip_body, True),
    "a cut body": (True, _cut_body, True),
    "an empty body": (False, lambda state: _body(state).write_bytes(b""), True),
    "a body that is gone": (False, lambda state: _body(state).unlink(), True),
    "two bodies swapped": (False, _swap_bodies, True),
    "a flipped octet of a row": (False, _flip_row, True),
    "foreign files": (True, _foreign_files, True),
    "no log": (True, _remove("mailwright.db-wal"), False),
    "no log, no index of it": (
        True,
        _remove("mailwright.db-wal", "mailwright.db-shm"),
        False,
    ),
    "no database": (True, _remove("mailwright.db"), False),
    "no database, stopped": (False, _remove("mailwright.db"), False),
    "an empty database": (False, _empty_database, False),
    "a text instead": (False, _text_instead, False),
    "a foreign database": (False, _foreign_database, False),
    "half a database": (False, _cut_database, False),
    "first page zero": (False, _pages(0, content=_zeros), False),
    "first page noise": (False, _pages(0, content=_noise), False),
    "deliveries' root noise": (False, _root_of("deliveries"), None),
    "contents' root noise": (False, _root_of("contents"), None),
    "lines' root noise": (False, _root_of("lines"), None),
    "sealed keys' root noise": (False, _root_of("sealed_keys"), None),
    "pages of noise": (False, _pages(0.2, 0.5, 0.8, content=_noise), None),
    "pages of zeros": (False, _pages(0.3, 0.6, 0.9, content=_zeros), None),
}
_SHORT = ("a flipped body", "a flipped octet of a row", "no log", "no database")


@dataclass(slots=True)
class _Bench:
    folder: Path
    net: Internet
    letters: dict[str, Letter] = field(default_factory=dict)

    def copy(self, kind: str, name: str) -> Path:
        place = self.folder / name
        sockets = shutil.ignore_patterns("*.sock")
        shutil.copytree(self.folder / kind, place, ignore=sockets)
        return place / "node.toml"

    def wrong(self) -> int:
        """Count the letters that arrived with other octets than were accepted."""
        return sum(
            (taken.content or b"").partition(b"\r\n\r\n")[2]
            != self.letters[recipient].text.encode()
            for taken in self.net.inbox.letters
            for recipient in taken.recipients
        )

    def arrived(self) -> set[str]:
        return {
            recipient
            for letter in self.net.inbox.letters
            for recipient in letter.recipients
        }


@dataclass(slots=True)
class _Found:
    name: str
    lost: int = 0
    wrong: int = 0
    complaints: list[str] = field(default_factory=list)


async def _set_up(bench: _Bench, kind: str) -> int:
    """Leave a queue behind; return how many letters it holds."""
    place = bench.folder / kind
    place.mkdir()
    settings = write_node(
        place,
        nameserver=bench.net.nameserver,
        smtp_port=bench.net.smtp_port,
    )
    letters = [
        Letter(f"{name}{number}", (f"{name}{number}@{_DOMAIN}",), octets)
        for name, octets, many in (("small", 900, 30), ("large", 90_000, 3))
        for number in range(many)
    ]
    bench.letters.update({letter.recipients[0]: letter for letter in letters})
    book = Book()
    async with NodeProcess(settings) as node:
        await submit_smtp(node, letters, book)
        if kind == "stopped":
            assert await node.stop() == Exit.OK, node.text
        else:
            await node.kill()
    return len(book.acknowledged)


async def _play(
    bench: _Bench, name: str, command: Sequence[str], number: int
) -> _Found:
    is_killed, spoil, must_run = CASES[name]
    found = _Found(name)
    settings = await asyncio.to_thread(
        bench.copy, "killed" if is_killed else "stopped", f"case{number}"
    )
    await asyncio.to_thread(spoil, settings.parent / "state")
    bench.net.inbox.letters.clear()
    node = NodeProcess(settings, command)
    await node.spawn()
    try:
        status = await _live(bench, node, settings)
    finally:
        await node.kill()
    if "Traceback" in node.text:
        found.complaints.append(f"{name}: {node.text.splitlines()[-1]}")
    if status in _REFUSED:
        if must_run or not node.log:
            found.complaints.append(f"{name}: ended with {status}: {node.text[-300:]}")
    elif status != Exit.OK or must_run is False:
        found.complaints.append(f"{name}: ended with {status}, and was to refuse")
    if status == Exit.OK:
        there = await asyncio.to_thread(_queued, settings)
        if there is not None:
            found.lost = len(bench.letters.keys() - there - bench.arrived())
        if found.lost:
            found.complaints.append(f"{name}: {found.lost} letters are gone")
        if (there is None or must_run is None) and not _TOLD.search(node.text):
            found.complaints.append(f"{name}: nobody was told")
    found.wrong = bench.wrong()
    if found.wrong:
        found.complaints.append(f"{name}: {found.wrong} wrong contents were sent")
    return found


async def _live(bench: _Bench, node: NodeProcess, settings: Path) -> int:
    """Let ``node`` deliver what it can; return its exit status."""
    try:
        await node.wait_running()
    except AssertionError:  # it refused
        return await node.wait()
    with contextlib.suppress(TimeoutError):  # what is gone then is counted
        async with asyncio.timeout(_SETTLES_S):
            while not node.has_ended:
                if await asyncio.to_thread(_is_still, settings):
                    break
                await asyncio.sleep(0.1)
    return await node.stop()


def _queued(settings: Path) -> set[str] | None:
    """Return who is in the queue; ``None``: that can no longer be read."""
    try:
        rows = query(settings, "SELECT recipient FROM deliveries")
    except sqlite3.DatabaseError:
        return None
    return {recipient for (recipient,) in rows}


def _is_still(settings: Path) -> bool:
    """Whether every delivery was tried on this start at least once."""
    try:
        [[untried]] = query(
            settings,
            "SELECT count(*) FROM deliveries WHERE state = 1 OR attempt = 0 "
            "OR last_reply NOT LIKE '%damaged%'",
        )
    except sqlite3.DatabaseError:
        return False  # the node will find it, and end
    return not untried


async def run(folder: Path, size: Size) -> Row:
    """Spoil a copy of the state in each way."""
    kept = InboxSettings(keep_content=True, letters_max=10_000, verify_share=0)
    deferring = Behaviour(defer_first=None)
    async with Internet([SandboxDomain(_DOMAIN, deferring)], inbox=kept) as net:
        bench = _Bench(folder, net)
        acknowledged = await _set_up(bench, "stopped")
        await _set_up(bench, "killed")
        net.conduct.behaviours[_DOMAIN] = Behaviour()
        names = _SHORT if size is Size.SHORT else tuple(CASES)
        found = [
            await _play(bench, name, SERVE, number) for number, name in enumerate(names)
        ]
        sent = await _play(bench, "a flipped octet of a row", _CONTROL, 100)
        begun = await _play(bench, "no database", _CONTROL, 101)
    complaints = tuple(text for each in found for text in each.complaints)
    return Row(
        "a spoilt state",
        len(found),
        acknowledged * len(found),
        sum(each.lost for each in found),
        len(complaints),
        sent.wrong > 0 and begun.lost > 0,
        {"wrong_octets_sent": sum(each.wrong for each in found)},
        complaints,
    )
