"""Contents of campaigns and templates: the JSON, once, counted by who refers to it.

``contents.refs`` counts campaigns and template versions, not messages: a million
recipients share one row, which goes with the last campaign or template that names it.
"""

import asyncio
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from sqlalchemy import bindparam, select

from mailwright.queue.content import checksum_of
from mailwright.queue.statements import INSERT_CONTENT
from mailwright.queue.tables import contents
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Bound, Query

#: Bodies above this are files.
FILE_OCTETS: Final = 65_536

_CONTENT: Final = Query(
    "content of campaign",
    select(contents.c.body, contents.c.body_file, contents.c.checksum).where(
        contents.c.id == bindparam("content_id")
    ),
)
_SIZE: Final = Query(
    "size of content",
    select(contents.c.body_octets).where(contents.c.id == bindparam("content_id")),
)


class StoredContents:
    """Writes and reads the contents of campaigns and templates."""

    def __init__(
        self,
        store: UnitStore,
        write_file: Callable[[date, int, bytes], str],
        read_file: Callable[[str], bytes],
    ) -> None:
        """Both functions work on bodies' files; they are called in threads.

        ``write_file`` makes the body durable and returns its name.
        """
        self._store = store
        self._write_file = write_file
        self._read_file = read_file

    async def insertion(self, content: int, body: bytes, at: datetime) -> Bound:
        """Return the insertion of ``body`` under the new id ``content``.

        A large one is in its file, synced, before; a crash leaves an orphan, which the
        sweep at the next start takes.

        Raises:
            StoreError: the file cannot be written.
        """
        name = None
        if len(body) > FILE_OCTETS:
            name = await asyncio.to_thread(self._write_file, at.date(), content, body)
        return INSERT_CONTENT(
            id=content,
            header=b"",
            body=body if name is None else None,
            body_file=name,
            body_octets=len(body),
            checksum=checksum_of(b"", body),
            refs=1,
        )

    async def read(self, content: int, header: bytes = b"") -> bytes | None:
        """Return the body of ``content``; ``None``: it is not kept any more.

        ``header`` is the header section that is stored with it.

        Raises:
            StoreError: it cannot be read, or is not what was stored.
        """
        (rows,) = await self._store.read(_CONTENT(content_id=content))
        if not rows:
            return None
        body, name, checksum = rows[0]
        if name is not None:
            body = await asyncio.to_thread(self._read_file, name)
        if checksum_of(header, body) != checksum:
            raise StoreError(f"content {content} is not what was stored")
        return bytes(body)


async def read_size(store: UnitStore, content: int) -> int:
    """Return the octets of a content's body; 0: it is not kept.

    Raises:
        StoreError: it cannot be read.
    """
    (rows,) = await store.read(_SIZE(content_id=content))
    return rows[0][0] if rows else 0
