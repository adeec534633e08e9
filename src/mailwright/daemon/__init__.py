"""Wiring and lifecycle: the one place that knows all rooms.

Promises: a node starts in order and stops in order, each step with a bound; every service
dies with the others; what a person must settle is exit status 2, a failed disk is 74.
What a node shows of itself (log, events file, metrics, what systemd is told) is never in
the delivery path, names no address unasked, and no secret at all.

Never: decides anything about mail; that is for the rooms.

Standards: sd_notify(3), systemd.exec(5) "Credentials", the Prometheus exposition formats.

Start reading: ``lifecycle``, then ``wiring``; ``metrics`` and ``eventlog`` for what can be
watched.
"""
