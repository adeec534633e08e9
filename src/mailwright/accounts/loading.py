"""Reading the shared settings into one :class:`Directory`.

All tables are read in one snapshot. Retired rows stay reachable by id, because queued
mail refers to them, and are gone from the look-ups by name.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Final, TypeVar

from sqlalchemy import Table, func, select

from mailwright.accounts import tables
from mailwright.accounts.directory import (
    Credential,
    Directory,
    DkimKey,
    DsnPolicy,
    Pool,
    Proof,
    Route,
    Scope,
    SendingDomain,
    Source,
    Stream,
    StreamClass,
    Tenant,
    ThrottleRule,
)
from mailwright.accounts.quota import Limits
from mailwright.config.setup_limits import LimitKey
from mailwright.config.treatment import meant
from mailwright.ids import (
    CredentialId,
    PoolId,
    SendingDomainId,
    SourceId,
    StreamId,
    TenantId,
)
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, Row

_Id = TypeVar("_Id")
_Noun = TypeVar("_Noun")


def _rows_of(table: Table, *names: str, order_by: Sequence[str] = ("id",)) -> Query:
    core = select(*(table.c[name] for name in names))
    return Query(table.name, core.order_by(*(table.c[name] for name in order_by)))


_VERSION: Final = Query(
    "settings version", select(func.max(tables.settings_log.c.version))
)
_TENANTS: Final = _rows_of(tables.tenants, "id", "name", "retired_at")
_STREAMS: Final = _rows_of(
    tables.streams, "id", "tenant", "name", "class", "pool", "retired_at"
)
_CREDENTIALS: Final = _rows_of(
    tables.credentials,
    *("id", "tenant", "name", "secret_hash", "scopes", "stream", "dsn"),
    *("hourly_limit", "daily_quota", "backlog_limit", "retired_at"),
)
_DOMAINS: Final = _rows_of(
    tables.sending_domains,
    *("id", "tenant", "domain", "return_path_domain", "proof"),
    *("proven_at", "retired_at"),
)
_DKIM_KEYS: Final = _rows_of(
    tables.dkim_keys,
    *("sending_domain", "selector", "algorithm", "is_primary"),
    *("retired_at", "revoked_at", "sealed_key"),
    order_by=("sending_domain", "selector"),
)
_SOURCES: Final = _rows_of(
    tables.sources, "id", "name", "address", "ehlo_name", "retired_at"
)
_POOLS: Final = _rows_of(tables.pools, "id", "name", "overflow", "retired_at")
_POOL_SOURCES: Final = _rows_of(
    tables.pool_sources, "pool", "source", "weight", order_by=("pool", "source")
)
_ROUTES: Final = _rows_of(
    tables.routes,
    *("id", "domain", "host", "port", "pipelining", "tls", "login"),
    *("sealed_password", "retired_at"),
)
_MATCHED: Final = tuple(
    each.value for each in LimitKey if each is not LimitKey.CAMPAIGN
)
_THROTTLES: Final = _rows_of(
    tables.throttles, "id", "name", "rate", "per", *_MATCHED, "retired_at"
)
_PROVIDERS: Final = _rows_of(
    tables.provider_changes, "provider", "treatment", "retired_at", order_by=("id",)
)
_NETWORKS: Final = _rows_of(tables.allowed_networks, "network", order_by=("network",))


async def load_version(store: UnitStore) -> int:
    """Return the version in force, 0 for a database that was never set up."""
    [[[version]]] = await store.read(_VERSION())
    return version or 0


async def load_directory(store: UnitStore) -> Directory:
    """Return the shared settings in force.

    Takes one snapshot on a reader thread; milliseconds for thousands of rows.
    """
    (
        [[version]],
        tenant_rows,
        stream_rows,
        credential_rows,
        domain_rows,
        key_rows,
        source_rows,
        pool_rows,
        share_rows,
        route_rows,
        throttle_rows,
        provider_rows,
        network_rows,
    ) = await store.read(
        _VERSION(),
        _TENANTS(),
        _STREAMS(),
        _CREDENTIALS(),
        _DOMAINS(),
        _DKIM_KEYS(),
        _SOURCES(),
        _POOLS(),
        _POOL_SOURCES(),
        _ROUTES(),
        _THROTTLES(),
        _PROVIDERS(),
        _NETWORKS(),
    )
    live_tenants = {row[0] for row in tenant_rows if row[-1] is None}
    streams = {row[0]: _stream(row) for row in stream_rows}
    credentials = {row[0]: _credential(row) for row in credential_rows}
    domains = _sending_domains(domain_rows, key_rows)
    sources = {row[0]: _source(row) for row in source_rows}
    live_sources = {found.id: found for found in _live(source_rows, sources)}
    pools = _pools(pool_rows, share_rows, live_sources)
    return Directory(
        version=version or 0,
        tenants={TenantId(row[0]): Tenant(row[0], row[1]) for row in tenant_rows},
        credentials={
            found.name: found
            for found in _live(credential_rows, credentials)
            if found.tenant in live_tenants
        },
        credentials_by_id=credentials,
        sending_domains={
            found.domain: found
            for found in _live(domain_rows, domains)
            if found.tenant in live_tenants
        },
        sending_domains_by_id=domains,
        streams=streams,
        streams_by_name={
            (found.tenant, found.name): found for found in _live(stream_rows, streams)
        },
        pools=pools,
        pools_by_name={found.name: found for found in _live(pool_rows, pools)},
        sources=sources,
        routes={row[1]: _route(row) for row in route_rows if row[-1] is None},
        allowed_networks=tuple(ip_network(row[0]) for row in network_rows),
        throttles=tuple(_throttle(row) for row in throttle_rows if row[-1] is None),
        provider_changes={
            row[0]: meant(json.loads(row[1]))
            for row in provider_rows
            if row[-1] is None
        },
    )


def _live(rows: Iterable[Row], nouns: Mapping[_Id, _Noun]) -> Iterator[_Noun]:
    """Yield the nouns of rows that are not retired; ``retired_at`` is the last column."""
    return (nouns[row[0]] for row in rows if row[-1] is None)


def _stream(row: Row) -> Stream:
    ident, tenant, name, stream_class, pool, _ = row
    return Stream(
        StreamId(ident),
        TenantId(tenant),
        name,
        StreamClass(stream_class),
        PoolId(pool),
    )


def _credential(row: Row) -> Credential:
    ident, tenant, name, secret_hash, scopes, stream, dsn, *limits, _ = row
    return Credential(
        CredentialId(ident),
        TenantId(tenant),
        name,
        secret_hash,
        frozenset(map(Scope, scopes.split())),
        StreamId(stream),
        DsnPolicy(dsn),
        Limits(*limits),
    )


def _sending_domains(
    domain_rows: Iterable[Row], key_rows: Iterable[Row]
) -> dict[SendingDomainId, SendingDomain]:
    keys: dict[int, list[DkimKey]] = defaultdict(list)
    for owner, selector, algorithm, is_primary, retired, revoked, sealed in key_rows:
        keys[owner].append(
            DkimKey(
                selector,
                algorithm,
                is_primary=bool(is_primary),
                is_retired=retired is not None,
                is_revoked=revoked is not None,
                sealed_key=sealed,
            )
        )
    domains = {}
    for ident, tenant, domain, return_path_domain, proof, proven_at, _ in domain_rows:
        domains[SendingDomainId(ident)] = SendingDomain(
            SendingDomainId(ident),
            TenantId(tenant),
            domain,
            return_path_domain,
            Proof(proof),
            proven_at is not None,
            tuple(sorted(keys[ident], key=lambda key: not key.is_primary)),
        )
    return domains


def _pools(
    pool_rows: Iterable[Row],
    share_rows: Iterable[Row],
    live_sources: Mapping[SourceId, Source],
) -> dict[PoolId, Pool]:
    shares: dict[int, list[tuple[Source, int]]] = defaultdict(list)
    for pool, source, weight in share_rows:
        if source in live_sources:
            shares[pool].append((live_sources[source], weight))
    return {
        PoolId(ident): Pool(
            PoolId(ident),
            name,
            tuple(shares[ident]),
            None if overflow is None else PoolId(overflow),
        )
        for ident, name, overflow, _ in pool_rows
    }


def _source(row: Row) -> Source:
    ident, name, address, ehlo_name, _ = row
    return Source(SourceId(ident), name, address, ehlo_name)


def _route(row: Row) -> Route:
    ident, domain, host, port, pipelining, tls, login, sealed_password, _ = row
    return Route(ident, domain, host, port, pipelining, tls, login, sealed_password)


def _throttle(row: Row) -> ThrottleRule:
    ident, name, rate, per, *matched, _ = row
    match = zip(_MATCHED, matched, strict=True)
    return ThrottleRule(
        ident,
        name,
        rate,
        frozenset(per.split()),
        tuple((key, value) for key, value in match if value is not None),
    )
