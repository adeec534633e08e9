import json

import pytest

from fakes.node_folder import NodeFolder
from mailwright.accounts.authentication import Authenticator, make_secret
from mailwright.accounts.changes import (
    Authorship,
    NewCredential,
    create_credential,
    mark_proven,
    replace_secret,
    retire_credential,
    took_effect,
)
from mailwright.accounts.directory import Directory, Scope
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.loading import load_version
from mailwright.accounts.tables import settings_log
from mailwright.clock import to_micros
from mailwright.ids import CredentialId
from mailwright.store.ports import StoreConflictError
from mailwright.store.statements import Query, Row, Unit
from mailwright.store.store import Store

_LOG = Query("all versions", settings_log.select().order_by(settings_log.c.version))


def by(node: NodeFolder) -> Authorship:
    return Authorship("tester", "to see it", node.clock.now())


def new_credential(
    directory: Directory, store: Store, name: str, secret_hash: bytes | None = None
) -> NewCredential:
    tenant = next(each for each in directory.tenants.values() if each.name == "acme")
    stream = directory.streams_by_name[tenant.id, "news"]
    scopes = frozenset({Scope.SEND, Scope.MANAGE})
    ident = CredentialId(store.ids.take())
    return NewCredential(ident, tenant, stream, name, scopes, secret_hash)


async def log_of(store: Store) -> list[Row]:
    [rows] = await store.read(_LOG())
    return rows


def test_a_created_credential_works_after_the_reload_and_is_in_the_log(
    node: NodeFolder,
) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        secret, secret_hash = make_secret("app")
        authenticator = Authenticator(live.directory)
        new = new_credential(live.directory(), store, "app", secret_hash)

        result = await store.run(create_credential(new, by(node)))

        assert took_effect(result)
        assert authenticator.authenticate_key(secret) is None, "not reloaded yet"
        assert await live.reload()
        assert not await live.reload()
        found = authenticator.authenticate_key(secret)
        assert found is not None
        assert (found.id, found.scopes) == (new.id, new.scopes)
        assert (found.tenant, found.stream) == (new.tenant.id, new.stream.id)
        version, at, author, reason, document = (await log_of(store))[-1]
        assert (version, author, reason) == (2, "tester", "to see it")
        assert at == to_micros(node.clock.now())
        assert json.loads(document) == {
            "credential created": {
                "name": "app",
                "tenant": "acme",
                "stream": "news",
                "scopes": ["manage", "send"],
                "has_secret": True,
            }
        }

    node.drive_set_up(body)


def test_a_name_is_given_once_even_after_it_was_retired(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        directory = live.directory()
        assert took_effect(await store.run(retire_credential("printer", by(node))))
        for name in ("crm", "printer"):
            change = create_credential(new_credential(directory, store, name), by(node))
            with pytest.raises(StoreConflictError):
                await store.run(change)
        assert await load_version(store) == 2, "a refused change writes no version"

    node.drive_set_up(body)


def test_a_stream_of_another_tenant_makes_no_credential(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        directory = live.directory()
        mine = new_credential(directory, store, "app")
        rival = next(
            each for each in directory.tenants.values() if each.name == "rival"
        )
        theirs = NewCredential(
            mine.id, rival, mine.stream, mine.name, mine.scopes, None
        )

        result = await store.run(create_credential(theirs, by(node)))

        assert not took_effect(result)
        assert await load_version(store) == 1

    node.drive_set_up(body)


def test_a_replaced_secret_stops_working_and_the_new_one_works(
    node: NodeFolder,
) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        old = "canary-secret-of-the-crm-0123456789"
        new, new_hash = make_secret("crm")
        authenticator = Authenticator(live.directory)
        assert authenticator.authenticate("crm", old) is not None

        assert took_effect(await store.run(replace_secret("crm", new_hash, by(node))))
        await live.reload()

        assert authenticator.authenticate("crm", old) is None
        assert authenticator.authenticate("crm", new) is not None
        document = (await log_of(store))[-1][-1]
        assert json.loads(document) == {"credential secret replaced": {"name": "crm"}}

    node.drive_set_up(body)


def test_a_credential_for_networks_gets_its_first_secret(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        secret, secret_hash = make_secret("printer")
        await store.run(replace_secret("printer", secret_hash, by(node)))
        await live.reload()
        assert Authenticator(live.directory).authenticate_key(secret) is not None

    node.drive_set_up(body)


def test_a_retired_credential_is_gone_by_name_and_stays_by_id(
    node: NodeFolder,
) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        crm = live.directory().credentials["crm"]

        assert took_effect(await store.run(retire_credential("crm", by(node))))
        await live.reload()

        assert "crm" not in live.directory().credentials
        assert live.directory().credentials_by_id[crm.id] == crm
        secret = "canary-secret-of-the-crm-0123456789"
        assert Authenticator(live.directory).authenticate("crm", secret) is None

    node.drive_set_up(body)


def test_a_change_of_nothing_writes_nothing(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"]
        units: list[Unit] = [
            retire_credential("nobody", by(node)),
            replace_secret("nobody", bytes(32), by(node)),
            mark_proven(domain.id, domain.domain, by(node)),  # it is proven
        ]
        for each in units:
            assert not took_effect(await store.run(each))
        await store.run(retire_credential("crm", by(node)))
        assert not took_effect(await store.run(retire_credential("crm", by(node))))
        assert not took_effect(
            await store.run(replace_secret("crm", bytes(32), by(node)))
        )
        assert await load_version(store) == 2

    node.drive_set_up(body)


def test_a_proven_domain_becomes_usable(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["rival.example"]
        asked = domain.tenant, domain.domain
        assert live.directory().sending_domain_for(*asked) is None

        change = mark_proven(domain.id, domain.domain, by(node))
        assert took_effect(await store.run(change))
        await live.reload()

        assert live.directory().sending_domain_for(*asked) is not None

    node.drive_set_up(body)
