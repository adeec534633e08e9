"""HTTP for programs: submit messages, see what became of them, read events.

Promises: ``201`` only after the message and its deliveries are on stable storage; a create
with an ``Idempotency-Key`` happens once however often it is sent; every error is an
RFC 9457 problem that names the field at fault and nothing of the node's inside; a key
sees its tenant only, and another tenant's id is as unknown as one that never was; bodies,
depth and time are limited, and nothing holds the event loop for over 5 ms.

Never does: decide who may send or what a message may hold (:mod:`mailwright.mta.admission`
does, for SMTP too), write a table of another room, log a key, load anything from another
host into a page.

Standards: RFC 9110 (HTTP), RFC 6750 (bearer keys), RFC 9457 (problems), RFC 3339
(instants); OpenAPI at ``/openapi.json``, readable at ``/docs``.

Start reading at :mod:`mailwright.api.ports` (what the room is given), then ``app``,
``messages`` and ``drafts``; ``problems`` has every error there is.
"""
