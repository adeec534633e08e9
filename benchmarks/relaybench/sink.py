"""The receiver that every relay delivers to: takes all, counts it, keeps a sample.

A process of its own, so cheap that no relay is held up by it. Told what to do on standard
input, one line each, it answers with one line of JSON each:

``round EXPECTED KEEP FOLDER``
    A new count begins. Answered as soon as EXPECTED different messages have arrived,
    with KEEP of them, spread evenly, in files in FOLDER.
``report``
    Answered at once, with what this round has so far.

A message is known by its Message-Id. One that any round has had before is a copy.
It speaks only as much SMTP as a sender needs (RFC 5321 §4.5.1, RFC 2920).
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import uvloop
from typing_extensions import override

END: Final = b"\r\n.\r\n"
_MARK: Final = b"\nmessage-id:"
_GREETING: Final = b"220 sink.example\r\n"
_DONE: Final = b"250 2.0.0 ok\r\n"
_HELLO: Final = b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
_START: Final = b"354 go\r\n"
_BYE: Final = b"221 bye\r\n"


class Tally:
    """What has arrived. Loses every ``lose_every``-th message, if told to: a control."""

    def __init__(self, *, lose_every: int = 0) -> None:
        self._lose_every = lose_every
        self._taken = 0
        self._seen: set[bytes] = set()
        self._folder = Path()
        self._kept: list[bytes] = []
        self._expected = self._keep_every = self.arrived = self.copies = 0
        self._last_at = 0.0

    def begin(self, expected: int, keep: int, folder: Path) -> None:
        """Count anew; what earlier rounds had stays known."""
        self._expected, self._folder = expected, folder
        self._keep_every = max(1, expected // keep) if keep else expected + 1
        self._kept = []
        self.arrived = self.copies = 0

    def take(self, content: bytes) -> bool:
        """Count a message as it came, dots still stuffed; say whether it was the last.

        Costs a search for the Message-Id and a set entry, nothing more.
        """
        self._taken += 1
        if self._lose_every and self._taken % self._lose_every == 0:
            return False
        name = message_id(content)
        if name in self._seen:
            self.copies += 1
            return False
        self._seen.add(name)
        self.arrived += 1
        self._last_at = time.monotonic()
        if self.arrived % self._keep_every == 0:
            self._kept.append(content)
        return self.arrived == self._expected

    def report(self) -> dict[str, float]:
        """Write the sample into the round's folder; return the counts.

        ``last_at`` is when the last new message was whole, in seconds of the
        monotonic clock, which all processes of a machine share.
        """
        for number, content in enumerate(self._kept):
            path = self._folder / f"{number}.eml"
            path.write_bytes(content.replace(b"\r\n..", b"\r\n."))
        return {
            "arrived": self.arrived,
            "copies": self.copies,
            "last_at": self._last_at,
            "kept": len(self._kept),
        }


def message_id(content: bytes) -> bytes:
    """Return the Message-Id of a message as it stands there, or the whole message."""
    start = content.find(b"\nMessage-Id:")
    if start < 0:
        start = content[: content.find(b"\r\n\r\n")].lower().find(_MARK)
    if start < 0:
        return content
    start += len(_MARK)
    return content[start : content.find(b"\r", start)].strip()


class Dialog(asyncio.Protocol):
    """A connection. What comes in one segment is answered in one."""

    def __init__(self, tally: Tally, complete: Callable[[], None]) -> None:
        self._tally, self._complete = tally, complete
        self._pending = bytearray()
        self._in_data = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # it is TCP
        self._transport.write(_GREETING)

    @override
    def data_received(self, data: bytes) -> None:
        self._pending += data
        replies = b"".join(self._replies())
        if replies:
            self._transport.write(replies)
            if replies.endswith(_BYE):
                self._transport.close()

    def _replies(self) -> Iterator[bytes]:
        pending, position = self._pending, 0
        while True:
            if self._in_data:
                # The end may follow at once on the line DATA, whose CRLF is kept.
                end = pending.find(END, position)
                if end < 0:
                    break
                if self._tally.take(bytes(pending[position + 2 : end + 2])):
                    self._complete()
                self._in_data, position = False, end + len(END)
                yield _DONE
                continue
            end = pending.find(b"\r\n", position)
            if end < 0:
                break
            verb = bytes(pending[position : position + 4]).upper()
            position = end + 2
            if verb == b"DATA":
                self._in_data, position = True, end
                yield _START
            elif verb == b"QUIT":
                yield _BYE
                break
            else:
                yield _HELLO if verb == b"EHLO" else _DONE
        del pending[:position]


async def serve(port: int, *, lose_every: int) -> None:
    """Listen on loopback until standard input ends; port 0 is any. Says which."""
    loop = asyncio.get_running_loop()
    tally = Tally(lose_every=lose_every)

    def say() -> None:
        print(json.dumps(tally.report()), flush=True)

    server = await loop.create_server(
        lambda: Dialog(tally, say), "127.0.0.1", port, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while order := (await orders.readline()).decode().split():
        if order[0] == "round":
            tally.begin(int(order[1]), int(order[2]), Path(order[3]))
        else:
            say()


def main() -> None:
    """Run as told on the command line."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--port", type=int, default=0)
    words.add_argument("--lose-every", type=int, default=0)
    options = words.parse_args()
    uvloop.run(serve(options.port, lose_every=options.lose_every))


if __name__ == "__main__":
    main()
