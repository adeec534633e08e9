"""Applying a setup file: to what is there, again, and after somebody else."""

import asyncio
import copy
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from fakes.node_folder import CANARY_PASSWORD, CANARY_SECRET, NodeFolder
from mailwright.accounts.authentication import Authenticator, make_secret
from mailwright.accounts.changes import Authorship
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.loading import load_version
from mailwright.accounts.secret_files import read_secret_files
from mailwright.accounts.settings.administration import (
    Administration,
    Applied,
    BaseMovedError,
    UnfitError,
)
from mailwright.accounts.settings.comparison import Action, Change
from mailwright.accounts.settings.credentials import CredentialRequest
from mailwright.accounts.settings.document import format_document, plain_change
from mailwright.accounts.settings.records import domain_ref
from mailwright.config.setup import SetupFile
from mailwright.store.store import Store


class Rig:
    """A database that is set up, and its administration."""

    def __init__(self, node: NodeFolder, store: Store, live: LiveSettings) -> None:
        self.node = node
        self.store = store
        self.live = live
        self.administration = Administration(store, live)

    def by(self, reason: str = "to see it") -> Authorship:
        return Authorship("tester", reason, self.node.clock.now())

    async def apply(self, values: dict[str, Any], **options: bool) -> Applied:
        setup = SetupFile.model_validate(values)
        secrets = read_secret_files(setup, self.node.folder)
        return await self.administration.apply(setup, secrets, self.by(), **options)

    async def exported(self) -> dict[str, Any]:
        """What is in force, through the text that people edit."""
        return tomllib.loads(format_document(await self.administration.document()))


def drive(node: NodeFolder, test: Callable[[Rig], Any]) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        await test(Rig(node, store, live))

    node.drive_set_up(body)


def said(changes: tuple[Change, ...]) -> list[tuple[str, str, str]]:
    return [(each.action.value, each.ref.kind.value, each.ref.text) for each in changes]


def item(values: dict[str, Any], table: str, name: str) -> dict[str, Any]:
    """Return the entry of ``table`` that ``name`` names in some key."""
    [found] = [each for each in values[table] if name in each.values()]
    assert isinstance(found, dict)
    return found


