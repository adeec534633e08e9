"""SMTP submission: how mail comes in from programs that speak SMTP (ports 587 and 465).

Promises: 250 after the final dot means that the message is durable; no message is taken
without a MAIL and a RCPT of its own from someone who may submit; only ``CRLF . CRLF`` ends
a message, for everyone; what a peer can make us hold or do has a limit. Never: relays for
strangers, tells a peer what went wrong inside, keeps a byte across STARTTLS.

Standards: RFC 5321, RFC 6409 (submission), RFC 8314 (implicit TLS), RFC 3207 (STARTTLS),
RFC 4954 (AUTH), RFC 1870 (SIZE), RFC 2920 (PIPELINING), RFC 3461 (DSN), RFC 6152
(8BITMIME), RFC 6531 (SMTPUTF8), RFC 2034 (enhanced codes).

Start reading at ``dialogue.py`` (what is answered to what), then ``conversation.py`` (how
octets move), ``server.py`` (the subclass of aiosmtpd), ``listener.py`` (connections).
Grammar and framing are in :mod:`mailwright.mta.smtp`.
"""
