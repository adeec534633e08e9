"""The two settings files: what they may say, how they are read, what is wrong in them.

The *node file* (:mod:`~mailwright.config.node`) says what is true of one node only:
name, paths, listeners, limits. The *setup file* (:mod:`~mailwright.config.setup`) holds
what all nodes share: tenants, credentials, sending domains, streams, pools, routes; it
is applied once, to an empty database.

Promises: a file is used as a whole or not at all; all its problems are reported
together, each with file, key, what is wrong and what to do (how keys contradict each
other shows once each of them is right); an unknown key is an error that names the
nearest known one; no secret is ever printed. Values are immutable.

Never: opens a socket or a database, reads a secret's file, guesses a missing value,
repairs a wrong one.

Standards: TOML 1.0, JSON Schema 2020-12, RFC 4632 (CIDR), RFC 3986 §3.2.2 (``[v6]``).

Start reading at :mod:`~mailwright.config.loading`; units in
:mod:`~mailwright.config.units`; what a reload takes over in
:mod:`~mailwright.config.reload`.
"""