def test_applying_the_same_file_again_changes_nothing(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        applied = await rig.apply(node.setup)
        assert applied == Applied(1, ())
        assert await load_version(rig.store) == 1

    drive(node, test)


def test_applying_an_export_changes_nothing(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        exported = await rig.exported()
        assert exported["base"] == 1
        applied = await rig.apply(exported)
        assert applied == Applied(1, ())

    drive(node, test)


def test_an_export_names_secrets_and_holds_none(
    node: NodeFolder, rsa_pem: bytes
) -> None:
    async def test(rig: Rig) -> None:
        document = await rig.administration.document()
        assert item(document, "credential", "crm")["secret"] == "kept"
        assert "secret" not in item(document, "credential", "printer")
        assert item(document, "sending_domain", "example.com")["key"] == "kept"
        assert item(document, "route", "*")["password"] == "kept"
        text = format_document(document)
        assert "s1" in text, "the control: it does say the selector"
        for secret in (CANARY_SECRET, CANARY_PASSWORD, "ab" * 16, "PRIVATE"):
            assert secret not in text

    drive(node, test)


def test_what_is_added_changed_and_retired_is_said_and_done(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    values["stream"].append(
        {"tenant": "acme", "name": "alerts", "class": "transactional", "pool": "main"}
    )
    item(values, "credential", "crm")["daily_quota"] = 7
    item(values, "pool", "main")["sources"] = {"ip1": 1}
    item(values, "route", "lan.example")["next_hop"] = "[::1]:2526"
    values["credential"] = [
        each for each in values["credential"] if each["name"] != "printer"
    ]
    values["allowed_networks"] = ["127.0.0.0/8", "10.0.0.0/8"]

    async def test(rig: Rig) -> None:
        applied = await rig.apply(values)
        assert said(applied.changes) == [
            ("added", "allowed_network", "10.0.0.0/8"),
            ("retired", "allowed_network", "2001:db8::/32"),
            ("changed", "pool", "main"),
            ("added", "stream", "acme/alerts"),
            ("changed", "credential", "crm"),
            ("retired", "credential", "printer"),
            ("changed", "route", "lan.example"),
        ]
        directory = rig.live.directory()
        assert directory.version == applied.version == 2
        assert directory.routes["lan.example"].port == 2526
        assert len(directory.pools_by_name["main"].sources) == 1
        assert "printer" not in directory.credentials
        assert [str(each) for each in directory.allowed_networks] == [
            "10.0.0.0/8",
            "127.0.0.0/8",
        ]
        assert (await rig.apply(values)).changes == ()

    drive(node, test)


def test_a_dry_run_says_the_same_and_does_nothing(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    item(values, "credential", "crm")["hourly_limit"] = 7

    async def test(rig: Rig) -> None:
        tried = await rig.apply(values, dry_run=True)
        assert tried.is_dry_run
        assert await load_version(rig.store) == 1
        applied = await rig.apply(values)
        assert applied.changes == tried.changes
        [change] = applied.changes
        assert change.fields == {"hourly_limit": (None, 7)}

    drive(node, test)


def test_what_was_retired_stays_for_queued_mail_and_comes_back_as_itself(
    node: NodeFolder,
) -> None:
    without = copy.deepcopy(node.setup)
    without["tenant"] = [{"name": "acme"}]
    for table in ("stream", "credential", "sending_domain"):
        without[table] = [each for each in without[table] if each["tenant"] == "acme"]

    async def test(rig: Rig) -> None:
        before = rig.live.directory()
        rival = before.credentials["rival"]
        domain = before.sending_domains["rival.example"]

        await rig.apply(without)

        meanwhile = rig.live.directory()
        assert "rival" not in meanwhile.credentials
        assert "rival.example" not in meanwhile.sending_domains
        assert meanwhile.credentials_by_id[rival.id] == rival
        assert meanwhile.streams[rival.stream] == before.streams[rival.stream]
        assert meanwhile.sending_domains_by_id[domain.id].keys[0].is_retired
        assert rig.live.keys.dkim_key(domain.id, "r1") is not None, "it still signs"

        back = await rig.apply(node.setup)

        assert {each.action for each in back.changes} == {Action.RESTORED}
        after = rig.live.directory()
        assert after.credentials["rival"] == rival
        assert after.sending_domains["rival.example"] == domain

    drive(node, test)


def test_a_file_for_another_base_is_refused(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        mine = await rig.exported()
        theirs = copy.deepcopy(mine)
        item(theirs, "credential", "crm")["daily_quota"] = 1
        await rig.apply(theirs)
        item(mine, "credential", "crm")["daily_quota"] = 2

        with pytest.raises(
            BaseMovedError, match=r"since version 1.*at version 2"
        ) as got:
            await rig.apply(mine)

        assert (got.value.base, got.value.version) == (1, 2)
        assert await load_version(rig.store) == 2
        # What is in force already is not refused: repeating a request is harmless.
        assert (await rig.apply(theirs)).changes == ()

    drive(node, test)


def test_of_two_changes_at_once_one_has_to_look_again(node: NodeFolder) -> None:
    def wanting(quota: int) -> dict[str, Any]:
        values = copy.deepcopy(node.setup)
        item(values, "credential", "crm")["daily_quota"] = quota
        return values

    async def test(rig: Rig) -> None:
        refused = []

        async def change(quota: int) -> None:
            try:
                await rig.apply(wanting(quota))
            except BaseMovedError:
                refused.append(quota)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(change(1))
            tasks.create_task(change(2))

        assert len(refused) == 1
        assert await load_version(rig.store) == 2
        [kept] = {1, 2} - set(refused)
        assert rig.live.directory().version == 2
        assert item(await rig.exported(), "credential", "crm")["daily_quota"] == kept

    drive(node, test)


def test_a_file_that_is_silent_about_a_secret_takes_none_away(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    del item(values, "credential", "crm")["secret_file"]

    async def test(rig: Rig) -> None:
        assert (await rig.apply(values)).changes == ()
        authenticator = Authenticator(rig.live.directory)
        assert authenticator.authenticate("crm", CANARY_SECRET) is not None

    drive(node, test)


def test_another_secret_or_password_replaces_the_old_one(node: NodeFolder) -> None:
    (node.folder / "new.secret").write_text("another-secret-of-the-crm-9876543210")
    (node.folder / "new.password").write_text("another-password")
    values = copy.deepcopy(node.setup)
    item(values, "credential", "crm")["secret_file"] = "new.secret"
    item(values, "route", "*")["password_file"] = "new.password"

    async def test(rig: Rig) -> None:
        applied = await rig.apply(values)

        assert [(each.fields, each.has_new_secret) for each in applied.changes] == [
            ({}, True),
            ({}, True),
        ]
        authenticator = Authenticator(rig.live.directory)
        assert authenticator.authenticate("crm", CANARY_SECRET) is None
        sealed = rig.live.directory().routes["*"].sealed_password
        assert sealed is not None
        assert rig.live.keys.password(sealed).reveal() == b"another-password"
        assert plain_change(applied.changes[0]) == {
            "action": "changed",
            "kind": "credential",
            "name": "crm",
            "secret": "new",
        }
        assert (await rig.apply(values)).changes == ()

    drive(node, test)


def test_a_route_without_login_forgets_the_password(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    for key in ("login", "password_file"):
        del item(values, "route", "*")[key]

    async def test(rig: Rig) -> None:
        await rig.apply(values)
        assert rig.live.directory().routes["*"].sealed_password is None
        assert "password" not in item(await rig.exported(), "route", "*")

    drive(node, test)


@pytest.mark.parametrize(
    ("table", "name", "changed", "key", "what"),
    [
        (
            *("sending_domain", "example.com", {"key_file": "s2.pem"}),
            *("sending_domain[0].key_file", "another key than acme/example.com/s1"),
        ),
        (
            *("sending_domain", "example.com", {"selector": "s9", "key": "kept"}),
            *("sending_domain[0].key", "no key of acme/example.com/s9 to keep"),
        ),
        (
            *("credential", "printer", {"secret": "kept"}),
            *("credential[1].secret", "no secret of printer to keep"),
        ),
        (
            *("credential", "printer", {"tenant": "rival", "stream": "receipts"}),
            *("credential[1].tenant", "belongs to another tenant"),
        ),
        (
            *("route", "lan.example"),
            {"login": "x", "password": "kept", "tls": "required"},
            *("route[1].password", "no password of lan.example to keep"),
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_key(
    node: NodeFolder,
    table: str,
    name: str,
    changed: dict[str, Any],
    key: str,
    what: str,
) -> None:
    values = copy.deepcopy(node.setup)
    entry = item(values, table, name)
    if "key" in changed:
        del entry["key_file"]
    entry |= changed

    async def test(rig: Rig) -> None:
        with pytest.raises(UnfitError, match=what) as got:
            await rig.apply(values)
        assert str(got.value).startswith(f"{key}: ")
        assert await load_version(rig.store) == 1

    drive(node, test)


def test_a_revoked_credential_does_not_come_back_with_an_old_file(
    node: NodeFolder,
) -> None:
    async def test(rig: Rig) -> None:
        crm = rig.live.directory().credentials["crm"]
        await rig.administration.revoke_credential("crm", rig.by())
        assert "crm" not in rig.live.directory().credentials
        assert rig.live.directory().credentials_by_id[crm.id].secret_hash is None

        with pytest.raises(UnfitError, match="a revoked name is not used again"):
            await rig.apply(node.setup)

    drive(node, test)


def test_a_created_credential_is_part_of_the_next_export(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        secret, secret_hash = make_secret("app")
        request = CredentialRequest("app", "acme", "news", ["send", "manage"])
        await rig.administration.create_credential(request, secret_hash, rig.by())

        assert Authenticator(rig.live.directory).authenticate_key(secret) is not None
        exported = await rig.exported()
        found = item(exported, "credential", "app")
        assert found["secret"] == "kept"
        assert found["scopes"] == ["manage", "send"]
        assert (await rig.apply(exported)).changes == ()

    drive(node, test)


def test_a_domain_that_changes_hands_starts_anew(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    entry = item(values, "sending_domain", "example.com")
    entry |= {"tenant": "rival", "proof": "dns"}
    del entry["extra_keys"]

    async def test(rig: Rig) -> None:
        old = rig.live.directory().sending_domains["example.com"]
        applied = await rig.apply(values)
        new = rig.live.directory().sending_domains["example.com"]
        assert said(applied.changes) == [
            ("retired", "sending_domain", "acme/example.com"),
            ("added", "sending_domain", "rival/example.com"),
            ("retired", "dkim_key", "acme/example.com/s1"),
            ("retired", "dkim_key", "acme/example.com/s2"),
            ("added", "dkim_key", "rival/example.com/s1"),
        ]
        assert new.id != old.id
        assert not new.is_proven
        assert rig.live.keys.dkim_key(old.id, "s1") is not None, "its mail still leaves"
        back = await rig.apply(node.setup)
        assert rig.live.directory().sending_domains["example.com"].id == old.id
        assert len(back.changes) == 5

    drive(node, test)


def test_another_signing_key_has_to_be_proven_anew(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    entry = item(values, "sending_domain", "rival.example")
    entry |= {"extra_keys": [{"selector": "r2", "key_file": "s2.pem"}]}
    turned = copy.deepcopy(values)
    entry = item(turned, "sending_domain", "rival.example")
    entry |= {"selector": "r2", "key_file": "s2.pem"}
    entry["extra_keys"] = [{"selector": "r1", "key_file": "s1.pem"}]

    async def test(rig: Rig) -> None:
        administration = rig.administration
        ref = domain_ref("rival", "rival.example")
        assert await administration.note_proofs(1, {ref: True}, rig.by())
        assert rig.live.directory().sending_domains["rival.example"].is_proven

        await rig.apply(values)
        kept = rig.live.directory().sending_domains["rival.example"]
        assert kept.is_proven, "a key that is kept ready proves and disproves nothing"

        await rig.apply(turned)
        doubted = rig.live.directory().sending_domains["rival.example"]
        assert doubted.primary_key is not None
        assert doubted.primary_key.selector == "r2"
        assert not doubted.is_proven

    drive(node, test)


def test_a_proof_for_other_settings_is_not_stored(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        values = copy.deepcopy(node.setup)
        item(values, "credential", "crm")["daily_quota"] = 1
        await rig.apply(values)
        ref = domain_ref("rival", "rival.example")
        assert not await rig.administration.note_proofs(1, {ref: True}, rig.by())
        assert not rig.live.directory().sending_domains["rival.example"].is_proven

    drive(node, test)


def test_every_version_says_who_why_when_and_what(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        node.clock.advance(60)
        values = copy.deepcopy(node.setup)
        item(values, "credential", "crm")["daily_quota"] = 1
        await rig.apply(values)

        second, first = await rig.administration.versions()

        assert (first.version, first.author) == (1, "bootstrap")
        assert first.summary.startswith("added: allowed_network 127.0.0.0/8")
        assert second.summary == "changed: credential crm"
        assert (second.author, second.reason) == ("tester", "to see it")
        assert second.at == node.clock.now()
        full = await rig.administration.version(2)
        assert full is not None
        assert full.version == second
        assert full.changes == [
            {
                "action": "changed",
                "kind": "credential",
                "name": "crm",
                "fields": {"daily_quota": {"from": 5000, "to": 1}},
            }
        ]
        assert full.settings is not None
        exported = await rig.administration.document()
        assert {"base": 2, **full.settings} == exported
        assert await rig.administration.version(3) is None
        assert await rig.administration.versions(before=2, limit=5) == [first]

    drive(node, test)


def test_no_secret_is_in_the_log(node: NodeFolder, rsa_pem: bytes) -> None:
    async def test(rig: Rig) -> None:
        await rig.administration.rotate_credential("crm", b"\xab" * 32, rig.by())
        for number in (1, 2):
            text = repr(await rig.administration.version(number))
            assert "crm" in text
            for secret in (CANARY_SECRET, CANARY_PASSWORD, "abab", "PRIVATE"):
                assert secret not in text

    drive(node, test)


def test_an_export_fits_after_a_credential_with_a_throttle_was_revoked(
    node: NodeFolder,
) -> None:
    async def test(rig: Rig) -> None:
        assert any(each.name == "receipts" for each in rig.live.directory().throttles)
        await rig.administration.revoke_credential("crm", rig.by())
        assert all(each.name != "receipts" for each in rig.live.directory().throttles)
        exported = await rig.exported()
        assert (await rig.apply(exported)).changes == ()

    drive(node, test)
