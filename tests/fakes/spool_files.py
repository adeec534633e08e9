"""Spool files in memory that fail, wait and remember."""

import errno
import os
import threading
from dataclasses import dataclass, field
from io import BytesIO

from typing_extensions import override


@dataclass(slots=True)
class FileMaker:
    """Makes files, and knows what became of them; ``maker.open`` is what doors get.

    Attributes:
        error: what opening, or the call named ``failing``, raises; 0 is nothing.
        failing: ``open``, ``write`` or ``read``.
        healthy: so many writes go well before one fails.
        chunk: most octets that one call writes; 0 is all.
        gate: writes wait for it, when there is one.
        sizes: of all writes.
    """

    error: int = 0
    failing: str = ""
    healthy: int = 0
    chunk: int = 0
    gate: threading.Event | None = None
    waiting: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)
    files: "list[MemoryFile]" = field(default_factory=list)

    def open(self) -> "MemoryFile":
        self.fail("open")
        file = MemoryFile(self)
        self.files.append(file)
        return file

    def fail(self, doing: str) -> None:
        if self.error and doing == self.failing:
            raise OSError(self.error, os.strerror(self.error), "/var/secret/spool")

    @property
    def are_closed(self) -> bool:
        return all(file.closed for file in self.files)


class MemoryFile(BytesIO):
    """One of them; closed only while nobody writes, or it says so."""

    def __init__(self, maker: FileMaker) -> None:
        super().__init__()
        self._maker = maker
        self.was_closed_under_a_write = False

    @override
    def write(self, octets: memoryview, /) -> int:  # type: ignore[override]
        maker = self._maker
        maker.waiting.set()
        if maker.gate is not None:
            maker.gate.wait(20)
        if self.closed:
            self.was_closed_under_a_write = True
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if len(maker.sizes) >= maker.healthy:
            maker.fail("write")
        maker.sizes.append(len(octets))
        return super().write(octets[: maker.chunk or len(octets)])

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        self._maker.fail("read")
        return super().read(size)
