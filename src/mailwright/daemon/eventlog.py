"""The events file: every event as a line of JSON, for collectors.

A subscriber on a thread of its own reads the event log on from a cursor and appends to
the file. It is never in the delivery path: a full disk or a slow one delays lines, not
mail. Lines are synced before the cursor is kept, so none is missed; after a crash the
last ones may be there twice (``id`` tells).
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final, TypeVar

from mailwright.accounts.directory import Directory
from mailwright.clock import Clock, to_micros
from mailwright.config.node import LogSettings
from mailwright.daemon.event_reading import recipients_of
from mailwright.daemon.line_file import LineFile
from mailwright.events.cursors import KEEP_CURSOR, OPERATOR, SELECT_CURSOR
from mailwright.events.following import Filter, end_of_log, read_after
from mailwright.events.log import Event
from mailwright.ids import Kind, SourceId, format_public
from mailwright.store.ports import StoreError
from mailwright.store.statements import Bound, Row, Unit, Urgency, unit
from mailwright.store.store import Store

logger = logging.getLogger(__name__)

#: How long what happened may stay out of the file while all is well.
LOOK_S: Final = 1.0
#: How long to wait after a failure.
RETRY_S: Final = 10.0
#: How long the node's loop may take to answer the thread.
ANSWER_S: Final = 60.0
#: Events that are read and synced at once.
PAGE: Final = 1_000
_CURSOR_NAME: Final = "events file"
_EVERYTHING: Final = Filter(None)

T = TypeVar("T")


def line_of(
    event: Event, recipient: str | None, directory: Directory, *, with_address: bool
) -> bytes:
    """Return the line of ``event``: JSON in ASCII, so that nothing in it ends a line.

    ``recipient`` is ``None`` once the address is erased. Names of the settings stand
    for their ids.
    """
    about = event.about
    accepted_at = datetime.combine(about.accepted_on, time(), UTC)
    tenant = directory.tenants.get(about.tenant)
    if recipient is not None and not with_address:
        recipient = f"***@{recipient.rpartition('@')[2]}"
    members: dict[str, Any] = {
        "at": event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event": event.type.value,
        "id": event.id,
        "tenant": "" if tenant is None else tenant.name,
        "message": format_public(Kind.MESSAGE, accepted_at, about.message),
        "delivery": format_public(Kind.DELIVERY, accepted_at, about.delivery),
        "recipient": recipient,
        "subject": about.subject.hex(),
    }
    # What events say of themselves never replaces what identifies them.
    for name, value in _named(event.data, directory).items():
        members.setdefault(name, value)
    return json.dumps(members, separators=(",", ":")).encode("ascii") + b"\n"


def _named(data: Mapping[str, object], directory: Directory) -> dict[str, object]:
    number = data.get("source")
    if not isinstance(number, int):
        return dict(data)
    source = directory.sources.get(SourceId(number))
    return {**data, "source": "" if source is None else source.name}


@dataclass(frozen=True, slots=True)
class EventFileState:
    """How the file is doing.

    Attributes:
        lines: written since the start.
        is_failing: the last try to write failed.
    """

    lines: int
    is_failing: bool


class _FromThread:
    """The node's store for another thread: answers come from the node's loop.

    Blocks the thread that asks, inside what look like coroutines.
    """

    def __init__(self, store: Store, home: asyncio.AbstractEventLoop) -> None:
        self.node = store.node
        self._store = store
        self._home = home

    async def read(self, *bounds: Bound) -> list[list[Row]]:
        return self._at_home(self._store.read(*bounds))

    def run(self, unit: Unit) -> None:
        self._at_home(self._store.run(unit))

    def days(self) -> list[date]:
        async def days() -> list[date]:
            return self._store.days()

        return self._at_home(days())

    def _at_home(self, asked: Coroutine[Any, Any, T]) -> T:
        answer = asyncio.run_coroutine_threadsafe(asked, self._home)
        try:
            return answer.result(ANSWER_S)
        except TimeoutError:
            answer.cancel()
            raise StoreError("the node does not answer") from None


class EventFile:
    """Follows the event log into a file.

    Args:
        file: where lines go; nothing else writes to it.
        with_addresses: whether lines hold whole addresses.
    """

    def __init__(
        self,
        file: LineFile,
        store: Store,
        clock: Clock,
        directory: Callable[[], Directory],
        *,
        with_addresses: bool,
    ) -> None:
        self._file = file
        self._store = store
        self._clock = clock
        self._directory = directory
        self._with_addresses = with_addresses
        self._cursor = ""
        self._lines = 0
        self._is_failing = False
        self._is_reopening = False
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._ended = asyncio.Event()

    @property
    def cursor(self) -> str:
        """All events before it are in the file."""
        return self._cursor

    def statistics(self) -> EventFileState:
        """Return how it is doing."""
        return EventFileState(self._lines, self._is_failing)

    async def open(self) -> None:
        """Open the file, so that a wrong one is known before the node runs.

        Lines begin where they ended before this start, the first ones at the present.

        Raises:
            OSError: it cannot be written to.
            StoreError: the store failed.
        """
        await asyncio.to_thread(self._file.open)
        self._cursor = await self._first_cursor()

    async def _first_cursor(self) -> str:
        days = self._store.days()
        (rows,) = await self._store.read(
            SELECT_CURSOR(tenant=OPERATOR, name=_CURSOR_NAME)
        )
        if rows:
            cursor: str = rows[0][0]
            return cursor
        cursor = await end_of_log(self._store, days)
        await self._store.run(self._keep(cursor))
        return cursor

    def _keep(self, cursor: str) -> Unit:
        keep = KEEP_CURSOR(
            tenant=OPERATOR,
            name=_CURSOR_NAME,
            position=cursor,
            updated_at=to_micros(self._clock.now()),
        )
        return unit(keep, urgency=Urgency.BULK)

    def reopen(self) -> None:
        """Open the file anew before the next line: it may have been renamed."""
        self._is_reopening = True
        self._wake.set()

    async def run(self) -> None:
        """Follow the log until :meth:`stop`; the thread ends with it."""
        home = asyncio.get_running_loop()

        def main() -> None:
            try:
                self._follow(_FromThread(self._store, home))
            except Exception:
                logger.exception("the events file is not written any more")
                self._is_failing = True
            finally:
                self._file.close()
                if not home.is_closed():
                    home.call_soon_threadsafe(self._ended.set)

        # A daemon: a node that dies of an exception does not wait for its log.
        threading.Thread(target=main, name="events file", daemon=True).start()
        try:
            await self._ended.wait()
            await asyncio.Event().wait()  # a service runs until it is cancelled
        finally:
            self._stop()

    async def stop(self, *, within_s: float) -> None:
        """Write what is committed by now, and end.

        What does not get written within ``within_s`` is written after the next start.
        """
        self._stop()
        try:
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        except TimeoutError:
            logger.warning("the events file is behind; it goes on at the next start")

    def _stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    # -- on the thread ---------------------------------------------------------------

    def _follow(self, store: _FromThread) -> None:
        with asyncio.Runner() as runner:
            while True:
                is_last = self._stopping.is_set()
                self._wake.clear()
                pause = LOOK_S
                try:
                    while self._copy_page(runner, store):
                        pass
                    self._note(None)
                except (OSError, StoreError) as error:
                    self._note(error)
                    pause = RETRY_S
                if is_last:
                    return
                if not self._stopping.is_set():
                    self._wake.wait(pause)

    def _copy_page(self, runner: asyncio.Runner, store: _FromThread) -> bool:
        """Append what follows the cursor; return whether there may be more."""
        if self._is_reopening:
            self._is_reopening = False
            self._file.close()
            self._file.open()  # whoever rotates expects to see it again
        days = store.days()
        page = runner.run(
            read_after(store, self._cursor, _EVERYTHING, limit=PAGE, days=days)
        )
        if page.events:
            recipients = runner.run(recipients_of(store, page.events, days))
            self._append(page.events, recipients)
        if page.cursor != self._cursor:
            store.run(self._keep(page.cursor))
            self._cursor = page.cursor
        return len(page.events) == PAGE

    def _append(self, events: Sequence[Event], recipients: Mapping[int, str]) -> None:
        directory = self._directory()
        self._file.append(
            b"".join(
                line_of(
                    event,
                    recipients.get(event.about.delivery),
                    directory,
                    with_address=self._with_addresses,
                )
                for event in events
            )
        )
        self._lines += len(events)

    def _note(self, error: Exception | None) -> None:
        """Tell once that it fails, and once that it goes on."""
        if (error is not None) == self._is_failing:
            return
        self._is_failing = error is not None
        if error is not None:
            logger.warning("the events file cannot be written: %s", error)
        else:
            logger.info("the events file is written again")


def event_file_of(
    settings: LogSettings,
    store: Store,
    clock: Clock,
    directory: Callable[[], Directory],
) -> EventFile | None:
    """Return the events file that the settings ask for, if they do; not open yet."""
    if settings.events_file is None:
        return None
    return EventFile(
        LineFile(settings.events_file),
        store,
        clock,
        directory,
        with_addresses=settings.events_addresses,
    )
