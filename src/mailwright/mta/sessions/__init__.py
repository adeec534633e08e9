"""Sessions with receivers: parcels in, ends of attempts out.

A session is one greeted connection. It renders, edits and signs what it is given, puts it
on the wire, and tells of each parcel's end once. That takes more of a processor than all
else that the node does with a message, so sessions live in processes of their own
(:mod:`~mailwright.mta.sessions.pool`), which do not wait for the interpreter lock of the
node; with none of these they live in the node and prepare in threads
(:mod:`~mailwright.mta.sessions.local`). Both are the same code: a process runs local
sessions and tells the node of them (:mod:`~mailwright.mta.sessions.host`).

What is decided about mail (which delivery, which source, which host, when) is decided in
the node. A process has octets, the keys that sign them and sockets to receivers: no
database, no name of a tenant. What it tells is data, not Python objects: a process that
a hostile receiver or template had taken over could spoil mail, not run code in the node.

Start reading with ``session.py``.
"""
