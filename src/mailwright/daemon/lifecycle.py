"""A node's life: start in order, run, stop in order.

Start: lock and store, keys and settings, recovery of the queue, then the doors. Stop:
the doors close (transactions under way finish), what is in flight to receivers ends or
goes back to its line, the store runs what it was handed and closes. Each step has a
bound. Every service dies with the others: a node without one of them is no node.
"""

import asyncio
import gc
import logging
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Final

from mailwright.clock import PARTED_MAX, Clock, SystemClock
from mailwright.config.loading import load_node
from mailwright.config.node import NodeSettings
from mailwright.config.problems import SettingsError
from mailwright.config.reload import changes
from mailwright.daemon.checking import Checking
from mailwright.daemon.log import set_level
from mailwright.daemon.maintenance import Maintenance
from mailwright.daemon.regaining import Regaining
from mailwright.daemon.state import DATABASE_NAME, open_state
from mailwright.daemon.systemd import Notifier, Watchdog
from mailwright.daemon.wiring import Node, apply, wire
from mailwright.events.latest import last_event_at
from mailwright.large_blocks import give_back_free_blocks, give_back_large_blocks
from mailwright.queue.recovery import (
    bring_back,
    discard_incomplete,
    load_lines,
    recover_sending,
)
from mailwright.resolver import Resolver
from mailwright.store.ports import StoreFailedError, StoreFullError
from mailwright.store.trusted_time import forget_trusted, keep_trusted, read_trusted

logger = logging.getLogger(__name__)

#: For clients to finish their transaction, then for receivers to answer.
DOORS_CLOSE_S: Final = 10.0
FLIGHTS_END_S: Final = 20.0
#: For answers to batches of events; those without one are sent again.
WEBHOOKS_END_S: Final = 5.0
#: For the last lines of the events file; the next start writes what is missing.
EVENT_FILE_ENDS_S: Final = 5.0


class Exit(IntEnum):
    """Exit statuses of a node; systemd's unit names those that a restart cannot help."""

    OK = 0
    SETTINGS = 2  # settings, node key or database are not usable: a person must act
    DISK = 74  # a write or sync failed: recovery has to look at the disk (EX_IOERR)


@asynccontextmanager
async def open_node(
    settings: NodeSettings,
    clock: Clock,
    *,
    resolver: Resolver | None = None,
    held: bool = False,
) -> AsyncIterator[Node]:
    """Open a node's state, recover its queue and put it together; not running yet.

    ``held`` stops all mail before any of it can leave.

    Raises:
        MailwrightError: see :func:`mailwright.daemon.state.open_state`.
        OSError: a file or an address cannot be used.
    """
    async with open_state(settings, clock) as state:
        node = wire(settings, state, clock, resolver=resolver)
        await _recover(node)
        await _tell_of_stops(node, held=held)
        if node.event_file is not None:
            await node.event_file.open()
        for listener in node.doors.listeners:
            await listener.open()
        await node.doors.api.open()
        await node.operating.open()
        yield node


async def _recover(node: Node) -> None:
    store = node.state.store
    # Asked before anything is recovered: that writes events, at a time that may be wrong.
    last_event = await last_event_at(store, store.days())
    discarded = await discard_incomplete(store)
    recovered = await recover_sending(
        store, node.clock, node.settings.delivery.ambiguous_retry
    )
    now = node.clock.now()
    if last_event is not None and last_event - now > PARTED_MAX:
        brought = await bring_back(store, now, last_event - now)
        logger.warning(
            "the clock was ahead: %d deliveries wait less for their retry", brought
        )
    await load_lines(store, node.book)
    await node.campaigns.load()
    await node.out.operations.load()
    await node.operating.load(store, node.clock.now())
    await node.out.tls_memory.load(node.clock.now())
    await _judge_clock(node, last_event)
    await node.out.limits.load()
    await node.out.webhooks.load()
    for line in node.book:
        node.out.scheduler.park(line)
    if discarded or recovered:
        logger.warning(
            "after an unclean stop: %d deliveries may have arrived and are tried again, "
            "%d submissions that were never acknowledged are discarded",
            recovered,
            discarded,
        )


