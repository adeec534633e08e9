"""What the store's tests share: a writer on a small schema, with a gate in its way."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from mailwright.clock import ManualClock
from mailwright.store.ballast import Ballast
from mailwright.store.ddl import creations
from mailwright.store.ports import StoreError, StoreFailedError
from mailwright.store.settings import StoreSettings
from mailwright.store.sqlite import DIALECT, open_writer
from mailwright.store.statements import SEQ, Query, Step, Unit, UnitResult, Urgency
from mailwright.store.store import Store
from mailwright.store.submitted import Submitted
from mailwright.store.writer import Opened, Writer

T = TypeVar("T")
DEADLINE_S = 120.0

_metadata = MetaData()
notes = Table(
    "notes",
    _metadata,
    Column("place", Integer, primary_key=True),  # the order in which rows were written
    Column("name", Text, unique=True),
    Column("value", Integer),
)
log = Table(
    "log",
    _metadata,
    Column("seq", Integer, primary_key=True),
    Column("name", Text),
)

ADD = Query(
    "add note", insert(notes).values(name=bindparam("name"), value=bindparam("value"))
)
LOG = Query("log", insert(log))
CHANGE = Query(
    "change note",
    update(notes)
    .where(notes.c.name == bindparam("which"))
    .values(value=bindparam("to"))
    .returning(notes.c.name, notes.c.value),
)
TAKE = Query("take note", delete(notes).where(notes.c.name == bindparam("which")))
NAMES = Query("names", select(notes.c.name).order_by(notes.c.place))
COUNT = Query("count", select(func.count()).select_from(notes))
LOGGED = Query("logged", select(log.c.seq, log.c.name).order_by(log.c.seq))
GATE = Query("gate", text("SELECT gate()"))
#: Takes some tens of milliseconds.
SLOW = Query(
    "slow",
    text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < :upto) SELECT count(*) FROM n"
    ),
)


def note(
    name: str, value: int = 0, *, bulk: bool = False, logged: bool = False
) -> Unit:
    """A unit that adds a note, and tells the log of it."""
    then = (ADD(name=name, value=value),)
    if logged:
        then = (LOG(seq=SEQ, name=name), *then)
    return Unit((Step(then=then),), Urgency.BULK if bulk else Urgency.INTERACTIVE)


def drive(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` under a deadline."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await main

    return asyncio.run(bounded())


@dataclass(eq=False)
class Answer:
    """What a unit's owner heard."""

    submitted: Submitted | None = None
    result: UnitResult | None = None
    error: StoreError | None = None
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class Gate:
    """Holds the store thread inside a unit until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> int:
        self.reached.set()
        assert self.opened.wait(DEADLINE_S)
        return 1


class Rig:
    """A writer over ``notes`` and ``log``, with every statement it ran recorded."""

    def __init__(
        self,
        path: Path,
        *,
        turn_s: float = 5.0,
        prepare: Callable[[sqlite3.Connection], None] = lambda connection: None,
        connect: Callable[[Path], sqlite3.Connection] = open_writer,
    ) -> None:
        self.path = path
        self.gate = Gate()
        self.trace: list[str] = []
        self.failures: list[StoreFailedError] = []
        self.answers: list[Answer] = []
        self._prepare = prepare
        self._connect = connect
        self.ballast = Ballast(path.parent, octets=100_000)
        self.ballast.keep()
        self.writer = Writer(
            self._open, self.ballast, turn_s=turn_s, on_failed=self.failures.append
        )

    def _open(self) -> Opened:
        connection = self._connect(self.path)
        connection.execute("CREATE TABLE IF NOT EXISTS nodes (id INTEGER, seq INTEGER)")
        if not connection.execute("SELECT 1 FROM nodes").fetchone():
            connection.execute("INSERT INTO nodes VALUES (1, 0)")
        make_tables(connection)
        connection.create_function("gate", 0, self.gate)
        connection.set_trace_callback(self.trace.append)
        self._prepare(connection)
        (seq,) = connection.execute("SELECT seq FROM nodes").fetchone()
        return Opened(connection, 1, seq)

    def submit(self, unit: Unit) -> Answer:
        """Hand in ``unit``; its answer is recorded when it comes."""
        answer = Answer()

        def done(result: UnitResult | None, error: StoreError | None) -> None:
            answer.result, answer.error = result, error
            self.answers.append(answer)
            answer.heard.set()

        answer.submitted = self.writer.submit(unit, done)
        return answer

    async def hold(self) -> Answer:
        """Begin a unit and hold the store thread in it."""
        answer = self.submit(Unit((Step(guard=GATE()),)))
        assert await asyncio.to_thread(self.gate.reached.wait, DEADLINE_S)
        return answer

    def commits(self) -> int:
        return self.trace.count("COMMIT")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the file with a connection of its own."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


def make_tables(connection: sqlite3.Connection) -> None:
    for table in (notes, log):
        for query in creations(table, if_not_exists=True):
            connection.execute(query.compiled(DIALECT).text)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    """Start the rig's writer and close it, with the gate open at the end."""
    await rig.writer.start()
    try:
        yield rig
    finally:
        rig.gate.opened.set()
        await rig.writer.close()


def settings_in(folder: Path, **changes: Any) -> StoreSettings:
    return StoreSettings(
        **{
            "path": folder / "mailwright.db",
            "state_dir": folder,
            "node": "n1",
            **changes,
        }
    )


@asynccontextmanager
async def opened(folder: Path, **changes: Any) -> AsyncIterator[Store]:
    """Open a store in ``folder``, with ``notes`` and ``log`` as its only day tables."""
    store = await Store.open(settings_in(folder, **changes), clock=ManualClock())
    try:
        yield store
    finally:
        await store.close()
