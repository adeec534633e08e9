"""Making messages from values: what HTTP and campaigns send.

Promises: the octets are strict RFC 5322 and MIME (CRLF, lines ≤ 78 where folding allows
and ≤ 998 always, 7-bit except for addresses that are UTF-8 themselves); the same values
give the same octets; a value becomes exactly the field that it was given for and never
another field, recipient or line. What cannot keep that promise is a defect that names its
field. Python's ``email`` package writes nothing here; the tests use it as an independent
reader.

Never does: choose recipients, read a clock, draw a random number, check who may send.

Standards: RFC 5322 (format), 2045/2046 (MIME), 2047 (encoded words), 2231 (parameters),
2183 (disposition), 2387 (related), 2392 (Content-ID), 6532 (UTF-8 addresses).

Start reading at :mod:`mailwright.mta.compose.spec`, then ``composing``; ``words`` has the
encodings. Of campaigns: ``content`` (what one says), ``template`` (what its templates can
do), ``rendering`` (from both and a recipient to a message), ``lint`` (previews).
"""
