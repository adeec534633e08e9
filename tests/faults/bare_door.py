"""Answers every line with 250, and does nothing else: how late the machine itself is.

Prints its port. Ends when its standard input does.
"""

import asyncio
import sys

import uvloop


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer until the peer has gone."""
    writer.write(b"220 bare\r\n")
    while await reader.readline():
        writer.write(b"250 2.0.0 ok\r\n")
    writer.close()


async def main() -> None:
    """Serve."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


uvloop.run(main())
