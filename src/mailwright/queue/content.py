"""Contents on their way out: a small cache in front of the store.

A message that was accepted a moment ago is still here, so a relay reads nothing back.
What is missing is read in one go on a reader thread; large bodies come from files.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mailwright.clock import from_micros
from mailwright.envelope import Ret
from mailwright.ids import MessageId, SendingDomainId
from mailwright.queue.statements import MESSAGE_CONTENT, ORIGINAL
from mailwright.store.bodies import BodyMissingError
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Row

logger = logging.getLogger(__name__)

CACHE_OCTETS: Final = 32_000_000


@dataclass(frozen=True, slots=True)
class Content:
    """What a session needs of a message beside the row of its delivery."""

    message: MessageId
    reverse_path: str
    ret: str
    envid: str
    sending_domain: SendingDomainId
    accepted_at: datetime
    header: bytes
    body: bytes

    @property
    def octets(self) -> int:
        """Size in memory, near enough."""
        return len(self.header) + len(self.body) + 500


class Contents:
    """Contents by message, the most recent ones in memory."""

    def __init__(
        self,
        store: UnitStore,
        read_file: Callable[[str], bytes],
        *,
        cache_octets: int = CACHE_OCTETS,
    ) -> None:
        """``read_file`` returns a body from a file; it is called in a thread."""
        self._store = store
        self._read_file = read_file
        self._limit = cache_octets
        self._octets = 0
        self._cache: OrderedDict[MessageId, Content] = OrderedDict()

    def put(self, content: Content) -> None:
        """Remember ``content`` unless it is large."""
        if content.octets > self._limit // 16 or content.message in self._cache:
            return
        self._cache[content.message] = content
        self._octets += content.octets
        while self._octets > self._limit:
            self._octets -= self._cache.popitem(last=False)[1].octets

    async def get(self, messages: Iterable[MessageId]) -> dict[MessageId, Content]:
        """Return the contents of ``messages``; one that was purged is missing."""
        found = {}
        missing = []
        for message in messages:
            content = self._cache.get(message)
            if content is None:
                missing.append(message)
            else:
                self._cache.move_to_end(message)
                found[message] = content
        if missing:
            for content in await self._read(missing):
                found[content.message] = content
                self.put(content)
        return found

    async def originals(
        self, messages: Collection[MessageId]
    ) -> dict[MessageId, Content]:
        """Return what reports tell of ``messages``, read in one go.

        ``ret`` is ``FULL`` for those whose body is to be returned; the others have an
        empty one. The header of a content that was purged is empty.

        Raises:
            StoreError: it cannot be read.
        """
        if not messages:
            return {}
        results = await self._store.read(
            *(ORIGINAL(message_id=message) for message in messages)
        )
        return {row[0]: _original_of(row) for rows in results for row in rows}

    async def _read(self, messages: list[MessageId]) -> list[Content]:
        results = await self._store.read(
            *(MESSAGE_CONTENT(message_id=message) for message in messages)
        )
        contents = []
        for rows in results:
            for row in rows:
                body, body_file = row[7], row[8]
                if body_file is not None:
                    try:
                        body = await asyncio.to_thread(self._read_file, body_file)
                    except BodyMissingError:
                        logger.warning("the body of message %d is missing", row[0])
                        continue
                contents.append(
                    Content(
                        MessageId(row[0]),
                        row[1],
                        row[2],
                        row[3],
                        SendingDomainId(row[4]),
                        from_micros(row[5]),
                        row[6],
                        body,
                    )
                )
        return contents


def _original_of(row: Row) -> Content:
    number, reverse_path, envid, sending_domain, accepted_at, header, body = row
    return Content(
        MessageId(number),
        reverse_path,
        Ret.HDRS if body is None else Ret.FULL,
        envid,
        SendingDomainId(sending_domain),
        from_micros(accepted_at),
        header or b"",
        body or b"",
    )
