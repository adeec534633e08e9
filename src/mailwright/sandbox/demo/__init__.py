"""A rehearsal that anyone can start: a mixed batch, a cast of receivers, a ledger.

**Promises.** The batch is the same for the same size, looks like what shops and
newsletters send, and goes in by every door. What came of it is told from three sides that
do not know each other: what clients were acknowledged, what the node's event log says,
and what receivers really took. They have to agree about every delivery.

**Never** looks into the node: it speaks SMTP and HTTP to it as any client does. The
command line starts node and internet and puts them together.

**Standards.** RFC 5322, 2045–2047 (the letters), RFC 6531 (addresses beyond ASCII),
RFC 8058 (one-click unsubscribe fields).

**Start reading** at :mod:`~mailwright.sandbox.demo.ledger` (what is lost, what is a copy
too many), then :mod:`~mailwright.sandbox.demo.rehearsal`.
"""
