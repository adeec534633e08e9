"""DKIM: signing what leaves, and the records that let others check it.

Promises: every field that a reader sees or a machine acts on is signed once more often
than it is present, so that adding another one breaks the signature; the body is signed
whole (never ``l=``); a signature has no end (no ``x=``) and its ``t=`` is given by the
caller, so that signing again with RSA or Ed25519 gives the same octets.

Never: signs with RSA below 2048 bits or with SHA-1; returns an unsigned message where a
signature was asked for; verifies (whoever receives does that).

Standards: RFC 6376 (DKIM), RFC 8301 (algorithms and key sizes), RFC 8463 (Ed25519).

Start reading at ``signing.py``; ``canonical.py`` has the two forms of octets that are
hashed, ``records.py`` the TXT record and its comparison with a key, ``keys.py`` new keys.
"""
