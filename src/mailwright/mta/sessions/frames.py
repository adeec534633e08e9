"""Frames of JSON and octets on a stream between two of our own processes.

A frame is a length (4 octets, big endian) of the JSON, a length of the octets behind it,
the JSON, the octets. Octets never pass through JSON: the JSON says how many of them
belong to what, in order.
"""

import json
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

_LENGTHS: Final = Struct(">II")
_to_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def pack_frame(head: object, octets: Sequence[bytes] = ()) -> list[bytes]:
    """Return the frame of ``head``, which JSON can say, and ``octets``, in pieces."""
    text = _to_json(head).encode()
    lengths = _LENGTHS.pack(len(text), sum(map(len, octets)))
    return [lengths + text, *octets]


class Take:
    """Cuts octets off, in order."""

    def __init__(self, octets: memoryview) -> None:
        self._octets = octets
        self._at = 0

    def __call__(self, length: int) -> bytes:
        """Return the next ``length`` octets."""
        start, self._at = self._at, self._at + length
        return bytes(self._octets[start : self._at])


class Frame:
    """A frame that has arrived whole.

    Attributes:
        head: the JSON's value.
    """

    __slots__ = ("_octets", "head")

    def __init__(self, frame: memoryview) -> None:
        """Read ``frame``.

        Raises:
            ValueError: it is none.
        """
        head, _ = _LENGTHS.unpack_from(frame)
        behind = _LENGTHS.size + head
        self.head: Any = json.loads(bytes(frame[_LENGTHS.size : behind]))
        self._octets = frame[behind:]

    def taker(self) -> Take:
        """Return what cuts its octets off."""
        return Take(self._octets)


class Frames:
    """Puts frames together from what a stream brings. Copies each octet once."""

    def __init__(self, max_octets: int | None = None) -> None:
        """``max_octets`` bounds a frame, where the other end is not to be trusted."""
        self._max_octets = max_octets
        self._rest = b""  # of a frame of which not even the lengths are there
        self._partial: bytearray | None = None  # as long as the frame will be
        self._filled = 0

    def feed(self, octets: bytes) -> list[Frame]:
        """Return the frames that ``octets`` completes.

        Raises:
            ValueError: what arrives is no frame.
        """
        data = memoryview(self._rest + octets if self._rest else octets)
        self._rest = b""
        frames = []
        if self._partial is not None:
            data = self._fill(self._partial, data)
            if self._filled < len(self._partial):
                return []
            frames.append(Frame(memoryview(self._partial)))
            self._partial = None
        while len(data) >= _LENGTHS.size:
            length = _LENGTHS.size + sum(_LENGTHS.unpack_from(data))
            if self._max_octets is not None and length > self._max_octets:
                raise ValueError(f"a frame of {length} octets")
            if length > len(data):
                self._partial, self._filled = bytearray(length), 0
                self._fill(self._partial, data)
                return frames
            frames.append(Frame(data[:length]))
            data = data[length:]
        self._rest = bytes(data)
        return frames

    def _fill(self, partial: bytearray, data: memoryview) -> memoryview:
        """Take from ``data`` what ``partial`` lacks; return what is left."""
        piece = data[: len(partial) - self._filled]
        partial[self._filled : self._filled + len(piece)] = piece
        self._filled += len(piece)
        return data[len(piece) :]
