"""Ask a node for its NOOP, over and over: ``heartbeat.py HOST PORT SECONDS``.

A process of its own, so that nobody else's work is measured. Prints a JSON list: for
each window of half a second the longest answer, in milliseconds.
"""

import json
import socket
import sys
import time

WINDOW_S = 0.5
_PAUSE_S = 0.005


def beat(host: str, port: int, seconds: float) -> list[float]:
    """Return the longest answer of each window."""
    worst: dict[int, float] = {}
    with socket.create_connection((host, port), timeout=240) as door:
        answers = door.makefile("rb")
        answers.readline()
        door.sendall(b"HELO heartbeat.example.com\r\n")
        answers.readline()
        begun = time.monotonic()
        while (sent := time.monotonic()) - begun < seconds:
            door.sendall(b"NOOP\r\n")
            answers.readline()
            took_ms = (time.monotonic() - sent) * 1000
            window = int((sent - begun) / WINDOW_S)
            worst[window] = max(worst.get(window, 0.0), took_ms)
            time.sleep(_PAUSE_S)
    return [round(worst[window], 2) for window in sorted(worst)]


if __name__ == "__main__":
    print(json.dumps(beat(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))  # noqa: T201
