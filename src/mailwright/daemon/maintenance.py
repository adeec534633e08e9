"""What a node does besides: keeps the clock honest, makes days, forgets, closes lines."""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from mailwright.accounts.quotas import PURGE_ROWS as QUOTA_ROWS
from mailwright.accounts.quotas import purge_unit
from mailwright.api.idempotency import PURGE_ROWS, purge
from mailwright.daemon.unread import UnreadDays
from mailwright.daemon.vitals import Disk
from mailwright.daemon.wiring import Node
from mailwright.queue.retention import KNOWN_BODY, Forgetting, Retention
from mailwright.queue.statements import DELETE_EMPTY_LINE
from mailwright.store.health import Reserve, lacking, read_room
from mailwright.store.ports import StoreError
from mailwright.store.statements import Urgency, unit

logger = logging.getLogger(__name__)

MINUTE_S: Final = 60.0
HOUR: Final = timedelta(hours=1)
#: Rows of empty lines that are deleted in one go.
LINES_SLICE: Final = 200


class Maintenance:
    """One task: looks after the node every minute, and more thoroughly every hour."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stopping = asyncio.Event()
        store = node.state.store
        self._forgetting = Forgetting(
            store,
            node.bodies.remove,
            store.drop_day,
            UnreadDays(store, node.out.webhooks, node.event_file).may_drop,
        )

    def stop(self) -> None:
        """Let :meth:`run` return."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until :meth:`stop`."""
        thorough_at = self._node.clock.now()
        await self._sweep_bodies()
        while not self._stopping.is_set():
            await self._node.out.timekeeping.look()
            await self._look_at_disk()
            if self._node.clock.now() >= thorough_at:
                await self._look_after()
                thorough_at = self._node.clock.now() + HOUR
            try:
                async with asyncio.timeout(MINUTE_S):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _look_at_disk(self) -> None:
        settings = self._node.settings
        room = await asyncio.to_thread(read_room, settings.state_dir)
        reserve = Reserve(settings.limits.max_message * 3 // 2)
        self._node.vitals.disk = Disk(
            room.free_octets, reserve.octets_of(room), room.free_inodes
        )
        lack = lacking(room, reserve)
        self._node.readiness.note(
            "disk", f"the disk is nearly full: {lack}" if lack else ""
        )
        if lack:
            logger.warning("the disk is nearly full: %s", lack)

    async def _look_after(self) -> None:
        node, store = self._node, self._node.state.store
        now = node.clock.now()
        retention = node.settings.retention
        try:
            await store.ensure_day(now.date())
            await store.ensure_day(now.date() + timedelta(days=1))
            if node.out.trust.is_suspect:
                return  # whoever set the clock ahead must not make the node forget
            closed = node.book.close_empty()
            for at in range(0, len(closed), LINES_SLICE):
                ended = closed[at : at + LINES_SLICE]
                deletions = (DELETE_EMPTY_LINE(line_id=line.id) for line in ended)
                await store.run(unit(*deletions, urgency=Urgency.BULK))
            while len((await store.run(purge(now)))[0]) == PURGE_ROWS:
                pass
            while len((await store.run(purge_unit(now)))[0]) == QUOTA_ROWS:
                pass
            await self._forgetting.run_once(
                Retention(retention.contents, retention.events), store.days(), now
            )
        except StoreError as error:
            logger.warning("maintenance goes on in an hour: %s", error)

    async def _sweep_bodies(self) -> None:
        """Remove body files of earlier starts that no row names."""
        store = self._node.state.store
        loop = asyncio.get_running_loop()

        def known(names: list[str]) -> set[str]:
            reading = store.read(*(KNOWN_BODY(name=name) for name in names))
            results = asyncio.run_coroutine_threadsafe(reading, loop).result()
            return {row[0] for rows in results for row in rows}

        try:
            swept = await asyncio.to_thread(
                self._node.bodies.sweep, known, below=store.first_id
            )
        except StoreError as error:
            logger.warning("bodies could not be swept: %s", error)
            return
        if swept:
            logger.warning("removed %d bodies that no message names", swept)
