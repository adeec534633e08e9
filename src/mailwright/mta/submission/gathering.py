"""Collects the content of one message: a little of it in memory, the rest in a file.

Promises: while a message is awaited, it holds its header section and a small part of its
body, all counted in the budget that doors share; memory for the whole of a large body is
asked for when its dot has come, so that slow clients cannot hold it. Who cannot have
memory, a file or disk is told so after the dot (4xx), and the connection goes on.

Standards: RFC 5321 §4.1.1.4 (what refuses a message is said after its end), §4.5.3.1.9.
"""

import asyncio
import errno
import logging
from enum import Enum
from typing import Final

from mailwright.mta.smtp.framing import Content, ContentEnd, DataReader
from mailwright.mta.submission import answers
from mailwright.mta.submission.budget import ByteBudget, Holding
from mailwright.mta.submission.settings import DoorSettings
from mailwright.mta.submission.spool import Spool, Spools
from mailwright.reply import Reply

_logger = logging.getLogger(__name__)

# Room that may come back by itself: on the disk, or among the descriptors.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


class Wants(Enum):
    """What a message needs to go on."""

    OCTETS = "the next octets"
    ROOM = "memory or disk, which may have to be waited for"


class Gathering:
    """One message from 354 to its acceptance; :meth:`release` ends it, whatever came.

    Args:
        settings: of the listener.
        budget: of octets in memory.
        spools: where the rest goes.
    """

    __slots__ = (
        "_due_at",
        "_held",
        "_loading",
        "_loop",
        "_reader",
        "_settings",
        "_spool",
        "_spools",
    )

    def __init__(
        self, settings: DoorSettings, budget: ByteBudget, spools: Spools
    ) -> None:
        self._settings = settings
        self._spools = spools
        self._loop = asyncio.get_running_loop()
        self._held = Holding(budget, within_s=settings.budget_wait_s)
        self._reader = DataReader(
            max_octets=settings.max_message_octets,
            max_header_octets=settings.max_header_octets,
        )
        self._loading: Holding | None = None
        self._spool: Spool | None = None
        self._due_at: float | None = None

    @property
    def due_at(self) -> float | None:
        """When :meth:`take` wants to be called, even with nothing; time of the loop."""
        return self._due_at

    def take_at_once(self, octets: bytes) -> ContentEnd | Wants:
        """Take what was read, unless that may take time; return the end when it is there.

        When it wants room, nothing was taken: it is for :meth:`take`.
        """
        reader = self._reader
        most = self._settings.spool_keep_octets - len(octets)
        if reader.held_octets > most or not self._held.try_extend(len(octets)):
            return Wants.ROOM
        end = reader.feed(octets)
        if reader.is_discarding:
            self.release()
        return Wants.OCTETS if end is None else end

    async def take(self, octets: bytes) -> ContentEnd | None:
        """Take what was read; return the end of the message when it is there.

        Returns only when what had to be written is written: nothing more should be read
        meanwhile.
        """
        reader = self._reader
        is_wanted = bool(octets) and not reader.is_discarding
        if is_wanted and not self._held.try_extend(len(octets)):
            await self._wait_for_memory(len(octets))
        end = reader.feed(octets)
        if reader.is_discarding:
            self.release()
        elif end is None and reader.held_octets > self._settings.spool_keep_octets:
            await self._shed()
        return end

    async def complete(self, content: Content) -> Content | Reply:
        """Return ``content`` with its whole body, or why it cannot be had.

        The memory for it is held until :meth:`release`.
        """
        spool = self._spool
        if spool is None:
            return content
        if not await self._is_granted(spool.octets):
            return answers.NO_MEMORY
        try:
            body = await spool.read_with(content.body)
        except OSError as error:
            return _reply_to(error)
        self._give_up_file()
        return Content(content.header, body)

    def release(self) -> None:
        """Give back everything that is held; may be called again."""
        self._due_at = None
        self._held.release()
        if self._loading is not None:
            self._loading.release()
        self._give_up_file()

    async def _wait_for_memory(self, octets: int) -> None:
        if self._reader.held_octets > self._settings.spool_keep_octets:
            # Who waits for more should not keep from others what can be elsewhere.
            await self._spill()
        if not self._reader.is_discarding and not await self._held.extend(octets):
            self._refuse(answers.NO_MEMORY)

    async def _shed(self) -> None:
        """Write, if there is a chunk, or if one has been awaited for too long."""
        settings = self._settings
        octets = self._reader.held_body_octets
        if not octets:
            return
        now = self._loop.time()
        if self._due_at is None:
            self._due_at = now + settings.spool_hold_s
        if octets >= settings.spool_chunk_octets or now >= self._due_at:
            await self._spill()

    async def _spill(self) -> None:
        """Move what is held of the body to the file."""
        self._due_at = None
        if not self._reader.held_body_octets:
            return
        if self._spool is None:
            self._spool = self._spools.begin()
        if self._spool is None:
            self._refuse(answers.NO_MEMORY)
            return
        try:
            await self._spool.write(self._reader.take_body())
        except OSError as error:
            self._refuse(_reply_to(error))
            return
        self._held.shrink(self._reader.held_octets)

    async def _is_granted(self, octets: int) -> bool:
        """Take memory for what comes back from the file."""
        wait_s = self._settings.budget_wait_s
        loading = self._spools.loading
        self._loading = Holding(loading, within_s=wait_s)
        try:
            async with asyncio.timeout(wait_s):
                # One that is larger than this share of memory takes all of it.
                share = min(octets, loading.total)
                return await self._loading.extend(share) and (
                    await self._held.extend(octets)
                )
        except TimeoutError:
            return False

    def _refuse(self, reply: Reply) -> None:
        self._reader.refuse(reply)
        self.release()

    def _give_up_file(self) -> None:
        if self._spool is not None:
            self._spool.discard()
            self._spool = None


def _reply_to(error: OSError) -> Reply:
    """Return the answer to a file that failed; what the system says goes to the log."""
    _logger.warning("content could not be spooled: %s", error.strerror)
    return answers.NO_STORAGE if error.errno in _FULL else answers.STORAGE_FAILED
