"""Contents on their way out: a small cache in front of the store.

A message that was accepted a moment ago is still here, so a relay reads nothing back.
What is missing is read in one go on a reader thread; large bodies come from files.

What comes back from the disk is compared with the checksum of what was accepted: a
content that is damaged must not go out, least of all under our signature.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zlib import crc32

from mailwright.clock import from_micros
from mailwright.envelope import Ret
from mailwright.ids import MessageId, SendingDomainId
from mailwright.queue.statements import MESSAGE_CONTENT, ORIGINAL
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Row

logger = logging.getLogger(__name__)

CACHE_OCTETS: Final = 32_000_000
#: The part of it for what was read back: most of that is asked for once.
_READ_BACK: Final = 1 / 4


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


def checksum_of(header: bytes, body: bytes) -> int:
    """Return what tells a damaged content from a whole one: CRC-32, 1 ms for a MB.

    It guards against disks, not against people: who can write to the database can also
    write checksums.
    """
    return crc32(body, crc32(header))


class _Recent:
    """The contents that were used last, up to a number of octets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._octets = 0
        self._contents: OrderedDict[MessageId, Content] = OrderedDict()

    def get(self, message: MessageId) -> Content | None:
        content = self._contents.get(message)
        if content is not None:
            self._contents.move_to_end(message)
        return content

    def put(self, content: Content) -> None:
        if content.octets > self._limit // 16 or content.message in self._contents:
            return
        self._contents[content.message] = content
        self._octets += content.octets
        while self._octets > self._limit:
            self._octets -= self._contents.popitem(last=False)[1].octets


class Contents:
    """Contents by message, the most recent ones in memory.

    Attributes:
        damaged: how often a content was asked for that is not what was accepted.
    """

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
        self.damaged = 0
        self._accepted = _Recent(cache_octets)
        self._read_back = _Recent(int(cache_octets * _READ_BACK))

    def put(self, content: Content) -> None:
        """Remember ``content``, which was accepted now, unless it is large."""
        self._accepted.put(content)

    async def get(
        self, messages: Iterable[MessageId]
    ) -> Mapping[MessageId, Content | None]:
        """Return the contents of ``messages``; one that was purged is missing.

        ``None``: it should be there, but is not, or is not what was accepted.

        Raises:
            StoreError: the database cannot be read.
        """
        found: dict[MessageId, Content | None] = {}
        missing = []
        for message in messages:
            content = self._accepted.get(message) or self._read_back.get(message)
            if content is None:
                missing.append(message)
            else:
                found[message] = content
        if missing:
            results = await self._store.read(
                *(MESSAGE_CONTENT(message_id=message) for message in missing)
            )
            for row in (row for rows in results for row in rows):
                content = found[MessageId(row[0])] = await self._content_of(row)
                if content is not None:
                    self._read_back.put(content)
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

    async def _content_of(self, row: Row) -> Content | None:
        number, reverse_path, ret, envid, domain, accepted_at, header, body = row[:8]
        body_file, checksum = row[8:]
        fault = "is not what was accepted"
        if body_file is None:
            is_whole = checksum_of(header, body) == checksum
        else:
            try:
                body, is_whole = await asyncio.to_thread(
                    self._read_body, body_file, header, checksum
                )
            except StoreError as error:
                is_whole, fault = False, f"cannot be read: {error}"
        if not is_whole:
            self.damaged += 1
            logger.error("the content of message %d %s", number, fault)
            return None
        return Content(
            MessageId(number),
            reverse_path,
            ret,
            envid,
            SendingDomainId(domain),
            from_micros(accepted_at),
            header,
            body,
        )

    def _read_body(self, name: str, header: bytes, checksum: int) -> tuple[bytes, bool]:
        """Return the body in a file, and whether it is what was accepted; blocks."""
        body = self._read_file(name)
        return body, checksum_of(header, body) == checksum


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
