"""SMTP as pure functions of octets: both sides of a session, and their grammars.

Promises: the same octets give the same result however they are cut; nothing from a peer
raises; every limit is a named constant. What leaves has CRLF line ends only.

Never does: sockets, tasks, threads, clocks (a deadline is computed from a ``now`` that
the caller hands in), storage, or policy about tenants and recipients.

The client's side: ``client`` is one session, from the banner (``greeting``) over the
transactions (``pipeline``) to the end; ``replies``, ``extensions``, ``stuffing`` and
``transaction`` are its grammars. ``mailwright.mta.connection`` drives it. The server's
side: ``commands``, ``paths`` and ``framing``, driven by ``mailwright.mta.submission``.

Standards: RFC 5321, with RFC 1870, 2034, 2920, 3207, 3461, 4954, 6152, 6531 and 9422.

Start reading at ``client``.
"""
