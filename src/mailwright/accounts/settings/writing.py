"""From changes to the statements that make them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mailwright.accounts import statements
from mailwright.accounts.sealing import Purpose, Sealer
from mailwright.accounts.settings.comparison import Action, Change
from mailwright.accounts.settings.present import Inventory
from mailwright.accounts.settings.records import (
    STREAM_CLASSES,
    Kind,
    Plain,
    Record,
    Records,
    Ref,
    pool_ref,
    source_ref,
    stream_ref,
    tenant_ref,
)
from mailwright.accounts.settings.writing_limits import provider_row, throttle_row
from mailwright.accounts.signing_keys import ED25519_SHA256, RSA_SHA256, read_der
from mailwright.config.setup_domains import ProofKind
from mailwright.config.units import parse_host_port
from mailwright.store.statements import Bound, Query, Value

_ENDING: Final = (Action.RETIRED, Action.REVOKED)
#: What retires a row of each kind that has an id.
_RETIRE: Final[Mapping[Kind, Query]] = {
    Kind.TENANT: statements.RETIRE_TENANT,
    Kind.SOURCE: statements.RETIRE_SOURCE,
    Kind.POOL: statements.RETIRE_POOL,
    Kind.STREAM: statements.RETIRE_STREAM,
    Kind.CREDENTIAL: statements.RETIRE_CREDENTIAL,
    Kind.SENDING_DOMAIN: statements.RETIRE_SENDING_DOMAIN,
    Kind.ROUTE: statements.RETIRE_ROUTE,
    Kind.THROTTLE: statements.RETIRE_THROTTLE,
    Kind.PROVIDER: statements.RETIRE_PROVIDER_CHANGE,
}


def ids_needed(changes: Iterable[Change]) -> int:
    """Return how many ids :class:`Writing` takes for ``changes``, at most."""
    return sum((each.action is Action.ADDED) + each.has_new_secret for each in changes)


class Writing:
    """The statements of one set of changes. Blocking for large ones: for a thread."""

    def __init__(
        self,
        wanted: Records,
        inventory: Inventory,
        ids: Iterable[int],
        sealer: Sealer,
        at: int,
    ) -> None:
        """Take what :func:`~.comparison.compare` took, and ids enough.

        ``at`` is the instant of the change in microseconds.
        """
        self._wanted = wanted
        self._inventory = inventory
        self._new_ids = iter(ids)
        self._sealer = sealer
        self._at = at
        self._ids = {ref: each.row for ref, each in inventory.items.items()}

    def statements(self, changes: Iterable[Change]) -> list[Bound]:
        """Return the statements, in an order that breaks no unique key on the way."""
        changes = tuple(changes)
        for change in changes:
            if change.action is Action.ADDED and change.ref.kind is not Kind.DKIM_KEY:
                self._ids[change.ref] = next(self._new_ids)
        # A domain may change hands: the old owner's row goes first.
        bounds = [
            bound
            for change in changes
            if change.action in _ENDING
            for bound in self._ended(change)
        ]
        for change in changes:
            if change.action not in _ENDING:
                bounds += self._written(change)
        bounds += self._doubted(changes)
        return bounds

    def _ended(self, change: Change) -> Iterator[Bound]:
        kind, names = change.ref
        row = self._ids[change.ref]
        match kind:
            case Kind.ALLOWED_NETWORK:
                yield statements.DELETE_ALLOWED_NETWORK(row_network=names[0])
            case Kind.DKIM_KEY if change.action is Action.REVOKED:
                yield statements.REVOKE_DKIM_KEY(
                    row_sending_domain=row,
                    row_selector=names[-1],
                    retired_at=self._at,
                    revoked_at=self._at,
                )
            case Kind.DKIM_KEY:
                yield statements.RETIRE_DKIM_KEY(
                    row_sending_domain=row, row_selector=names[-1], retired_at=self._at
                )
            case Kind.CREDENTIAL if change.action is Action.REVOKED:
                yield statements.REVOKE_CREDENTIAL(
                    row_id=row,
                    retired_at=self._at,
                    revoked_at=self._at,
                    secret_hash=None,
                )
            case _:
                yield _RETIRE[kind](row_id=row, retired_at=self._at)

    def _written(self, change: Change) -> Iterator[Bound]:
        match change.ref.kind:
            case Kind.ALLOWED_NETWORK:
                yield statements.INSERT_ALLOWED_NETWORK(
                    network=change.ref.names[0], reason="setup file"
                )
            case Kind.TENANT:
                yield self._tenant(change)
            case Kind.SOURCE:
                yield self._source(change)
            case Kind.POOL:
                yield from self._pool(change)
            case Kind.STREAM:
                yield self._stream(change)
            case Kind.CREDENTIAL:
                yield self._credential(change)
            case Kind.SENDING_DOMAIN:
                yield from self._domain(change)
            case Kind.DKIM_KEY:
                yield from self._key(change)
            case Kind.ROUTE:
                yield from self._route(change)
            case Kind.THROTTLE:
                yield throttle_row(change, self._wanted[change.ref], self._ids)
            case Kind.PROVIDER:
                yield provider_row(change, self._wanted[change.ref], self._ids)

    def _tenant(self, change: Change) -> Bound:
        row = self._ids[change.ref]
        if change.action is Action.ADDED:
            return statements.INSERT_TENANT(
                id=row, name=change.ref.names[0], created_at=self._at, retired_at=None
            )
        return statements.RETIRE_TENANT(row_id=row, retired_at=None)

    def _source(self, change: Change) -> Bound:
        row, record = self._ids[change.ref], self._wanted[change.ref]
        values: dict[str, Value] = {
            "address": _text(record, "address"),
            "ehlo_name": _text(record, "ehlo_name"),
            "retired_at": None,
        }
        if change.action is not Action.ADDED:
            return statements.UPDATE_SOURCE(row_id=row, **values)
        name = change.ref.names[0]
        return statements.INSERT_SOURCE(
            id=row, name=name, owner=None, epoch=None, until=None, **values
        )

    def _pool(self, change: Change) -> Iterator[Bound]:
        row, record = self._ids[change.ref], self._wanted[change.ref]
        overflow = record.values["overflow"]
        values: dict[str, Value] = {
            "overflow": None
            if overflow is None
            else self._ids[pool_ref(str(overflow))],
            "retired_at": None,
        }
        if change.action is Action.ADDED:
            yield statements.INSERT_POOL(id=row, name=change.ref.names[0], **values)
        else:
            yield statements.UPDATE_POOL(row_id=row, **values)
        if "sources" not in change.fields:
            return
        yield statements.DELETE_POOL_SOURCES(row_id=row)
        shares = record.values["sources"]
        assert isinstance(shares, Mapping)  # noqa: S101  records_of made it
        for name, weight in shares.items():
            yield statements.INSERT_POOL_SOURCE(
                pool=row, source=self._ids[source_ref(name)], weight=weight
            )

    def _stream(self, change: Change) -> Bound:
        row, record = self._ids[change.ref], self._wanted[change.ref]
        values: dict[str, Value] = {
            "class": STREAM_CLASSES[_text(record, "class")].value,
            "pool": self._ids[pool_ref(_text(record, "pool"))],
            "retired_at": None,
        }
        if change.action is not Action.ADDED:
            return statements.UPDATE_STREAM(row_id=row, **values)
        tenant, name = change.ref.names
        return statements.INSERT_STREAM(
            id=row,
            tenant=self._ids[tenant_ref(tenant)],
            name=name,
            created_at=self._at,
            **values,
        )

    def _credential(self, change: Change) -> Bound:
        row, record = self._ids[change.ref], self._wanted[change.ref]
        present = self._inventory.items.get(change.ref)
        kept = None if present is None else present.secret
        scopes = record.values["scopes"]
        assert isinstance(scopes, tuple)  # noqa: S101  records_of made it
        tenant = _text(record, "tenant")
        values: dict[str, Value] = {
            "stream": self._ids[stream_ref(tenant, _text(record, "stream"))],
            "scopes": " ".join(scopes),
            "secret_hash": kept if record.secret is None else record.secret,
            "hourly_limit": _number(record, "hourly_limit"),
            "daily_quota": _number(record, "daily_quota"),
            "backlog_limit": _number(record, "backlog_limit"),
            "dsn": _text(record, "dsn"),
            "retired_at": None,
        }
        if change.action is not Action.ADDED:
            return statements.UPDATE_CREDENTIAL(row_id=row, **values)
        return statements.INSERT_CREDENTIAL(
            id=row,
            tenant=self._ids[tenant_ref(tenant)],
            name=change.ref.names[0],
            created_at=self._at,
            revoked_at=None,
            **values,
        )

    def _domain(self, change: Change) -> Iterator[Bound]:
        row, record = self._ids[change.ref], self._wanted[change.ref]
        is_vouched_for = record.values["proof"] == ProofKind.OPERATOR.value
        proven_at = self._at if is_vouched_for else None
        values: dict[str, Value] = {
            "return_path_domain": _text(record, "return_path_domain"),
            "proof": _text(record, "proof"),
            "retired_at": None,
        }
        if change.action is Action.ADDED:
            tenant, domain = change.ref.names
            yield statements.INSERT_SENDING_DOMAIN(
                id=row,
                tenant=self._ids[tenant_ref(tenant)],
                domain=domain,
                proven_at=proven_at,
                created_at=self._at,
                **values,
            )
            return
        yield statements.UPDATE_SENDING_DOMAIN(row_id=row, **values)
        if change.action is Action.RESTORED or "proof" in change.fields:
            yield statements.UPDATE_PROVEN(row_id=row, proven_at=proven_at)

    def _key(self, change: Change) -> Iterator[Bound]:
        tenant, domain, selector = change.ref.names
        row = self._ids[Ref(Kind.SENDING_DOMAIN, (tenant, domain))]
        record = self._wanted[change.ref]
        values: dict[str, Value] = {
            "is_primary": int(bool(record.values["is_primary"])),
            "signs_too": int(bool(record.values["signs"])),
            "signing_domain": _text(record, "domain"),
            "retired_at": None,
        }
        if change.action is not Action.ADDED:
            yield statements.UPDATE_DKIM_KEY(
                row_sending_domain=row, row_selector=selector, **values
            )
            return
        der = record.secret or b""
        is_rsa = isinstance(read_der(der), RSAPrivateKey)
        owner = self._ids[tenant_ref(tenant)]
        sealed_key, sealing = self._sealed(Purpose.DKIM, der, owner)
        yield sealing
        yield statements.INSERT_DKIM_KEY(
            sending_domain=row,
            selector=selector,
            algorithm=RSA_SHA256 if is_rsa else ED25519_SHA256,
            sealed_key=sealed_key,
            created_at=self._at,
            revoked_at=None,
            **values,
        )

    def _route(self, change: Change) -> Iterator[Bound]:
        row, record = self._ids[change.ref], self._wanted[change.ref]
        present = self._inventory.items.get(change.ref)
        old = None if present is None else present.sealed
        login = record.values["login"]
        sealed_password = None if login is None else old
        if record.secret is not None and change.has_new_secret:
            sealed_password, sealing = self._sealed(Purpose.SMARTHOST, record.secret)
            yield sealing
        if old is not None and old != sealed_password:
            yield statements.RETIRE_SEALED_KEY(row_id=old, retired_at=self._at)
        hop = parse_host_port(_text(record, "next_hop"))
        values: dict[str, Value] = {
            "host": hop.host,
            "port": hop.port,
            "pipelining": _text(record, "pipelining"),
            "tls": _text(record, "tls"),
            "login": "" if login is None else str(login),
            "sealed_password": sealed_password,
            "retired_at": None,
        }
        if change.action is Action.ADDED:
            yield statements.INSERT_ROUTE(id=row, domain=change.ref.names[0], **values)
        else:
            yield statements.UPDATE_ROUTE(row_id=row, **values)

    def _doubted(self, changes: Iterable[Change]) -> Iterator[Bound]:
        """Yield what takes the proof from domains that another key signs for now."""
        domains = {
            Ref(Kind.SENDING_DOMAIN, change.ref.names[:2]): None
            for change in changes
            if change.ref.kind is Kind.DKIM_KEY
            and change.action not in _ENDING
            and self._wanted[change.ref].values["is_primary"]
            and (change.action is Action.RESTORED or "is_primary" in change.fields)
        }
        for ref in domains:
            record, present = self._wanted.get(ref), self._inventory.items.get(ref)
            if record is None or present is None:
                continue
            if record.values["proof"] == ProofKind.DNS.value:
                yield statements.UPDATE_PROVEN(row_id=present.row, proven_at=None)

    def _sealed(
        self, purpose: Purpose, plaintext: bytes, tenant: int | None = None
    ) -> tuple[int, Bound]:
        ident = next(self._new_ids)
        return ident, sealed_row(
            self._sealer, ident, purpose, plaintext, self._at, tenant
        )


def sealed_row(
    sealer: Sealer,
    ident: int,
    purpose: Purpose,
    plaintext: bytes,
    at: int,
    tenant: int | None = None,
) -> Bound:
    """Return the insert of a secret, sealed."""
    return statements.INSERT_SEALED_KEY(
        id=ident,
        purpose=purpose.value,
        tenant=tenant,
        sealed=sealer.seal(purpose, plaintext),
        created_at=at,
        retired_at=None,
    )


def _text(record: Record, name: str) -> str:
    value: Plain = record.values[name]
    assert isinstance(value, str)  # noqa: S101  records_of made it
    return value


def _number(record: Record, name: str) -> int | None:
    value: Plain = record.values[name]
    assert value is None or isinstance(value, int)  # noqa: S101  records_of made it
    return value
