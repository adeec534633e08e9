"""The key ring: sealed secrets, opened when they are first needed.

One ring lives as long as the node. :meth:`KeyRing.reload` replaces what it knows as a
whole, so whoever signs always sees the rows of one version. Opening a key costs some
hundred microseconds and happens once per key and version.
"""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import bindparam, select
from typing_extensions import override

from mailwright.accounts.sealing import (
    NodeKeyError,
    Purpose,
    Sealer,
    SealError,
    Secret,
    load_or_make_node_key,
)
from mailwright.accounts.signing_keys import (
    DkimSecret,
    SigningKeyError,
    SigningKeys,
    read_der,
)
from mailwright.accounts.statements import SELECT_ANY_SEALED
from mailwright.accounts.subjects import SubjectKey
from mailwright.accounts.tables import dkim_keys, sealed_keys
from mailwright.clock import to_micros
from mailwright.errors import MailwrightError
from mailwright.ids import SendingDomainId
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, Row

#: What the check value says once it is opened.
CHECK_PLAINTEXT: Final = b"mailwright node key"

_SEALED_FOR = Query(
    "sealed secrets of a purpose",
    select(sealed_keys.c.id, sealed_keys.c.sealed)
    .where(sealed_keys.c.purpose == bindparam("purpose"))
    .where(sealed_keys.c.retired_at.is_(None)),
)
_DKIM = Query(
    "sealed DKIM keys",
    select(
        dkim_keys.c.sending_domain,
        dkim_keys.c.signing_domain,
        dkim_keys.c.selector,
        dkim_keys.c.algorithm,
        dkim_keys.c.is_primary,
        dkim_keys.c.signs_too,
        dkim_keys.c.created_at,
        dkim_keys.c.retired_at,
        dkim_keys.c.revoked_at,
        sealed_keys.c.sealed,
    ).join(sealed_keys, sealed_keys.c.id == dkim_keys.c.sealed_key),
)


class KeyRingError(MailwrightError):
    """The key ring lacks a secret that the database refers to."""


@dataclass(frozen=True, slots=True)
class _SealedDkim:
    domain: str
    selector: str
    algorithm: str
    is_primary: bool
    signs_too: bool
    created_at: int
    retired_at: int | None
    is_revoked: bool
    sealed: bytes

    def signs_beside(self, accepted_at: int) -> bool:
        """Whether it is a second signature of what was accepted at ``accepted_at``."""
        return (
            self.signs_too
            and not self.is_revoked
            and self.created_at <= accepted_at
            and (self.retired_at is None or self.retired_at > accepted_at)
        )


@dataclass(frozen=True, slots=True)
class _Contents:
    """One version of the ring; ``opened`` fills up under the ring's lock."""

    dkim: Mapping[tuple[SendingDomainId, str], _SealedDkim]
    passwords: Mapping[int, bytes]
    opened: dict[tuple[SendingDomainId, str], DkimSecret] = field(default_factory=dict)