async def _tell_of_stops(node: Node, *, held: bool) -> None:
    """Stop all mail if that is wanted, and say so if it is stopped."""
    stopping = node.operating.offices.ports.stopping
    if held and not await stopping.stops():
        await stopping.stop_all(reason="started with --held", author="serve --held")
    for stop in await stopping.stops():
        logger.warning(
            "all mail is held by %s (%s); it leaves after: mailwright release-all",
            stop.author,
            stop.reason,
        )


async def _judge_clock(node: Node, last_event: datetime | None) -> None:
    """Judge the time by the last event of which the time was believed."""
    store, trust = node.state.store, node.out.trust
    trusted = await read_trusted(store) or last_event
    node.out.timekeeping.judge_start(trusted, has_mail=len(node.book) > 0)
    if not trust.is_suspect:
        await forget_trusted(store)
    elif trusted is not None and trusted < node.clock.now():
        await keep_trusted(store, trusted)


async def run_node(
    node: Node, stop: asyncio.Event, notifier: Notifier | None = None
) -> None:
    """Run ``node`` until ``stop`` is set, then stop it in order.

    ``notifier`` tells the service manager how it goes.

    Raises:
        StoreFailedError: the disk failed; nothing was accepted after it.
    """
    notifier = notifier or Notifier()
    maintenance = Maintenance(node)
    watchdog = Watchdog(
        notifier,
        node.state.store,
        pause=asyncio.sleep,
        status=node.readiness.summary,
    )
    async with asyncio.TaskGroup() as tasks:
        services = [
            tasks.create_task(node.out.sessions.run(), name="sessions"),
            tasks.create_task(node.out.scheduler.run(), name="scheduler"),
            tasks.create_task(node.doors.api.run(), name="api"),
            tasks.create_task(maintenance.run(), name="maintenance"),
            tasks.create_task(node.operating.run(), name="operating"),
            tasks.create_task(node.out.operations.run(), name="operations"),
            tasks.create_task(node.out.expiry.run(), name="expiry"),
            tasks.create_task(node.campaigns.run(), name="campaigns"),
            tasks.create_task(node.control.run(), name="control of campaigns"),
            tasks.create_task(node.out.webhooks.run(), name="webhooks"),
            tasks.create_task(node.doors.campaigns.run(), name="lists"),
            tasks.create_task(watchdog.run(), name="watchdog"),
            tasks.create_task(_checking(node).run(), name="quick check"),
            tasks.create_task(
                Regaining(node.state.store, node.readiness).run(), name="regaining"
            ),
            *(
                [tasks.create_task(node.event_file.run(), name="events file")]
                if node.event_file is not None
                else []
            ),
            *(
                tasks.create_task(listener.run(), name="listener")
                for listener in node.doors.listeners
            ),
        ]
        watch = tasks.create_task(_watch_store(node), name="store watch")
        await node.doors.api.wait_started()
        node.readiness.note("starting", "")
        notifier.ready(node.readiness.summary())
        await stop.wait()
        node.readiness.note("stopping", "the node is stopping")
        notifier.stopping()
        watch.cancel()
        await _stop(node, maintenance)
        for service in services:
            service.cancel()


def _checking(node: Node) -> Checking:
    database = node.settings.state_dir / DATABASE_NAME
    return Checking(database, node.readiness, node.vitals)


async def _watch_store(node: Node) -> None:
    raise await node.state.store.wait_failed()


