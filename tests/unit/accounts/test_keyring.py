import shutil
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from fakes.node_folder import NodeFolder
from mailwright.accounts import keyring as keyring_module
from mailwright.accounts.keyring import (
    KeyRing,
    KeyRingError,
    unlock,
)
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.sealing import NodeKeyError, Sealer, SealError
from mailwright.accounts.signing_keys import PrivateKey, SigningKeys, read_der
from mailwright.ids import SendingDomainId
from mailwright.store.store import Store

#: After the folder was set up.
NOW = datetime.now(UTC) + timedelta(days=1)


async def _nothing(store: Store, live: LiveSettings) -> None:
    """Just set up."""


def _changed(node: NodeFolder, statement: str) -> None:
    database = sqlite3.connect(node.database)
    with database:
        assert database.execute(statement).rowcount >= 1
    database.close()


def test_a_sealed_key_comes_back_ready_to_sign(
    node: NodeFolder, rsa_key: RSAPrivateKey
) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"]

        secret = live.keys.dkim_key(domain.id, "s1")

        assert secret is not None
        assert (secret.algorithm, secret.domain, secret.selector) == (
            "rsa-sha256",
            "example.com",
            "s1",
        )
        assert isinstance(secret.private_key, RSAPrivateKey)
        assert secret.private_key.private_numbers() == rsa_key.private_numbers()
        assert live.keys.why_no_key(domain.id, "s1") == ""
        second = live.keys.dkim_key(domain.id, "s2")
        assert second is not None
        assert second.algorithm == "ed25519-sha256"
        assert repr(live.keys) == "KeyRing(3 DKIM keys)"

    node.drive_set_up(body)


