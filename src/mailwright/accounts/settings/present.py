"""What the database has: every thing of the shared settings, retired ones too."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Table, func, select

from mailwright.accounts import tables
from mailwright.accounts.directory import StreamClass
from mailwright.accounts.settings.records import (
    MATCHED,
    STREAM_CLASSES,
    Kind,
    Plain,
    Record,
    Ref,
    credential_ref,
    domain_ref,
    pool_ref,
    provider_ref,
    source_ref,
    stream_ref,
    tenant_ref,
    throttle_ref,
)
from mailwright.config.treatment import TREATMENT_KEYS
from mailwright.config.units import HostPort
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, Row

_CLASS_NAMES: Final = {value: name for name, value in STREAM_CLASSES.items()}


def _rows_of(table: Table, *names: str) -> Query:
    columns = [table.c[name] for name in names]
    return Query(f"present {table.name}", select(*columns).order_by(*columns))


_VERSION: Final = Query(
    "present version", select(func.max(tables.settings_log.c.version))
)
_NETWORKS: Final = _rows_of(tables.allowed_networks, "network")
_TENANTS: Final = _rows_of(tables.tenants, "id", "name", "retired_at")
_SOURCES: Final = _rows_of(
    tables.sources, "id", "name", "address", "ehlo_name", "retired_at"
)
_POOLS: Final = _rows_of(tables.pools, "id", "name", "overflow", "retired_at")
_SHARES: Final = _rows_of(tables.pool_sources, "pool", "source", "weight")
_STREAMS: Final = _rows_of(
    tables.streams, "id", "tenant", "name", "class", "pool", "retired_at"
)
_CREDENTIALS: Final = _rows_of(
    tables.credentials,
    *("id", "tenant", "name", "stream", "scopes", "secret_hash", "hourly_limit"),
    *("daily_quota", "backlog_limit", "dsn", "revoked_at", "retired_at"),
)
_DOMAINS: Final = _rows_of(
    tables.sending_domains,
    *("id", "tenant", "domain", "return_path_domain", "proof", "retired_at"),
)
_KEYS: Final = _rows_of(
    tables.dkim_keys,
    *("sending_domain", "selector", "is_primary", "signs_too", "signing_domain"),
    *("sealed_key", "revoked_at", "retired_at"),
)
_ROUTES: Final = _rows_of(
    tables.routes,
    *("id", "domain", "host", "port", "pipelining", "tls", "login"),
    *("sealed_password", "retired_at"),
)
_THROTTLES: Final = _rows_of(
    tables.throttles,
    *("id", "title", "name", "rate", "per", *MATCHED, "reason", "retired_at"),
)
_PROVIDERS: Final = _rows_of(
    tables.provider_changes, "id", "provider", "treatment", "reason", "retired_at"
)
_SEALED: Final = _rows_of(tables.sealed_keys, "id", "sealed")


@dataclass(frozen=True, slots=True)
class Present:
    """A thing that the database has.

    Attributes:
        row: its id; of a key, the id of its sending domain; of a network, 0.
        values: as :attr:`Record.values`.
        secret: what is kept of its secret: a hash, or sealed octets.
        sealed: the id of the sealed octets.
        is_revoked: it was retired for good.
    """

    row: int
    values: Mapping[str, Plain]
    is_retired: bool = False
    is_revoked: bool = False
    secret: bytes | None = field(default=None, repr=False)
    sealed: int | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that the database has, at one version of the settings."""

    version: int
    items: Mapping[Ref, Present]

    def live(self) -> dict[Ref, Present]:
        """Return what is in force."""
        return {ref: each for ref, each in self.items.items() if not each.is_retired}

    def wanted(self) -> dict[Ref, Record]:
        """Return records that want exactly what is in force."""
        return {ref: Record(each.values) for ref, each in self.live().items()}


async def read_inventory(store: UnitStore) -> Inventory:
    """Return what the database has, from one snapshot; for reading and for planning."""
    [[[version]], *rows] = await store.read(
        _VERSION(),
        _NETWORKS(),
        _TENANTS(),
        _SOURCES(),
        _POOLS(),
        _SHARES(),
        _STREAMS(),
        _CREDENTIALS(),
        _DOMAINS(),
        _KEYS(),
        _ROUTES(),
        _THROTTLES(),
        _PROVIDERS(),
        _SEALED(),
    )
    return Inventory(version or 0, _Reading(rows).items)


