"""The statements that write this room's tables."""

from typing import Final

from sqlalchemy import (
    BindParameter,
    Table,
    bindparam,
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
INSERT_ALLOWED_NETWORK: Final = _insert_into(tables.allowed_networks)

_log = tables.settings_log
#: Writes the next version; parameters ``at``, ``author``, ``reason``, ``document``.
INSERT_VERSION: Final = Query(
    "next settings version",
    insert(_log).from_select(
        ["version", "at", "author", "reason", "document"],
        select(
            func.coalesce(func.max(_log.c.version), literal_column("0"))
            + literal_column("1"),
            bindparam("at", type_=Big),
            bindparam("author", type_=_log.c.author.type),
            bindparam("reason", type_=_log.c.reason.type),
            bindparam("document", type_=_log.c.document.type),
        ),
    ),
)

#: A row if the database was set up: it has something sealed in it.
SELECT_ANY_SEALED: Final = Query(
    "is anything sealed",
    select(tables.sealed_keys.c.id).limit(literal_column("1")),
)

#: A row if ``stream`` is a live stream of the live ``tenant``.
SELECT_LIVE_STREAM: Final = Query(
    "live stream of a tenant",
    select(tables.streams.c.id)
    .join(tables.tenants, tables.tenants.c.id == tables.streams.c.tenant)
    .where(tables.streams.c.id == bindparam("stream"))
    .where(tables.streams.c.tenant == bindparam("tenant"))
    .where(tables.streams.c.retired_at.is_(None))
    .where(tables.tenants.c.retired_at.is_(None)),
)

_live_credential = (
    update(tables.credentials)
    .where(tables.credentials.c.name == bindparam("credential_name"))
    .where(tables.credentials.c.retired_at.is_(None))
    .returning(tables.credentials.c.id)
)
UPDATE_SECRET_HASH: Final = Query(
    "new secret of a credential",
    _live_credential.values(secret_hash=bindparam("secret_hash")),
)
RETIRE_CREDENTIAL: Final = Query(
    "retire a credential", _live_credential.values(retired_at=bindparam("at"))
)
MARK_PROVEN: Final = Query(
    "sending domain proven",
    update(tables.sending_domains)
    .where(tables.sending_domains.c.id == bindparam("sending_domain"))
    .where(tables.sending_domains.c.proven_at.is_(None))
    .where(tables.sending_domains.c.retired_at.is_(None))
    .values(proven_at=bindparam("at"))
    .returning(tables.sending_domains.c.id),
)
