"""Contents on their way out: a small cache in front of the store.

A message that was accepted a moment ago is still here, so a relay reads nothing back.
What is missing is read in one go on a reader thread; large bodies come from files.

A campaign's content is one body for all its recipients; it is held once, by its id, and
each message of the campaign comes with what makes the recipient's own of it.

What comes back from the disk is compared with the checksum of what was accepted: a
content that is damaged must not go out, least of all under our signature.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from zlib import crc32

from mailwright.clock import from_micros
from mailwright.envelope import Ret
from mailwright.ids import MessageId, SendingDomainId
from mailwright.merge import Merge
from mailwright.queue.content_statements import (
    CAMPAIGN_BODY,
    MESSAGE_CONTENT,
    ORIGINAL,
)
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Row

logger = logging.getLogger(__name__)

CACHE_OCTETS: Final = 32_000_000
#: The part of it for what was read back: most of that is asked for once.
_READ_BACK: Final = 1 / 4


#: The part of it for contents of campaigns; the one in use stays, whatever its size.
_SHARED: Final = 1 / 2


@dataclass(frozen=True, slots=True)
class Content:
    """What a session needs of a message beside the row of its delivery.

    Attributes:
        accepted_at: what its mail is dated and signed with.
        merge: of a campaign's message; ``body`` is then the content as JSON.
    """

    message: MessageId
    reverse_path: str
    ret: str
    envid: str
    sending_domain: SendingDomainId
    accepted_at: datetime
    header: bytes
    body: bytes
    merge: Merge | None = None

    @property
    def octets(self) -> int:
        """Size in memory, near enough; of a campaign's, about what is made of it."""
        own = 0 if self.merge is None else len(self.merge.fields)
        return len(self.header) + len(self.body) + own + 500


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


class _Shared:
    """The bodies of the campaigns that were asked for last, up to a number of octets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._octets = 0
        self._bodies: OrderedDict[int, bytes] = OrderedDict()

    def get(self, content: int) -> bytes | None:
        body = self._bodies.get(content)
        if body is not None:
            self._bodies.move_to_end(content)
        return body

    def put(self, content: int, body: bytes) -> None:
        if content in self._bodies:
            return
        self._bodies[content] = body
        self._octets += len(body)
        while self._octets > self._limit and len(self._bodies) > 1:
            self._octets -= len(self._bodies.popitem(last=False)[1])


class _Stored(NamedTuple):
    """A row of ``MESSAGE_CONTENT``."""

    message: int
    reverse_path: str
    ret: str
    envid: str
    sending_domain: int
    dated_at: int
    header: bytes
    body: bytes | None
    body_file: str | None
    checksum: int
    content: int
    fields: str | None
    variant: str | None
    recipient: str | None
    message_id: str


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
        self._shared = _Shared(int(cache_octets * _SHARED))

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
            stored = [_Stored(*row) for rows in results for row in rows]
            shared = await self._shared_bodies(
                {row.content for row in stored if row.fields is not None}
            )
            for row in stored:
                content = await self._content_of(row, shared)
                found[MessageId(row.message)] = content
                if content is not None and content.merge is None:
                    self._read_back.put(content)
        return found

    async def _shared_bodies(self, wanted: Collection[int]) -> dict[int, bytes]:
        """Return the bodies of campaigns; what is damaged or gone is missing."""
        bodies = {}
        missing = []
        for number in wanted:
            body = self._shared.get(number)
            if body is None:
                missing.append(number)
            else:
                bodies[number] = body
        if missing:
            results = await self._store.read(
                *(CAMPAIGN_BODY(content_id=number) for number in missing)
            )
            for number, body, body_file, checksum in (
                row for rows in results for row in rows
            ):
                whole = await self._whole(
                    f"campaign content {number}", b"", body, body_file, checksum
                )
                if whole is not None:
                    bodies[number] = whole
                    self._shared.put(number, whole)
        return bodies

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

    async def _content_of(
        self, row: _Stored, shared: Mapping[int, bytes]
    ) -> Content | None:
        merge = None
        body: bytes | None
        if row.fields is None:
            body = await self._whole(
                f"the content of message {row.message}",
                row.header,
                row.body,
                row.body_file,
                row.checksum,
            )
        else:
            body = shared.get(row.content)
            merge = Merge(
                row.content,
                row.fields.encode(),
                row.variant or "",
                row.recipient or "",
                row.message_id,
            )
        if body is None:
            return None
        return Content(
            MessageId(row.message),
            row.reverse_path,
            row.ret,
            row.envid,
            SendingDomainId(row.sending_domain),
            from_micros(row.dated_at),
            row.header,
            body,
            merge,
        )

    async def _whole(
        self,
        what: str,
        header: bytes,
        body: bytes | None,
        body_file: str | None,
        checksum: int,
    ) -> bytes | None:
        """Return the body, or ``None`` when it is not what was accepted."""
        fault = "is not what was accepted"
        if body_file is None:
            body = body or b""
            is_whole = checksum_of(header, body) == checksum
        else:
            try:
                body, is_whole = await asyncio.to_thread(
                    self._read_body, body_file, header, checksum
                )
            except StoreError as error:
                is_whole, fault = False, f"cannot be read: {error}"
        if is_whole:
            return body
        self.damaged += 1
        logger.error("%s %s", what, fault)
        return None

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
