"""Preparing beside the event loop: parcels in, what goes on the wire out.

Rendering, editing and signing a message take longer than everything else that the node
does with it, so they run beside the loop: in processes of their own
(:mod:`~mailwright.mta.workers.pool`), which do not wait for the interpreter lock of the
node, or in threads (:mod:`~mailwright.mta.workers.threads`). Both do the same thing, a
pure function: :func:`~mailwright.mta.workers.ready.make_ready`.

A process gets octets and the keys that sign them, and nothing else: no database, no
socket but the one to its node, no name of a tenant. What it answers is data, not Python
objects: a process that a hostile template had taken over could spoil mail, not run code
in the node.

Start reading with ``ready.py``.
"""
