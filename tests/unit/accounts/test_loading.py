"""What is retired stays reachable by id, where queued mail refers to it."""

import sqlite3

from fakes.node_folder import NodeFolder
from mailwright.accounts.directory import Directory
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.loading import load_directory, load_version
from mailwright.store.store import Store


def retired(node: NodeFolder, table: str, name: str) -> Directory:
    """Return the directory after the row ``name`` of ``table`` was retired."""
    found: list[Directory] = []

    async def body(store: Store, live: LiveSettings) -> None:
        database = sqlite3.connect(node.database)
        column = {"sending_domains": "domain", "routes": "domain"}.get(table, "name")
        with database:
            changed = database.execute(
                f"UPDATE {table} SET retired_at = 1 WHERE {column} = ?",
                (name,),
            )
            assert changed.rowcount >= 1
        database.close()
        found.append(await load_directory(store))

    node.drive_set_up(body)
    return found[0]


def test_an_empty_database_is_an_empty_directory_of_version_0(
    node: NodeFolder,
) -> None:
    async def body(store: Store) -> None:
        directory = await load_directory(store)
        assert directory.version == await load_version(store) == 0
        assert not directory.tenants
        assert not directory.credentials
        assert directory.route_for("example.com") is None

    node.drive(body)


def test_a_retired_tenant_sends_nothing_more(node: NodeFolder) -> None:
    directory = retired(node, "tenants", "acme")
    assert set(directory.credentials) == {"rival"}
    assert set(directory.sending_domains) == {"rival.example"}
    assert len(directory.credentials_by_id) == 3
    assert len(directory.sending_domains_by_id) == 2


def test_a_retired_sending_domain_is_known_by_id_only(node: NodeFolder) -> None:
    directory = retired(node, "sending_domains", "example.com")
    assert set(directory.sending_domains) == {"rival.example"}
    domains = {each.domain for each in directory.sending_domains_by_id.values()}
    assert domains == {"rival.example", "example.com"}


def test_a_retired_source_leaves_its_pools(node: NodeFolder) -> None:
    directory = retired(node, "sources", "ip1")
    main = directory.pools_by_name["main"]
    assert [source.name for source, _ in main.sources] == ["ip2"]
    assert {each.name for each in directory.sources.values()} == {"ip1", "ip2"}


def test_a_retired_stream_is_known_by_id_only(
    node: NodeFolder,
) -> None:
    directory = retired(node, "streams", "news")
    assert "news" not in {name for _, name in directory.streams_by_name}
    assert "news" in {each.name for each in directory.streams.values()}


def test_a_retired_pool_is_known_by_id_only(node: NodeFolder) -> None:
    directory = retired(node, "pools", "spare")
    assert set(directory.pools_by_name) == {"main"}
    assert len(directory.pools) == 2


def test_a_retired_route_leads_nowhere(node: NodeFolder) -> None:
    directory = retired(node, "routes", "*")
    assert directory.route_for("example.org") is None
    assert directory.route_for("lan.example") is not None