def test_an_unknown_selector_has_no_key_and_says_so(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"].id
        for ident, selector in ((domain, "s9"), (SendingDomainId(1), "s1")):
            assert live.keys.dkim_key(ident, selector) is None
            assert "no DKIM key has the selector" in live.keys.why_no_key(
                ident, selector
            )

    node.drive_set_up(body)


def test_a_retired_key_still_signs_and_a_revoked_one_does_not(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    _changed(node, "UPDATE dkim_keys SET retired_at = 1 WHERE selector = 's1'")
    _changed(node, "UPDATE dkim_keys SET revoked_at = 1 WHERE selector = 's2'")

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"]
        assert live.keys.dkim_key(domain.id, "s1") is not None
        assert live.keys.dkim_key(domain.id, "s2") is None
        assert (
            live.keys.why_no_key(domain.id, "s2")
            == "the DKIM key s2 of example.com was revoked"
        )
        assert domain.primary_key is None, "a retired key signs nothing new"

    node.drive_set_up(body)


def test_a_key_that_does_not_open_is_none_with_the_reason(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    _changed(
        node,
        "UPDATE sealed_keys SET sealed = substr(sealed, 1, 40) WHERE id = "
        "(SELECT sealed_key FROM dkim_keys WHERE selector = 's1')",
    )

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"].id
        assert live.keys.dkim_key(domain, "s1") is None
        assert live.keys.why_no_key(domain, "s1").endswith("does not open")

    node.drive_set_up(body)


def test_many_threads_open_a_key_once(
    node: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    second_came = threading.Event()

    def counting(der: bytes) -> PrivateKey:
        opened.append(len(der))
        if len(opened) > 1:
            second_came.set()
        second_came.wait(timeout=0.2)  # time for another thread to get here, too
        return read_der(der)

    monkeypatch.setattr(keyring_module, "read_der", counting)

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"].id
        barrier = threading.Barrier(8)
        seen: list[object] = []

        def sign() -> None:
            barrier.wait(timeout=120)
            seen.append(live.keys.dkim_key(domain, "s1"))

        threads = [threading.Thread(target=sign) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert len(seen) == 8
        assert len(set(map(id, seen))) == 1
        assert len(opened) == 1

    node.drive_set_up(body)


def test_a_reload_takes_over_new_rows_and_keeps_the_subject_key(
    node: NodeFolder,
) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"].id
        subject = live.keys.subject_key.subject("jane@example.com")
        assert live.keys.dkim_key(domain, "s1") is not None
        assert not await live.reload(), "nothing has changed yet"
        _changed(node, "UPDATE dkim_keys SET revoked_at = 1 WHERE selector = 's1'")

        await live.keys.reload()

        assert live.keys.dkim_key(domain, "s1") is None
        assert live.keys.subject_key.subject("jane@example.com") == subject

    node.drive_set_up(body)


def test_subjects_are_the_same_after_a_restart(node: NodeFolder) -> None:
    seen = set()

    async def body(store: Store, live: LiveSettings) -> None:
        seen.add(live.keys.subject_key.subject("jane@example.com"))

    node.drive_set_up(body)
    node.drive_set_up(body)
    assert len(seen) == 1


def test_an_unknown_password_is_an_error(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"]
        with pytest.raises(KeyRingError):
            live.keys.password(12345)
        with pytest.raises(KeyRingError):  # a DKIM key is no password
            live.keys.password(domain.keys[0].sealed_key)

    node.drive_set_up(body)


def test_a_database_that_was_never_set_up_has_no_key_ring(node: NodeFolder) -> None:
    async def body(store: Store) -> None:
        with pytest.raises(KeyRingError, match="never set up"):
            await KeyRing.load(store, Sealer(bytes(32)))

    node.drive(body)


def test_a_foreign_node_key_is_refused(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    node.node_key.write_bytes(bytes(32))

    async def body(store: Store) -> None:
        with pytest.raises(NodeKeyError, match="not the one"):
            await unlock(store, node.node_key)

    node.drive(body)


def test_a_lost_node_key_is_not_made_anew(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    node.node_key.unlink()

    async def body(store: Store) -> None:
        with pytest.raises(NodeKeyError, match="missing"):
            await unlock(store, node.node_key)

    node.drive(body)
    assert not node.node_key.exists()


def test_a_database_that_lost_its_check_value_fits_no_key(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    _changed(node, "DELETE FROM sealed_keys WHERE purpose = 'check'")

    async def body(store: Store) -> None:
        with pytest.raises(NodeKeyError):
            await unlock(store, node.node_key)

    node.drive(body)


def test_a_key_that_was_made_before_a_crash_serves_the_next_start(
    node: NodeFolder,
) -> None:
    async def crashed(store: Store) -> None:
        await unlock(store, node.node_key)  # and nothing was sealed

    node.drive(crashed)
    made = node.node_key.read_bytes()
    node.drive_set_up(_nothing)
    assert node.node_key.read_bytes() == made


def test_a_copy_of_the_database_alone_opens_nothing(
    node: NodeFolder, tmp_path: Path
) -> None:
    node.drive_set_up(_nothing)
    thief = NodeFolder(tmp_path / "thief", node.setup)
    thief.folder.mkdir()
    shutil.copy(node.database, thief.database)

    async def body(store: Store) -> None:
        with pytest.raises(NodeKeyError):
            await unlock(store, thief.node_key)
        with pytest.raises(SealError):
            await KeyRing.load(store, Sealer(bytes(32)))
        # The control: with the key it opens.
        shutil.copy(node.node_key, thief.node_key)
        live = await LiveSettings.load(store, await unlock(store, thief.node_key))
        domain = live.directory().sending_domains["example.com"].id
        assert live.keys.dkim_key(domain, "s1") is not None

    thief.drive(body)


def test_a_revoked_key_is_replaced_by_the_primary_one(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    _changed(node, "UPDATE dkim_keys SET revoked_at = 1 WHERE selector = 's2'")

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"].id
        found = live.keys.keys_for(domain, "s2", NOW)
        assert isinstance(found, SigningKeys)
        assert [key.selector for key in found.keys] == ["s1"]
        assert (
            found.note == "signed with s1: the DKIM key s2 of example.com was revoked"
        )
        assert isinstance(live.keys.keys_for(domain, "s9", NOW), str)

    node.drive_set_up(body)


def test_with_the_primary_key_revoked_too_mail_waits(node: NodeFolder) -> None:
    node.drive_set_up(_nothing)
    _changed(node, "UPDATE dkim_keys SET revoked_at = 1")

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"].id
        why = live.keys.keys_for(domain, "s1", NOW)
        assert why == "the DKIM key s1 of example.com was revoked"

    node.drive_set_up(body)


@pytest.mark.parametrize(
    ("change", "selectors"),
    [
        ("signs_too = 1, signing_domain = 'infra.example'", ["s1", "s2"]),
        ("signs_too = 0", ["s1"]),
        ("signs_too = 1, created_at = 9000000000000000", ["s1"]),
        ("signs_too = 1, retired_at = 1", ["s1"]),
        ("signs_too = 1, retired_at = 9000000000000000", ["s1", "s2"]),
        ("signs_too = 1, revoked_at = 1", ["s1"]),
    ],
)
def test_second_signatures_are_those_in_force_at_acceptance(
    node: NodeFolder, change: str, selectors: list[str]
) -> None:
    node.drive_set_up(_nothing)
    _changed(node, f"UPDATE dkim_keys SET {change} WHERE selector = 's2'")

    async def body(store: Store, live: LiveSettings) -> None:
        domain = live.directory().sending_domains["example.com"].id
        found = live.keys.keys_for(domain, "s1", NOW)
        assert isinstance(found, SigningKeys)
        assert [key.selector for key in found.keys] == selectors
        if "infra" in change:
            assert found.keys[1].domain == "infra.example"

    node.drive_set_up(body)
