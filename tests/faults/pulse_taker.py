"""Asks each of some doors NOOP, again and again, and notes how long it waits.

``pulse_taker.py HOST:PORT…``; asks until its standard input ends, then prints the
seconds as JSON, one list for each door. Doors are asked in turn, so that what the
machine does to one it does to all.
"""

import json
import socket
import sys
import threading
import time

_GAP_S = 0.004
_PATIENCE_S = 240.0
#: An attack may be over before the first answer.
_LEAST = 50


def connect(address: str) -> socket.socket:
    """Return a connection that was greeted."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=_PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.recv(1024)
    return connection


def main() -> None:
    """Ask until told to stop."""
    stop = threading.Event()

    def read() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=read, daemon=True).start()
    doors = [connect(address) for address in sys.argv[1:]]
    waits: list[list[float]] = [[] for _ in doors]
    sys.stdout.write("asking\n")
    sys.stdout.flush()
    while len(waits[0]) < _LEAST or not stop.is_set():
        for door, seconds in zip(doors, waits, strict=True):
            begun = time.perf_counter()
            door.sendall(b"NOOP\r\n")
            if not door.recv(1024).startswith(b"250"):
                seconds.append(_PATIENCE_S)
            seconds.append(time.perf_counter() - begun)
        # A session takes a limited number of commands.
        if len(waits[0]) % 4000 == 0:
            for each in doors:
                each.close()
            doors = [connect(address) for address in sys.argv[1:]]
        stop.wait(_GAP_S)
    sys.stdout.write(json.dumps(waits))


main()
