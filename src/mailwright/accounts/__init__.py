"""Who may send what: tenants, credentials, sending domains, keys, shared settings.

Promises:

* The shared settings of one version are one immutable value
  (:class:`~mailwright.accounts.directory.Directory`); a change is one unit of work that
  also writes the next version with its author and reason.
* Secrets that we must be able to use again (DKIM keys, smarthost passwords, the subject
  key) are kept sealed with the node-set key: a copy of the database alone signs nothing
  and names nobody. Secrets that only others must show (credentials) are kept as SHA-256.
* A limit of a credential holds over restarts: what was granted is counted in the unit
  that stores the mail.
* A guess costs a limit before it costs a hash.
* No secret is printable: not by ``repr``, not in an error, not in ``settings_log``.

Never does: talk SMTP or HTTP, read the node's own settings file, delete what queued
mail refers to (it is retired). DNS is asked through the resolver's port only, for the
proof of sending domains.

Standards: NIST SP 800-38D (AES-GCM), RFC 2104 (HMAC), RFC 8301 and RFC 8463 (which
DKIM keys are good enough), RFC 4954 §6 (replies to AUTH).

Start reading at ``directory.py`` (the nouns), then ``loading.py``, ``sealing.py``,
``keyring.py``, ``authentication.py`` with ``guesses.py``, ``settings/`` (how they are
changed) with ``bootstrap.py``, ``quota.py`` with ``quotas.py``, and ``proving.py``.
"""