class KeyRing:
    """Opened secrets. All but :meth:`reload` is for any thread."""

    __slots__ = ("_contents", "_lock", "_sealer", "_store", "_subject_key")

    def __init__(
        self,
        store: UnitStore,
        sealer: Sealer,
        contents: _Contents,
        subject_key: SubjectKey,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._contents = contents
        self._subject_key = subject_key
        self._lock = threading.Lock()

    @classmethod
    async def load(cls, store: UnitStore, sealer: Sealer) -> "KeyRing":
        """Return the ring of an initialised database.

        Raises:
            KeyRingError: the database has no subject key: it was never initialised.
            SealError: the subject key does not open.
        """
        [subject_rows] = await store.read(_SEALED_FOR(purpose=Purpose.SUBJECT.value))
        if not subject_rows:
            raise KeyRingError("the database has no subject key; it was never set up")
        subject_key = SubjectKey(sealer.open(Purpose.SUBJECT, subject_rows[0][1]))
        return cls(store, sealer, await _read_contents(store), subject_key)

    async def reload(self) -> None:
        """Take over what the database holds now; call it after a settings change."""
        self._contents = await _read_contents(self._store)

    @property
    def subject_key(self) -> SubjectKey:
        """The key of subjects; the same for the life of the database."""
        return self._subject_key

    def dkim_key(
        self, sending_domain: SendingDomainId, selector: str
    ) -> DkimSecret | None:
        """Return the key that signs for ``selector`` of ``sending_domain``.

        Retired keys sign until their mail is final; a revoked or unknown one is
        ``None``, and :meth:`why_no_key` says why.
        """
        contents = self._contents
        name = (sending_domain, selector)
        opened = contents.opened.get(name)
        if opened is not None:
            return opened
        found = contents.dkim.get(name)
        if found is None or found.is_revoked:
            return None
        with self._lock:
            opened = contents.opened.get(name)
            if opened is None:
                try:
                    opened = self._opened(found)
                except (SealError, SigningKeyError):
                    # Mail that must be signed waits with this reason; it is not sent.
                    return None
                contents.opened[name] = opened
        return opened

    def why_no_key(self, sending_domain: SendingDomainId, selector: str) -> str:
        """Return why :meth:`dkim_key` has nothing, for people; ``""`` when it has."""
        found = self._contents.dkim.get((sending_domain, selector))
        if found is None:
            return f"no DKIM key has the selector {selector}"
        if found.is_revoked:
            return f"the DKIM key {selector} of {found.domain} was revoked"
        if self.dkim_key(sending_domain, selector) is None:
            return f"the DKIM key {selector} of {found.domain} does not open"
        return ""

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs a message that was accepted with ``selector``, or why not.

        A revoked key is replaced by the domain's primary one, and the note says so;
        second signatures are those that were in force at ``accepted_at``, so that a
        retry is signed alike.
        """
        key, note = self.dkim_key(sending_domain, selector), ""
        if key is None:
            why = self.why_no_key(sending_domain, selector)
            key = self._replacement(sending_domain, selector)
            if key is None:
                return why
            note = f"signed with {key.selector}: {why}"
        beside = [
            self.dkim_key(sending_domain, found.selector)
            for (domain, _), found in self._contents.dkim.items()
            if domain == sending_domain
            and found.selector != key.selector
            and found.signs_beside(to_micros(accepted_at))
        ]
        return SigningKeys((key, *(each for each in beside if each is not None)), note)

    def _replacement(
        self, sending_domain: SendingDomainId, selector: str
    ) -> DkimSecret | None:
        """Return the primary key in place of a revoked one; of no other."""
        revoked = self._contents.dkim.get((sending_domain, selector))
        if revoked is None or not revoked.is_revoked:
            return None
        for (domain, other), found in self._contents.dkim.items():
            is_signing = found.is_primary and found.retired_at is None
            if domain == sending_domain and is_signing and not found.is_revoked:
                return self.dkim_key(sending_domain, other)
        return None

    def password(self, sealed_id: int) -> Secret:
        """Return a smarthost's password.

        Raises:
            KeyRingError: no such secret.
            SealError: it does not open.
        """
        sealed = self._contents.passwords.get(sealed_id)
        if sealed is None:
            raise KeyRingError(f"no sealed password has the id {sealed_id}")
        return Secret(self._sealer.open(Purpose.SMARTHOST, sealed))

    def _opened(self, found: _SealedDkim) -> DkimSecret:
        der = self._sealer.open(Purpose.DKIM, found.sealed)
        return DkimSecret(found.algorithm, found.domain, found.selector, read_der(der))

    @override
    def __repr__(self) -> str:
        return f"KeyRing({len(self._contents.dkim)} DKIM keys)"


async def _read_contents(store: UnitStore) -> _Contents:
    dkim_rows, password_rows = await store.read(
        _DKIM(), _SEALED_FOR(purpose=Purpose.SMARTHOST.value)
    )
    return _Contents(
        dict(map(_sealed_dkim, dkim_rows)),
        {row[0]: row[1] for row in password_rows},
    )


def _sealed_dkim(row: Row) -> tuple[tuple[SendingDomainId, str], _SealedDkim]:
    sending_domain, domain, selector, algorithm, *flags, revoked_at, sealed = row
    is_primary, signs_too, created_at, retired_at = flags
    value = _SealedDkim(
        domain,
        selector,
        algorithm,
        bool(is_primary),
        bool(signs_too),
        created_at,
        retired_at,
        revoked_at is not None,
        sealed,
    )
    return (SendingDomainId(sending_domain), selector), value


async def unlock(
    store: UnitStore, node_key: Path, *, supplied: Path | None = None
) -> Sealer:
    """Return the sealer that fits the database, making the key for an empty one.

    Files are touched in a thread. Call it under the node's lock, after the store is
    open and before anything is sealed.

    Raises:
        NodeKeyError: the key is absent, unusable or foreign; the node exits 2.
    """
    sealed_rows, check_rows = await store.read(
        SELECT_ANY_SEALED(), _SEALED_FOR(purpose=Purpose.CHECK.value)
    )
    sealer = await asyncio.to_thread(
        load_or_make_node_key,
        node_key,
        database_is_empty=not sealed_rows,
        supplied=supplied,
    )
    if sealed_rows:
        sealed = check_rows[0][1] if check_rows else b""
        _check(sealer, sealed, supplied or node_key)
    return sealer


def _check(sealer: Sealer, sealed: bytes, where: Path) -> None:
    try:
        fits = sealer.open(Purpose.CHECK, sealed) == CHECK_PLAINTEXT
    except SealError:
        fits = False
    if not fits:
        raise NodeKeyError(
            f"the node key {where} is not the one this database was sealed with; put "
            "the right key's copy there (mode 0600)"
        )
