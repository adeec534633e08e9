"""Shared settings with versions: compare what is wanted with what is there, and apply it.

Promises:

* A change is one unit of work, guarded by the version that it was planned on: it is
  applied whole on exactly that version, or not at all.
* What queued mail may refer to is retired, never deleted, and can be brought back with
  the same id. A revoked credential or key is the exception: it never comes back.
* Applying what an export says changes nothing and writes no version.
* A file that is silent about a secret takes none away, and no secret leaves: not by an
  export, not by the difference that is shown, not in ``settings_log``.

Never does: read files (their octets are handed in), talk HTTP, look into DNS.

Start reading at ``records.py`` (the nouns), then ``present.py``, ``comparison.py`` (the
rule), ``writing.py`` (the unit), ``document.py`` and ``history.py`` (what people see), and
``administration.py``, the driver.
"""
