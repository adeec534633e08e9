"""Where large content waits for its final dot: in files, so that memory stays free.

A slow client with a large message costs disk, not memory. A file here never has a name
that anyone could find, or loses it before a single octet is in it: it ends with its
descriptor, whatever the process ends by, and nothing has to be swept. What it holds is not
durable and need not be: nothing was promised for it yet.

The number of files is bounded by a share of the descriptors that the process may have, so
that connections and the store never lack them for it. The disk is left alone when it is
nearly full: what was accepted needs what is left.

Standards: RFC 5321 §4.5.3.1.9 (452 for want of storage).
"""

import asyncio
import errno
import logging
import os
import resource
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

from typing_extensions import override

from mailwright.mta.submission.budget import ByteBudget
from mailwright.store.health import Reserve, lacking, read_room

_logger = logging.getLogger(__name__)

#: One in so many of the descriptors of the process may be a spool.
_DESCRIPTORS_SHARE: Final = 4
#: Where the system sets no limit to them.
_MAX_OPEN: Final = 16_384


class RawFile(Protocol):
    """What is written once and then read whole; an unbuffered file, for one."""

    def write(self, octets: memoryview, /) -> int | None:
        """Write a beginning of ``octets`` and return its length."""
        ...

    def seek(self, offset: int, /) -> int:
        """Go to ``offset``."""
        ...

    def read(self) -> bytes:
        """Return everything from there on."""
        ...

    def close(self) -> None:
        """Give the file up."""
        ...


class Spools:
    """The spool files of a node. Used on one event loop only; files are in threads.

    Attributes:
        loading: how much of the memory that all share may be asked for by large content
            that comes back from its files: were it all, small mail would wait behind it.
    """

    def __init__(
        self, open_file: Callable[[], RawFile], *, max_open: int, loading: ByteBudget
    ) -> None:
        """Make files with ``open_file``, which may block, at most ``max_open`` at once."""
        self._open_file = open_file
        self._max_open = max_open
        self._open = 0
        self.loading: Final = loading

    @classmethod
    def in_folder(cls, folder: Path, reserve: Reserve, budget: ByteBudget) -> Self:
        """Keep them in ``folder``, which exists, while its disk has ``reserve``.

        Half of ``budget`` may be waited for by what comes back from them.
        """
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            limit = _MAX_OPEN
        return cls(
            lambda: open_nameless(folder, reserve),
            max_open=min(limit, _MAX_OPEN) // _DESCRIPTORS_SHARE,
            loading=ByteBudget(budget.total // 2),
        )

    @property
    def open_files(self) -> int:
        """Files that take a descriptor."""
        return self._open

    def begin(self) -> "Spool | None":
        """Return a new spool, or ``None`` when there are too many.

        Its file is made by the first write. Pair with :meth:`Spool.discard`.
        """
        if self._open >= self._max_open:
            _logger.warning("%d spool files are open, no more are made", self._open)
            return None
        self._open += 1
        return Spool(self._open_file, self._closed)

    def _closed(self) -> None:
        self._open -= 1


class Spool:
    """What one message has on disk. One call at a time, on the event loop.

    Attributes:
        octets: written so far.
    """

    def __init__(
        self, open_file: Callable[[], RawFile], on_closed: Callable[[], None]
    ) -> None:
        self._file = _GuardedFile(open_file)
        self._on_closed = on_closed
        self.octets = 0

    async def write(self, octets: bytes) -> None:
        """Append ``octets``.

        Raises:
            OSError: they cannot be written; only :meth:`discard` makes sense then.
        """
        await asyncio.to_thread(self._file.append, octets)
        self.octets += len(octets)

    async def read_with(self, tail: bytes) -> bytes:
        """Return everything that was written, and ``tail`` behind it.

        Needs memory for the whole once, not twice.

        Raises:
            OSError: it cannot be read, or ``tail`` not be written.
        """
        content = await asyncio.to_thread(self._file.read_with, tail)
        if len(content) != self.octets + len(tail):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return content

    def discard(self) -> None:
        """Give the file up, in a thread: to free its blocks may take a while.

        To be called once, also when a call was cancelled whose thread still runs: the
        file closes behind it.
        """
        loop = asyncio.get_running_loop()
        closing = loop.run_in_executor(None, self._file.close)
        closing.add_done_callback(lambda _: self._on_closed())


class _GuardedFile:
    """A file that is opened, used and closed in threads, whichever come first.

    The lock is what keeps a descriptor from being closed, and given to another file,
    under a write whose caller was cancelled.
    """

    def __init__(self, open_file: Callable[[], RawFile]) -> None:
        self._open_file = open_file
        self._file: RawFile | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def append(self, octets: bytes) -> None:
        with self._lock:
            self._write(self._opened(), octets)

    def read_with(self, tail: bytes) -> bytes:
        with self._lock:
            file = self._opened()
            self._write(file, tail)
            file.seek(0)
            return file.read()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            file, self._file = self._file, None
            if file is not None:
                # Nothing of it is wanted any more.
                with suppress(OSError):
                    file.close()

    def _opened(self) -> RawFile:
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._file is None:
            self._file = self._open_file()
        return self._file

    @staticmethod
    def _write(file: RawFile, octets: bytes) -> None:
        rest = memoryview(octets)
        while rest:
            written = file.write(rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]


class _NamelessFile(RawFile):
    """A file of a folder that does not list it."""

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._folder = folder
        self._reserve = reserve
        self._check()
        # O_TMPFILE where it works, else made with 0600 under a random name and unlinked.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    @override
    def write(self, octets: memoryview, /) -> int | None:
        self._check()
        return self._file.write(octets)

    @override
    def seek(self, offset: int, /) -> int:
        return self._file.seek(offset)

    @override
    def read(self) -> bytes:
        return self._file.read()

    @override
    def close(self) -> None:
        self._file.close()

    def _check(self) -> None:
        if lacking(read_room(self._folder), self._reserve) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_nameless(folder: Path, reserve: Reserve) -> RawFile:
    """Make a file in ``folder`` without a name; blocks.

    It is written only while the file system has ``reserve``.

    Raises:
        OSError: it cannot be made; ``ENOSPC`` also when ``reserve`` is lacking.
    """
    return _NamelessFile(folder, reserve)
