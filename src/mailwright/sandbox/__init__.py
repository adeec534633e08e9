"""A simulated internet to rehearse against: DNS, receivers, and a ledger of what came.

**Promises.** Everything stays on loopback. Receivers are strict, so that a sender's
mistake shows here and not at a provider; they behave per domain, per recipient, and the
same for the same seed. Every copy is counted, and DKIM is verified by code that is not
ours.

**Never** imported by a node: only the command line (``mailwright demo``) and the tests
know this room. Its receivers are models of behaviours, not of any company.

**Standards.** RFC 5321 and the extensions named in
:mod:`~mailwright.sandbox.session`; RFC 1035 in :mod:`~mailwright.sandbox.dns`; RFC 6376
in :mod:`~mailwright.sandbox.verification`.

**Start reading** at :mod:`~mailwright.sandbox.internet`, then
:mod:`~mailwright.sandbox.behaviour`.
"""
