"""Puts a node and the sandbox together: the one place where they meet.

Everything is real but the internet: settings files, listeners, name server and receivers
on loopback, a database on disk. The node runs in this process, on the same loop.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Final

from mailwright.api.ports import EventFilter
from mailwright.bounce.suppression import suppress
from mailwright.clock import Clock
from mailwright.config.loading import load_node
from mailwright.config.node import LogSettings
from mailwright.daemon.event_reading import EventReading
from mailwright.daemon.lifecycle import open_node, run_node
from mailwright.daemon.log import start_logging
from mailwright.daemon.reading import NodeReading
from mailwright.daemon.wiring import Node
from mailwright.events.types import EventType
from mailwright.ids import Kind, parse_public
from mailwright.sandbox.demo.display import Display, Result
from mailwright.sandbox.demo.domains import sandbox_domains
from mailwright.sandbox.demo.doors import Doors
from mailwright.sandbox.demo.folder import (
    LOGIN_LISTENER,
    NETWORK_LISTENER,
    TENANT,
    Folder,
    write_folder,
)
from mailwright.sandbox.demo.job import with_job
from mailwright.sandbox.demo.ledger import Delivery, Happening
from mailwright.sandbox.demo.plan import plan, suppressed
from mailwright.sandbox.demo.rehearsal import Ending, Rehearsal
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet
from mailwright.store.statements import unit

MAX_RECIPIENTS: Final = 100_000
_PAGE: Final = 1000
_SUPPRESSED_AT_ONCE: Final = 100
_OPEN: Final = frozenset({"queued", "sending"})


def limit_s(recipients: int) -> float:
    """Return how long a demo may take, in seconds."""
    return 120.0 + recipients / 50


async def rehearse(
    recipients: int,
    path: Path,
    display: Display,
    interrupted: asyncio.Event,
    clock: Clock,
) -> Result:
    """Run the demo in the empty folder ``path``; return when node and sandbox are gone.

    Ends early, with the balance so far, when ``interrupted`` is set.

    Raises:
        MailwrightError, OSError, HTTPException: node or sandbox cannot run; may be in a
            group.
    """
    drafts, job = with_job(plan(recipients))
    inbox = InboxSettings(keep_content=True, letters_max=MAX_RECIPIENTS)
    async with Internet(sandbox_domains(), inbox=inbox, clock=clock) as net:
        folder = await write_folder(path, net.nameserver, net.smtp_port, clock.now())
        for name, text in folder.records.items():
            net.publish_txt(name, text)
        settings = await asyncio.to_thread(load_node, folder.node_file)
        with _logging_into(folder.log_file, settings.log):
            async with open_node(settings, clock) as node:
                books = _NodeBooks(node)
                await books.suppress(suppressed(drafts))
                if job is not None:
                    await books.suppress(job.suppressed)
                doors = _doors(node, folder)
                rehearsal = Rehearsal(drafts, job, doors, net.inbox, clock)
                limit = limit_s(recipients)
                ending = await _run(node, rehearsal, limit, interrupted, display)
                last = rehearsal.snapshot()
                async for event in books.events_after(rehearsal.cursor):
                    rehearsal.ledger.happened(event)
                queued = await books.queued(rehearsal.ledger.open)
        balance = await rehearsal.settle(queued)
        violations = tuple(
            f"{host}: {kind}, {count} times"
            for host, tally in net.tallies.items()
            for kind, count in tally.violations.items()
        )
    return Result(
        ending,
        limit,
        last,
        balance,
        rehearsal.examined,
        tuple(rehearsal.refused),
        violations,
    )


async def _run(
    node: Node,
    rehearsal: Rehearsal,
    within_s: float,
    interrupted: asyncio.Event,
    display: Display,
) -> Ending:
    """Run ``node`` for as long as the rehearsal takes, and stop it in order."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run_node(node, stop), name="node")
        try:
            await node.doors.api.wait_started()
            with display:
                ending = await rehearsal.run(
                    within_s=within_s, interrupted=interrupted, show=display.show
                )
        finally:
            stop.set()
            # In order even when the rehearsal failed: the group would cut it short.
            await asyncio.wait([running])
    return ending


def _doors(node: Node, folder: Folder) -> Doors:
    [http] = node.doors.api.addresses
    return Doors(
        login=node.doors.listeners[LOGIN_LISTENER].addresses[0],
        network=node.doors.listeners[NETWORK_LISTENER].addresses[0],
        http=http,
        secrets=folder.secrets,
        certificate=folder.certificate,
    )


class _NodeBooks:
    """What the store of a node holds, read and written past its doors."""

    def __init__(self, node: Node) -> None:
        self._node = node
        state = node.state
        directory = state.settings.directory
        self._reading = NodeReading(
            state.store,
            node.book,
            directory,
            node.clock,
            EventReading(
                state.store,
                state.settings.keys.subject_key.subject,
                state.settings.directory,
            ),
        )
        [self._tenant] = (
            each.id for each in directory().tenants.values() if each.name == TENANT
        )

    async def suppress(self, addresses: Iterable[str]) -> None:
        """Suppress canonical ``addresses``, as if they had left earlier."""
        state, now = self._node.state, self._node.clock.now()
        rows = [
            suppress(
                state.settings.keys.subject_key.subject(each),
                self._tenant,
                reason="manual",
                author="demo",
                at=now,
            )
            for each in addresses
        ]
        for start in range(0, len(rows), _SUPPRESSED_AT_ONCE):
            await state.store.run(unit(*rows[start : start + _SUPPRESSED_AT_ONCE]))

    async def events_after(self, cursor: str) -> AsyncIterator[Happening]:
        """Yield what happened after ``cursor`` of the API."""
        while True:
            page = await self._reading.events(
                self._tenant, EventFilter(), after=cursor, limit=_PAGE
            )
            for event in page.events:
                yield Happening(
                    event.type,
                    Delivery(event.message, event.recipient or ""),
                    event.type is EventType.POSSIBLE_DUPLICATE
                    or bool(event.data.get("possible_duplicate")),
                )
            if not page.events:
                return
            cursor = page.next

    async def queued(self, wanted: Iterable[Delivery]) -> set[Delivery]:
        """Return which of the deliveries ``wanted`` are still held."""
        found = set()
        for message in sorted({each.message for each in wanted}):
            ident = parse_public(message, Kind.MESSAGE)
            if ident is None:
                continue
            record = await self._reading.message(self._tenant, ident)
            for delivery in record.deliveries if record else ():
                if delivery.state in _OPEN:
                    found.add(Delivery(message, delivery.recipient))
        return found


@contextmanager
def _logging_into(path: Path, settings: LogSettings) -> Iterator[None]:
    """Write the log of the node into a file: the terminal is taken."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    with path.open("w", encoding="utf-8") as file:
        with redirect_stderr(file):
            start_logging(settings)
        try:
            yield
        finally:
            root.handlers[:] = handlers