class _Reading:
    """Turns rows into :class:`Present`; ids become the names of what they refer to."""

    def __init__(self, tables_rows: Iterable[Sequence[Row]]) -> None:
        """Take the rows of each table, in the order of :func:`read_inventory`."""
        networks, tenants, sources, pools, shares, streams, *others = tables_rows
        credentials, domains, keys, routes, throttles, providers, sealed = others
        self.items: dict[Ref, Present] = {}
        self._tenants = {row[0]: row[1] for row in tenants}
        self._pools = {row[0]: row[1] for row in pools}
        self._streams = {row[0]: row[2] for row in streams}
        self._sealed: dict[int, bytes] = {row[0]: row[1] for row in sealed}
        self._credentials = {row[0]: row[2] for row in credentials}
        self._sources = {row[0]: row[1] for row in sources}
        self._shares: dict[int, dict[str, int]] = {}
        for pool, source, weight in shares:
            self._shares.setdefault(pool, {})[self._sources[source]] = weight
        # By the id of the row; a domain that changed hands has several.
        self._domains: dict[int, Ref] = {}
        for (network,) in networks:
            self.items[Ref(Kind.ALLOWED_NETWORK, (network,))] = Present(0, {})
        for ident, name, retired_at in tenants:
            self.items[tenant_ref(name)] = Present(ident, {}, retired_at is not None)
        steps: tuple[tuple[Iterable[Row], Callable[..., None]], ...] = (
            (sources, self._source),
            (pools, self._pool),
            (streams, self._stream),
            (credentials, self._credential),
            (domains, self._domain),
            (keys, self._key),
            (routes, self._route),
            (throttles, self._throttle),
            (providers, self._provider),
        )
        for rows, take in steps:
            for row in rows:
                take(*row[:-1], is_retired=row[-1] is not None)

    def _source(
        self, ident: int, name: str, address: str, ehlo_name: str, *, is_retired: bool
    ) -> None:
        values: dict[str, Plain] = {"address": address, "ehlo_name": ehlo_name}
        self.items[source_ref(name)] = Present(ident, values, is_retired)

    def _pool(
        self, ident: int, name: str, overflow: int | None, *, is_retired: bool
    ) -> None:
        values: dict[str, Plain] = {
            "sources": self._shares.get(ident, {}),
            "overflow": None if overflow is None else self._pools[overflow],
        }
        self.items[pool_ref(name)] = Present(ident, values, is_retired)

    def _stream(
        self,
        ident: int,
        tenant: int,
        name: str,
        stream_class: int,
        pool: int,
        *,
        is_retired: bool,
    ) -> None:
        values: dict[str, Plain] = {
            "class": _CLASS_NAMES[StreamClass(stream_class)],
            "pool": self._pools[pool],
        }
        ref = stream_ref(self._tenants[tenant], name)
        self.items[ref] = Present(ident, values, is_retired)

    def _credential(self, *row: Any, is_retired: bool) -> None:
        ident, tenant, name, stream, scopes, secret_hash, *limits = row
        hourly_limit, daily_quota, backlog_limit, dsn, revoked_at = limits
        values: dict[str, Plain] = {
            "tenant": self._tenants[tenant],
            "stream": self._streams[stream],
            "scopes": tuple(sorted(scopes.split())),
            "hourly_limit": hourly_limit,
            "daily_quota": daily_quota,
            "backlog_limit": backlog_limit,
            "dsn": dsn,
        }
        self.items[credential_ref(name)] = Present(
            ident, values, is_retired, revoked_at is not None, secret_hash
        )

    def _domain(
        self,
        ident: int,
        tenant: int,
        domain: str,
        return_path_domain: str,
        proof: str,
        *,
        is_retired: bool,
    ) -> None:
        ref = domain_ref(self._tenants[tenant], domain)
        self._domains[ident] = ref
        values: dict[str, Plain] = {
            "return_path_domain": return_path_domain,
            "proof": proof,
        }
        self.items[ref] = Present(ident, values, is_retired)

    def _key(
        self,
        domain: int,
        selector: str,
        is_primary: int,
        signs_too: int,
        signing_domain: str,
        sealed_key: int,
        revoked_at: int | None,
        *,
        is_retired: bool,
    ) -> None:
        ref = Ref(Kind.DKIM_KEY, (*self._domains[domain].names, selector))
        values: dict[str, Plain] = {
            "is_primary": bool(is_primary),
            "signs": bool(signs_too),
            "domain": signing_domain,
        }
        self.items[ref] = Present(
            domain,
            values,
            is_retired,
            revoked_at is not None,
            self._sealed[sealed_key],
            sealed_key,
        )

    def _route(
        self,
        ident: int,
        domain: str,
        host: str,
        port: int,
        pipelining: str,
        tls: str,
        login: str,
        sealed_password: int | None,
        *,
        is_retired: bool,
    ) -> None:
        values: dict[str, Plain] = {
            "next_hop": str(HostPort(host, port)),
            "pipelining": pipelining,
            "tls": tls,
            "login": login or None,
        }
        secret = None if sealed_password is None else self._sealed[sealed_password]
        self.items[Ref(Kind.ROUTE, (domain,))] = Present(
            ident, values, is_retired, secret=secret, sealed=sealed_password
        )

    def _throttle(self, *row: Any, is_retired: bool) -> None:
        ident, title, name, rate, per, *matched, reason = row
        # By name what the row has by id: the first of MATCHED.
        for index, names in enumerate(
            (self._sources, self._tenants, self._streams, self._credentials)
        ):
            if matched[index] is not None:
                matched[index] = names[matched[index]]
        values: dict[str, Plain] = {
            "name": name,
            "limit": rate,
            "per": tuple(per.split()),
            **dict(zip(MATCHED, matched, strict=True)),
            "reason": reason,
        }
        self.items[throttle_ref(title)] = Present(ident, values, is_retired)

    def _provider(
        self, ident: int, name: str, treatment: str, reason: str, *, is_retired: bool
    ) -> None:
        said = json.loads(treatment)
        values: dict[str, Plain] = {}
        for key in TREATMENT_KEYS:
            value = said.get(key)
            values[key] = tuple(value) if isinstance(value, list) else value
        values["reason"] = reason
        self.items[provider_ref(name)] = Present(ident, values, is_retired)
