"""What replies and reports mean, who must not be mailed, and what submitters are told.

**Promises.** Every reply has a category and an outcome; a refusal that is about us ends
no delivery. Who is suppressed is decided inside the statements that accept and claim
deliveries, so nothing slips in between. A report that we write can be read, whatever was
said to us, and returns the original's header octet for octet. All rules are pure.

**Never** answers a report, keeps an address in a suppression, opens a connection, or
decides when something leaves.

**Standards.** RFC 3463 and RFC 5248 (status codes), RFC 3464, RFC 6522 and RFC 6533
(delivery status notifications).

**Start reading** at :mod:`~mailwright.bounce.verdict` (what a reply means), then
:mod:`~mailwright.bounce.suppression` and :mod:`~mailwright.bounce.dsn`.
"""