async def _stop(node: Node, maintenance: Maintenance) -> None:
    logger.info("stopping")
    maintenance.stop()
    async with asyncio.TaskGroup() as doors:
        for listener in node.doors.listeners:
            doors.create_task(listener.close(within_s=DOORS_CLOSE_S), name="close")
        doors.create_task(node.doors.api.stop(), name="close api")
        doors.create_task(node.operating.stop(), name="close operator's door")
        doors.create_task(
            node.out.webhooks.stop(within_s=WEBHOOKS_END_S), name="stop webhooks"
        )
    await node.doors.campaigns.close()
    node.out.scheduler.stop()
    node.out.courier.stop()
    try:
        async with asyncio.timeout(FLIGHTS_END_S):
            await node.out.scheduler.wait_stopped()
    except TimeoutError:
        logger.warning("some deliveries were cut short; they are tried again")
    else:
        await _keep_limits(node)
    node.out.sessions.stop()
    if node.event_file is not None:
        await node.event_file.stop(within_s=EVENT_FILE_ENDS_S)


async def _keep_limits(node: Node) -> None:
    try:
        await node.out.limits.save()
    except StoreFullError as error:
        logger.warning("what throttles count is not kept: %s", error)


async def serve(
    settings_file: Path, settings: NodeSettings, *, held: bool = False
) -> Exit:
    """Run a node until SIGTERM or SIGINT; SIGHUP re-reads its settings file.

    ``held`` lets it accept mail and deliver none until that is released.
    """
    give_back_large_blocks()
    clock = SystemClock()
    stop = asyncio.Event()
    notifier = Notifier.from_environ(os.environ, pid=os.getpid())
    reloading = Reloading(settings_file, settings, notifier)
    status = Exit.OK
    try:
        # Heard until the node is closed: a signal amid its end is no second end.
        with ExitStack() as signals:
            async with open_node(settings, clock, held=held) as node:
                # What was read at the start lives long: with a queue of a million, a look
                # for garbage among it takes a tenth of a second.
                gc.collect()
                gc.freeze()
                # What the start needed besides is free now, and nobody needs as much again.
                give_back_free_blocks()
                # Next to nothing of a message is in a cycle; looking for one after every 700
                # objects took a twentieth of the processor's time.
                gc.set_threshold(50_000, 50, 100)
                handlers = {
                    signal.SIGTERM: stop.set,
                    signal.SIGINT: stop.set,
                    signal.SIGHUP: lambda: reloading.now(node),
                }
                signals.enter_context(_signals(handlers))
                for listener in node.doors.listeners:
                    for host, port in listener.addresses:
                        logger.info("SMTP on %s port %d", host, port)
                for host, port in node.doors.api.addresses:
                    logger.info("HTTP on %s port %d", host, port)
                logger.info("node %s runs", settings.name)
                await run_node(node, stop, notifier)
    except* StoreFailedError as group:
        logger.critical("the disk failed: %s", group.exceptions[0])
        status = Exit.DISK
    logger.info("stopped")
    return status


@contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
            # What is left is the interpreter's end, with a status that counts.
            signal.signal(number, signal.SIG_IGN)


class Reloading:
    """Re-reads the settings file: takes over what it can and says what it cannot."""

    def __init__(self, path: Path, settings: NodeSettings, notifier: Notifier) -> None:
        self._path = path
        self._settings = settings
        self._notifier = notifier

    def now(self, node: Node) -> None:
        """Read the file again, and open the events file anew."""
        self._notifier.reloading()
        if node.event_file is not None:
            node.event_file.reopen()
        self._take_over(node)
        self._notifier.ready(node.readiness.summary())

    def _take_over(self, node: Node) -> None:
        """Take over what can be. A file that is wrong changes nothing."""
        try:
            read = load_node(self._path)
        except SettingsError as error:
            logger.warning("settings are not taken over: %s", error)
            return
        found = changes(self._settings, read)
        try:
            apply(node, found.settings)
        except (OSError, ssl.SSLError) as error:
            logger.warning("settings are not taken over: a certificate: %s", error)
            return
        self._settings = found.settings
        set_level(found.settings.log.level)
        for change in found.applied:
            logger.info("settings: %s", change)
        for change in found.needs_restart:
            logger.warning("settings: %s takes a restart", change)
        if not found.applied and not found.needs_restart:
            logger.info("settings: nothing changed")
