"""Retiring and revoking DKIM keys: what signs afterwards, and what cannot be asked."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from fakes.node_folder import NodeFolder
from mailwright.accounts.changes import Authorship
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.loading import load_version
from mailwright.accounts.secret_files import read_secret_files
from mailwright.accounts.settings.administration import Administration, UnfitError
from mailwright.accounts.settings.signing import KeyEnd, KeyEndError
from mailwright.config.setup import SetupFile
from mailwright.store.store import Store


class Rig:
    def __init__(self, node: NodeFolder, store: Store, live: LiveSettings) -> None:
        self.node = node
        self.store = store
        self.live = live
        self.administration = Administration(store, live)

    async def end(self, **how: Any) -> None:
        self.node.clock.advance(60)
        by = Authorship("tester", "leaked", self.node.clock.now())
        values = {"domain": "example.com", "is_revoked": False} | how
        await self.administration.end_signing_key(KeyEnd(**values), by)

    async def apply(self, values: dict[str, Any]) -> None:
        setup = SetupFile.model_validate(values)
        by = Authorship("tester", "", self.node.clock.now())
        secrets = read_secret_files(setup, self.node.folder)
        await self.administration.apply(setup, secrets, by)

    def signing(self, selector: str) -> tuple[list[str], str] | str:
        """Return what signs mail that was accepted with a selector, and the note."""
        domain = self.live.directory().sending_domains["example.com"]
        at = self.node.clock.now() - timedelta(minutes=5)
        keys = self.live.keys.keys_for(domain.id, selector, at)
        if isinstance(keys, str):
            return keys
        return [each.selector for each in keys.keys], keys.note

    def primary(self) -> str | None:
        key = self.live.directory().sending_domains["example.com"].primary_key
        return None if key is None else key.selector


def drive(node: NodeFolder, test: Any) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        await test(Rig(node, store, live))

    node.drive_set_up(body)


def test_a_retired_key_signs_what_waits_and_another_what_comes(
    node: NodeFolder,
) -> None:
    async def test(rig: Rig) -> None:
        await rig.end(selector="s1", replacement="s2")
        assert rig.primary() == "s2"
        assert rig.signing("s1") == (["s1"], "")
        assert rig.signing("s2") == (["s2"], "")
        [latest, _] = await rig.administration.versions()
        assert latest.summary == (
            "changed: dkim_key acme/example.com/s2; "
            "retired: dkim_key acme/example.com/s1"
        )
        assert (latest.author, latest.reason) == ("tester", "leaked")

    drive(node, test)


def test_a_revoked_key_signs_nothing_and_another_takes_its_place(
    node: NodeFolder,
) -> None:
    async def test(rig: Rig) -> None:
        await rig.end(selector="s1", replacement="s2", is_revoked=True)
        assert rig.primary() == "s2"
        note = "signed with s2: the DKIM key s1 of example.com was revoked"
        assert rig.signing("s1") == (["s2"], note)
        version = await rig.administration.version(2)
        assert version is not None
        assert {each["action"] for each in version.changes} == {"changed", "revoked"}

        # For good: the file of before cannot bring it back.
        with pytest.raises(UnfitError, match="signs nothing again"):
            await rig.apply(node.setup)
        exported = await rig.administration.document()
        assert "s1" not in str(exported["sending_domain"][0])

    drive(node, test)


def test_what_is_retired_can_be_revoked_as_well(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        await rig.end(selector="s1", replacement="s2")
        await rig.end(selector="s1", is_revoked=True)
        signed = rig.signing("s1")
        assert signed[0] == ["s2"], "and not by the retired one, which is primary too"

        with pytest.raises(KeyEndError, match="there are: s2"):
            await rig.end(selector="s1", is_revoked=True)

    drive(node, test)


def test_without_another_key_mail_waits_and_says_why(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        await rig.end(selector="s2")
        with pytest.raises(KeyEndError, match="name the key that takes its place"):
            await rig.end(selector="s1", is_revoked=True)
        await rig.end(selector="s1", is_revoked=True, may_leave_none=True)
        assert rig.primary() is None
        assert rig.signing("s1") == "the DKIM key s1 of example.com was revoked"

    drive(node, test)


def test_a_domain_that_dns_proves_has_to_be_proven_by_its_new_key(
    node: NodeFolder,
) -> None:
    values = copy.deepcopy(node.setup)
    values["sending_domain"][0]["proof"] = "dns"
    node.setup = values

    async def test(rig: Rig) -> None:
        await _prove(rig)
        assert rig.live.directory().sending_domains["example.com"].is_proven
        await rig.end(selector="s2", is_revoked=True)
        assert rig.live.directory().sending_domains["example.com"].is_proven
        await rig.apply(_with_third(values))
        await rig.end(selector="s1", replacement="s3", is_revoked=True)
        assert not rig.live.directory().sending_domains["example.com"].is_proven

    drive(node, test)


async def _prove(rig: Rig) -> None:
    from mailwright.accounts.settings.records import domain_ref

    by = Authorship("prover", "", rig.node.clock.now())
    assert await rig.administration.note_proofs(
        await load_version(rig.store), {domain_ref("acme", "example.com"): True}, by
    )


def _with_third(values: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    third = {"selector": "s3", "key_file": "s1.pem", "signs": True}
    changed["sending_domain"][0]["extra_keys"] = [third]
    return changed


@pytest.mark.parametrize(
    ("how", "field", "text"),
    [
        ({"selector": "s9"}, "selector", "has no key s9 in force; there are: s1, s2"),
        (
            {"selector": "s1", "domain": "other.example"},
            "selector",
            "there are: none",
        ),
        ({"selector": "s1"}, "replacement", "There are: s2"),
        (
            {"selector": "s1", "replacement": "s1"},
            "replacement",
            "no other key s1",
        ),
        (
            {"selector": "s2", "replacement": "s1"},
            "replacement",
            "does not sign now",
        ),
    ],
)
def test_what_cannot_be_asked_changes_nothing(
    node: NodeFolder, how: dict[str, Any], field: str, text: str
) -> None:
    async def test(rig: Rig) -> None:
        with pytest.raises(KeyEndError, match=text) as refused:
            await rig.end(**how)
        assert refused.value.field == field
        assert await load_version(rig.store) == 1

    drive(node, test)
