import asyncio
import json
import logging
import sqlite3
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from fakes.node_folder import CANARY_PASSWORD, CANARY_SECRET, NodeFolder
from mailwright.accounts.authentication import hash_secret
from mailwright.accounts.bootstrap import apply_bootstrap
from mailwright.accounts.directory import Proof, Scope, StreamClass
from mailwright.accounts.keyring import unlock
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.loading import load_directory, load_version
from mailwright.accounts.tables import metadata
from mailwright.config.problems import SettingsError
from mailwright.config.setup import SetupFile
from mailwright.store.store import Store


def dump(database: Path) -> bytes:
    """Return every octet that the database file and its log hold."""
    return b"".join(
        path.read_bytes() for path in sorted(database.parent.glob(f"{database.name}*"))
    )


def test_all_of_a_setup_file_is_found_in_the_directory(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        directory = live.directory()
        tenants = {each.name: each.id for each in directory.tenants.values()}
        acme = tenants["acme"]
        assert directory.version == 1
        assert set(tenants) == {"acme", "rival"}

        receipts = directory.streams_by_name[acme, "receipts"]
        news = directory.streams_by_name[acme, "news"]
        assert receipts.stream_class is StreamClass.TRANSACTIONAL
        assert news.stream_class is StreamClass.BULK
        assert directory.streams_by_name[tenants["rival"], "receipts"] != receipts

        main, spare = directory.pools_by_name["main"], directory.pools_by_name["spare"]
        assert receipts.pool == main.id
        assert main.overflow == spare.id
        assert spare.overflow is None
        assert [(source.name, weight) for source, weight in main.sources] == [
            ("ip1", 3),
            ("ip2", 1),
        ]
        assert {
            (each.name, each.address, each.ehlo_name)
            for each in directory.sources.values()
        } == {("ip1", "192.0.2.1", "m1.example.com"), ("ip2", "", "m2.example.com")}

        crm, printer = directory.credentials["crm"], directory.credentials["printer"]
        assert crm.tenant == acme
        assert crm.stream == receipts.id
        assert crm.secret_hash == hash_secret(CANARY_SECRET)
        assert crm.scopes == {Scope.SEND, Scope.CONTROL, Scope.READ}
        assert printer.secret_hash is None
        assert printer.scopes == {Scope.SEND}
        assert directory.credentials["rival"].secret_hash == bytes.fromhex("ab" * 32)

        route, lan = directory.routes["*"], directory.routes["lan.example"]
        assert (route.host, route.port, route.tls) == (
            "smart.example.net",
            587,
            "required",
        )
        assert route.login == "acme"
        assert route.sealed_password is not None
        secret = live.keys.password(route.sealed_password)
        assert secret.reveal() == CANARY_PASSWORD.encode()
        assert (lan.host, lan.port, lan.pipelining) == ("::1", 2525, "transactions")
        assert lan.sealed_password is None
        assert directory.route_for("lan.example") == lan
        assert directory.route_for("other.example") == route

        assert directory.allowed_networks == (
            ip_network("127.0.0.0/8"),
            ip_network("2001:db8::/32"),
        )

    node.drive_set_up(body)


def test_a_domain_that_the_operator_vouches_for_is_usable_and_another_is_not_yet(
    node: NodeFolder,
) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        directory = live.directory()
        tenants = {each.name: each.id for each in directory.tenants.values()}
        vouched = directory.sending_domain_for(tenants["acme"], "example.com")
        waiting = directory.sending_domains["rival.example"]

        assert vouched is not None
        assert vouched.proof is Proof.OPERATOR
        assert vouched.return_path_domain == "bounce.example.com"
        assert [key.selector for key in vouched.keys] == ["s1", "s2"]
        assert [key.algorithm for key in vouched.keys] == [
            "rsa-sha256",
            "ed25519-sha256",
        ]
        assert vouched.primary_key == vouched.keys[0]
        assert waiting.proof is Proof.DNS
        assert not waiting.is_proven
        assert directory.sending_domain_for(tenants["rival"], "rival.example") is None
        # Another tenant's domain looks like none at all.
        assert directory.sending_domain_for(tenants["rival"], "example.com") is None

    node.drive_set_up(body)


def test_the_named_key_is_the_primary_one_whatever_the_others_are_called(
    node: NodeFolder,
) -> None:
    [example, _] = node.setup["sending_domain"]
    example["selector"] = "z1"
    example["extra_keys"] = [{"selector": "a1", "key_file": "s2.pem"}]

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"]
        assert [(key.selector, key.is_primary) for key in domain.keys] == [
            ("z1", True),
            ("a1", False),
        ]

    node.drive_set_up(body)


def test_a_domain_may_have_no_key_yet(node: NodeFolder) -> None:
    [example, _] = node.setup["sending_domain"]
    for key in ("selector", "key_file", "extra_keys"):
        del example[key]

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"]
        assert domain.keys == ()
        assert domain.primary_key is None

    node.drive_set_up(body)


def test_a_database_is_set_up_once_only(
    node: NodeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        sealer = await unlock(store, node.node_key)
        before = await load_directory(store)
        caplog.set_level(logging.INFO)
        (node.folder / "s1.pem").unlink()  # not even read

        applied = await apply_bootstrap(
            store, SetupFile(), node.folder, sealer, node.clock
        )

        assert not applied
        assert "is not applied" in caplog.text
        assert await load_directory(store) == before

    node.drive_set_up(body)


def test_two_that_set_up_at_once_do_not_mix(node: NodeFolder) -> None:
    async def body(store: Store) -> None:
        sealer = await unlock(store, node.node_key)

        async def apply() -> bool:
            return await apply_bootstrap(
                store, node.setup_file, node.folder, sealer, node.clock
            )

        async with asyncio.TaskGroup() as tasks:
            first, second = tasks.create_task(apply()), tasks.create_task(apply())

        assert sorted([first.result(), second.result()]) == [False, True]
        assert await load_version(store) == 1
        assert len((await load_directory(store)).tenants) == 2

    node.drive(body)


def test_what_fails_in_the_middle_leaves_the_database_empty(node: NodeFolder) -> None:
    async def body(store: Store) -> None:
        sealer = await unlock(store, node.node_key)
        broken = node.setup_file
        # A domain of two tenants passes no check of the file; here it reaches the store.
        [ours, theirs] = broken.sending_domain
        both = (ours, theirs, ours.model_copy(update={"tenant": "rival"}))
        twice = broken.model_copy(update={"sending_domain": both})
        with pytest.raises(Exception, match="insert into sending_domains"):
            await apply_bootstrap(store, twice, node.folder, sealer, node.clock)

    node.drive(body)
    with sqlite3.connect(node.database) as database:
        rows = {
            table.name: database.execute(f"SELECT * FROM {table.name}").fetchall()
            for table in metadata.sorted_tables
        }
    assert rows == {name: [] for name in rows}


def test_the_settings_log_has_the_document_without_secrets(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    with sqlite3.connect(node.database) as database:
        [row] = database.execute("SELECT version, author, document FROM settings_log")

    document = json.loads(row[2])["settings"]

    assert row[:2] == (1, "bootstrap")
    assert document["credential"][0] == {
        "tenant": "acme",
        "name": "crm",
        "stream": "receipts",
        "scopes": ["control", "read", "send"],
        "daily_quota": 5000,
        "dsn": "all",
        "secret": "kept",
    }
    assert document["pool"][0]["sources"] == {"ip1": 3, "ip2": 1}
    keys = set(_keys(document))
    assert not keys & {"sha256", "secret_file", "password_file", "key_file"}
    assert "selector" in keys, "the walk over keys does see the nested ones"


def test_no_secret_is_in_the_database_file_in_clear(
    node: NodeFolder, rsa_pem: bytes
) -> None:
    node.drive_set_up(_nothing)

    octets = dump(node.database)

    pem_line = rsa_pem.splitlines()[5]
    assert b"example.com" in octets, "the dump does see what is in the file"
    assert node.node_key.read_bytes() not in octets
    for secret in (CANARY_SECRET.encode(), CANARY_PASSWORD.encode(), pem_line):
        assert secret not in octets


def test_every_file_that_cannot_be_used_is_reported_at_once(node: NodeFolder) -> None:
    (node.folder / "s1.pem").write_text("canary-key")
    (node.folder / "s2.pem").unlink()
    (node.folder / "crm.secret").write_text("canary-weak")
    (node.folder / "smarthost.password").write_text("\n")

    async def body(store: Store) -> None:
        sealer = await unlock(store, node.node_key)
        with pytest.raises(SettingsError) as caught:
            await apply_bootstrap(
                store, node.setup_file, node.folder, sealer, node.clock
            )

        problems = caught.value.problems
        assert [(each.key, each.file.name) for each in problems] == [
            ("sending_domain[0].key_file", "s1.pem"),
            ("sending_domain[0].extra_keys[0].key_file", "s2.pem"),
            ("sending_domain[1].key_file", "s1.pem"),
            ("credential[0].secret_file", "crm.secret"),
            ("route[0].password_file", "smarthost.password"),
        ]
        assert "no PEM private key" in problems[0].what
        assert "mailwright dkim generate" in problems[0].remedy
        assert "No such file" in problems[1].what
        assert "canary" not in str(caught.value)
        assert await load_version(store) == 0

    node.drive(body)


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"\xff" * 30, "is not UTF-8"),
        (b"x" * 70_000, "is over 64 KiB"),
        (b"x" * 2_000, "needs a secret of 20 to"),
        (b"nul\0in the middle of it.....", "no secret in its first line"),
    ],
)
def test_a_secret_file_with_something_else_is_refused(
    node: NodeFolder, octets: bytes, what: str
) -> None:
    (node.folder / "crm.secret").write_bytes(octets)

    async def body(store: Store) -> None:
        sealer = await unlock(store, node.node_key)
        with pytest.raises(SettingsError, match=what):
            await apply_bootstrap(
                store, node.setup_file, node.folder, sealer, node.clock
            )

    node.drive(body)


async def _nothing(store: Store, live: LiveSettings) -> None:
    """Just set up."""


def _keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for each in value.values() for key in _keys(each))]
    if isinstance(value, list):
        return [key for each in value for key in _keys(each)]
    return []
