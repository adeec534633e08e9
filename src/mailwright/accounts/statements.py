"""The statements that write this room's tables."""

from typing import Final

from sqlalchemy import (
    BindParameter,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from mailwright.accounts import tables
from mailwright.store.statements import Query
from mailwright.store.tables import Big


def _insert_into(table: Table) -> Query:
    """Return the insert of a whole row; every column is a parameter of its name."""
    row: dict[str, BindParameter[object]] = {
        column.name: bindparam(column.name) for column in table.columns
    }
    return Query(f"insert into {table.name}", insert(table).values(row))


INSERT_TENANT: Final = _insert_into(tables.tenants)
INSERT_CREDENTIAL: Final = _insert_into(tables.credentials)
INSERT_SENDING_DOMAIN: Final = _insert_into(tables.sending_domains)
INSERT_DKIM_KEY: Final = _insert_into(tables.dkim_keys)
INSERT_SEALED_KEY: Final = _insert_into(tables.sealed_keys)
INSERT_STREAM: Final = _insert_into(tables.streams)
INSERT_SOURCE: Final = _insert_into(tables.sources)
INSERT_POOL: Final = _insert_into(tables.pools)
INSERT_POOL_SOURCE: Final = _insert_into(tables.pool_sources)
INSERT_ROUTE: Final = _insert_into(tables.routes)
INSERT_THROTTLE: Final = _insert_into(tables.throttles)
INSERT_PROVIDER_CHANGE: Final = _insert_into(tables.provider_changes)
INSERT_ALLOWED_NETWORK: Final = _insert_into(tables.allowed_networks)

_log = tables.settings_log
#: Writes the next version; parameters ``at``, ``author``, ``reason``, ``summary``,
#: ``document``.
INSERT_VERSION: Final = Query(
    "next settings version",
    insert(_log).from_select(
        ["version", "at", "author", "reason", "summary", "document"],
        select(
            func.coalesce(func.max(_log.c.version), literal_column("0"))
            + literal_column("1"),
            bindparam("at", type_=Big),
            bindparam("author", type_=_log.c.author.type),
            bindparam("reason", type_=_log.c.reason.type),
            bindparam("summary", type_=_log.c.summary.type),
            bindparam("document", type_=_log.c.document.type),
        ),
    ),
)

#: A row if the database was set up: it has something sealed in it.
SELECT_ANY_SEALED: Final = Query(
    "is anything sealed",
    select(tables.sealed_keys.c.id).limit(literal_column("1")),
)

#: A row if the settings are still those of the version ``base``.
SELECT_VERSION_IS: Final = Query(
    "are the settings still those",
    select(func.max(_log.c.version)).having(
        func.max(_log.c.version) == bindparam("base")
    ),
)


def _update_of(table: Table, *columns: str, by: tuple[str, ...] = ("id",)) -> Query:
    """Return the update of one row; ``row_id`` and the like say which one."""
    core = update(table).values({name: bindparam(name) for name in columns})
    for name in by:
        core = core.where(table.c[name] == bindparam(f"row_{name}"))
    return Query(f"update {table.name}", core)


_KEY_OF_DKIM: Final = ("sending_domain", "selector")

UPDATE_SOURCE: Final = _update_of(tables.sources, "address", "ehlo_name", "retired_at")
UPDATE_POOL: Final = _update_of(tables.pools, "overflow", "retired_at")
UPDATE_STREAM: Final = _update_of(tables.streams, "class", "pool", "retired_at")
UPDATE_CREDENTIAL: Final = _update_of(
    tables.credentials,
    *("stream", "scopes", "secret_hash", "hourly_limit", "daily_quota"),
    *("backlog_limit", "dsn", "retired_at"),
)
UPDATE_SENDING_DOMAIN: Final = _update_of(
    tables.sending_domains, "return_path_domain", "proof", "retired_at"
)
UPDATE_DKIM_KEY: Final = _update_of(
    tables.dkim_keys,
    *("is_primary", "signs_too", "signing_domain", "retired_at"),
    by=_KEY_OF_DKIM,
)
UPDATE_ROUTE: Final = _update_of(
    tables.routes,
    *("host", "port", "pipelining", "tls", "login", "sealed_password", "retired_at"),
)
UPDATE_THROTTLE: Final = _update_of(
    tables.throttles,
    *("rate", "per", "source", "provider", "site", "domain", "tenant", "stream"),
    *("credential", "reason", "retired_at"),
)
UPDATE_PROVIDER_CHANGE: Final = _update_of(
    tables.provider_changes, "treatment", "reason", "retired_at"
)
#: Sets or clears when a sending domain was proven.
UPDATE_PROVEN: Final = _update_of(tables.sending_domains, "proven_at")

RETIRE_TENANT: Final = _update_of(tables.tenants, "retired_at")
RETIRE_SOURCE: Final = _update_of(tables.sources, "retired_at")
RETIRE_POOL: Final = _update_of(tables.pools, "retired_at")
RETIRE_STREAM: Final = _update_of(tables.streams, "retired_at")
RETIRE_CREDENTIAL: Final = _update_of(tables.credentials, "retired_at")
RETIRE_SENDING_DOMAIN: Final = _update_of(tables.sending_domains, "retired_at")
RETIRE_DKIM_KEY: Final = _update_of(tables.dkim_keys, "retired_at", by=_KEY_OF_DKIM)
#: For good: it signs nothing any more.
REVOKE_DKIM_KEY: Final = _update_of(
    tables.dkim_keys, "retired_at", "revoked_at", by=_KEY_OF_DKIM
)
RETIRE_ROUTE: Final = _update_of(tables.routes, "retired_at")
RETIRE_THROTTLE: Final = _update_of(tables.throttles, "retired_at")
RETIRE_PROVIDER_CHANGE: Final = _update_of(tables.provider_changes, "retired_at")
RETIRE_SEALED_KEY: Final = _update_of(tables.sealed_keys, "retired_at")
#: For good: its secret is forgotten as well.
REVOKE_CREDENTIAL: Final = _update_of(
    tables.credentials, "retired_at", "revoked_at", "secret_hash"
)
DELETE_POOL_SOURCES: Final = Query(
    "delete pool_sources",
    delete(tables.pool_sources).where(
        tables.pool_sources.c.pool == bindparam("row_id")
    ),
)
DELETE_ALLOWED_NETWORK: Final = Query(
    "delete allowed_networks",
    delete(tables.allowed_networks).where(
        tables.allowed_networks.c.network == bindparam("row_network")
    ),
)
