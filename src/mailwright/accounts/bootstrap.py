"""First settings: a setup file enters an empty database, in one unit.

The unit also writes the check value and the subject key. Its guard is that nothing is
sealed yet, so it takes effect once in the life of a database, whoever tries again.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mailwright.accounts import statements
from mailwright.accounts.changes import Authorship, version_row
from mailwright.accounts.directory import StreamClass
from mailwright.accounts.keyring import CHECK_PLAINTEXT
from mailwright.accounts.ports import SettingsStore
from mailwright.accounts.sealing import Purpose, Sealer
from mailwright.accounts.secret_files import SetupSecrets, read_secret_files
from mailwright.accounts.subjects import make_subject_key
from mailwright.clock import Clock, to_micros
from mailwright.config.setup import SetupFile
from mailwright.config.setup_sections import (
    ProofKind,
    SendingDomainSection,
    StreamKind,
)
from mailwright.ids import IdBlock
from mailwright.store.statements import Bound, Step, Unit, Value

_logger = logging.getLogger(__name__)

_CLASSES: Final = {
    StreamKind.TRANSACTIONAL: StreamClass.TRANSACTIONAL,
    StreamKind.BULK: StreamClass.BULK,
}
#: Keys of the setup file that say where a secret is, or what it hashes to.
_LEFT_OUT: Final = frozenset({"sha256", "secret_file", "key_file", "password_file"})


async def apply_bootstrap(
    store: SettingsStore, setup: SetupFile, base: Path, sealer: Sealer, clock: Clock
) -> bool:
    """Put ``setup`` into an empty database; return whether it was one.

    Afterwards the database is set up: version 1 of the settings is in force, durably. On
    a database that was set up before nothing is read, stored or changed. A node without a
    setup file passes an empty ``SetupFile()``.

    Args:
        store: open, under the node's lock.
        setup: checked.
        base: folder that relative paths in ``setup`` start at.
        sealer: of the node-set key.
        clock: for the instants of the rows.

    Raises:
        SettingsError: a file that ``setup`` names cannot be used; nothing is stored.
        StoreError: the unit was rolled back; nothing is stored.
    """
    [sealed_rows] = await store.read(statements.SELECT_ANY_SEALED())
    if sealed_rows:
        _logger.info("the database is set up already; the setup file is not applied")
        return False
    secrets = await asyncio.to_thread(read_secret_files, setup, base)
    by = Authorship("bootstrap", "first settings", clock.now())
    unit = plan_bootstrap(setup, secrets, store.ids, sealer, by)
    [rows_before] = await store.run(unit)
    return not rows_before


def plan_bootstrap(
    setup: SetupFile,
    secrets: SetupSecrets,
    ids: IdBlock,
    sealer: Sealer,
    by: Authorship,
) -> Unit:
    """Return the unit that sets up an empty database and does nothing to another."""
    plan = _Plan(setup, secrets, ids, sealer, to_micros(by.at))
    rows = (*plan.rows(), version_row(by, {"setup": without_secrets(setup)}))
    return Unit((Step(statements.SELECT_ANY_SEALED(), otherwise=rows),))


def without_secrets(setup: SetupFile) -> Mapping[str, Any]:
    """Return ``setup`` as plain values, without secrets and without where they are."""
    document: dict[str, Any] = _cleaned(
        setup.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    )
    return document


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: sorted(each) if key == "scopes" else _cleaned(each)
            for key, each in value.items()
            if key not in _LEFT_OUT
        }
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    return value


class _Plan:
    """The rows of one setup file; gives ids to what has a name."""

    def __init__(
        self,
        setup: SetupFile,
        secrets: SetupSecrets,
        ids: IdBlock,
        sealer: Sealer,
        at: int,
    ) -> None:
        self._setup = setup
        self._secrets = secrets
        self._ids = ids
        self._sealer = sealer
        self._at = at
        self._tenants = {each.name: ids.take() for each in setup.tenant}
        self._sources = {each.name: ids.take() for each in setup.source}
        self._pools = {each.name: ids.take() for each in setup.pool}
        self._streams = {(each.tenant, each.name): ids.take() for each in setup.stream}

    def rows(self) -> Iterator[Bound]:
        """Yield the insert of each row."""
        _, check = self._sealed(Purpose.CHECK, CHECK_PLAINTEXT)
        _, subject = self._sealed(Purpose.SUBJECT, make_subject_key())
        yield check
        yield subject
        for network in self._setup.allowed_networks:
            yield statements.INSERT_ALLOWED_NETWORK(
                network=str(network), reason="setup file"
            )
        for name, tenant in self._tenants.items():
            yield statements.INSERT_TENANT(
                id=tenant, name=name, created_at=self._at, retired_at=None
            )
        yield from self._sources_and_pools()
        yield from self._streams_and_credentials()
        for domain in self._setup.sending_domain:
            yield from self._sending_domain(domain)
        yield from self._routes()

    def _sources_and_pools(self) -> Iterator[Bound]:
        for source in self._setup.source:
            yield statements.INSERT_SOURCE(
                id=self._sources[source.name],
                name=source.name,
                address=str(source.address),
                ehlo_name=source.ehlo_name,
                owner=None,
                epoch=None,
                until=None,
                retired_at=None,
            )
        for pool in self._setup.pool:
            yield statements.INSERT_POOL(
                id=self._pools[pool.name],
                name=pool.name,
                overflow=None if pool.overflow is None else self._pools[pool.overflow],
                retired_at=None,
            )
            for name, weight in pool.sources.items():
                yield statements.INSERT_POOL_SOURCE(
                    pool=self._pools[pool.name],
                    source=self._sources[name],
                    weight=weight,
                )

    def _streams_and_credentials(self) -> Iterator[Bound]:
        for stream in self._setup.stream:
            row: dict[str, Value] = {
                "id": self._streams[stream.tenant, stream.name],
                "tenant": self._tenants[stream.tenant],
                "name": stream.name,
                "class": _CLASSES[stream.kind].value,
                "pool": self._pools[stream.pool],
                "created_at": self._at,
                "retired_at": None,
            }
            yield statements.INSERT_STREAM(**row)
        for credential in self._setup.credential:
            yield statements.INSERT_CREDENTIAL(
                id=self._ids.take(),
                tenant=self._tenants[credential.tenant],
                name=credential.name,
                secret_hash=self._secrets.secret_hashes.get(credential.name),
                scopes=" ".join(sorted(credential.scopes)),
                stream=self._streams[credential.tenant, credential.stream],
                hourly_limit=credential.hourly_limit,
                daily_quota=credential.daily_quota,
                backlog_limit=credential.backlog_limit,
                dsn=credential.dsn.value,
                created_at=self._at,
                retired_at=None,
            )

    def _sending_domain(self, domain: SendingDomainSection) -> Iterator[Bound]:
        ident = self._ids.take()
        is_vouched_for = domain.proof is ProofKind.OPERATOR
        yield statements.INSERT_SENDING_DOMAIN(
            id=ident,
            tenant=self._tenants[domain.tenant],
            domain=domain.domain,
            return_path_domain=domain.return_path_domain,
            proof=domain.proof.value,
            proven_at=self._at if is_vouched_for else None,
            created_at=self._at,
            retired_at=None,
        )
        extra = {key.selector: key for key in domain.extra_keys}
        for selector in (domain.selector, *extra):
            if selector is None:
                continue
            section = extra.get(selector)
            key = self._secrets.signing_keys[domain.domain, selector]
            sealed_key, row = self._sealed(
                Purpose.DKIM, key.der, self._tenants[domain.tenant]
            )
            yield row
            yield statements.INSERT_DKIM_KEY(
                sending_domain=ident,
                selector=selector,
                algorithm=key.algorithm,
                sealed_key=sealed_key,
                is_primary=int(selector == domain.selector),
                signs_too=int(section is not None and section.signs),
                signing_domain=(section and section.domain) or domain.domain,
                created_at=self._at,
                retired_at=None,
                revoked_at=None,
            )

    def _routes(self) -> Iterator[Bound]:
        for route in self._setup.route:
            sealed_password = None
            if route.domain in self._secrets.passwords:
                sealed_password, row = self._sealed(
                    Purpose.SMARTHOST, self._secrets.passwords[route.domain]
                )
                yield row
            yield statements.INSERT_ROUTE(
                id=self._ids.take(),
                domain=route.domain,
                host=route.next_hop.host,
                port=route.next_hop.port,
                pipelining=route.pipelining.value,
                tls=route.tls.value,
                login=route.login or "",
                sealed_password=sealed_password,
                retired_at=None,
            )

    def _sealed(
        self, purpose: Purpose, plaintext: bytes, tenant: int | None = None
    ) -> tuple[int, Bound]:
        ident = self._ids.take()
        return ident, statements.INSERT_SEALED_KEY(
            id=ident,
            purpose=purpose.value,
            tenant=tenant,
            sealed=self._sealer.seal(purpose, plaintext),
            created_at=self._at,
            retired_at=None,
        )
