"""Edits: the closed list of what is changed in a message, by octet range.

Promises: octets that no edit names arrive as they came; every edit is reported in one
short text; the same input gives the same output; work is linear in the size and bounded
in depth, parts and lines, so hostile MIME costs no more than honest MIME. What is no
text leaf, and broken MIME, goes as it is.

Never: parses and serialises a message again; decodes and re-encodes a field; touches a
part under ``multipart/signed`` or ``multipart/encrypted``, or a body that a DKIM
signature of the author's domain covers.

Edits happen in two phases. At intake (stored): fields prepended, fields removed, Date
and Message-ID added, text with overlong lines re-encoded. In the session, as a function
of the stored octets and of what the receiver offers: text with 8-bit octets re-encoded.

Standards: RFC 5322 §2.1.1 (998 octets), §3.6 (fields), RFC 6409 §8 (what submission may
add), RFC 2045 §6 (encodings), RFC 2046 §5.1 (multipart), RFC 6152 (8BITMIME).

Start reading at ``intake.py``; ``removals.py`` is the list of fields that never leave;
``reencoding.py`` uses ``mime.py`` to find text leaves and ``quoted_printable.py``.
"""
