"""Sending domains are proven by DNS, lose their proof there, and keep it in its silence."""

import copy
from collections.abc import Awaitable, Callable

import pytest

from fakes.node_folder import NodeFolder
from fakes.resolver import FakeResolver
from mailwright.accounts.changes import Authorship
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.proving import PROVEN_EVERY, UNPROVEN_EVERY, Prover
from mailwright.accounts.secret_files import read_secret_files
from mailwright.accounts.settings.administration import Administration
from mailwright.config.setup import SetupFile
from mailwright.mta.dkim import records
from mailwright.store.store import Store

DOMAIN = "rival.example"
NAME = f"r1._domainkey.{DOMAIN}"


class Rig:
    """A database that is set up, DNS and a prover."""

    def __init__(self, node: NodeFolder, store: Store, live: LiveSettings) -> None:
        self.node = node
        self.live = live
        self.dns = FakeResolver()
        self.administration = Administration(store, live)
        self.prover = Prover(
            live, self.administration, lambda: self.dns, records, node.clock
        )

    @property
    def is_proven(self) -> bool:
        return self.live.directory().sending_domains[DOMAIN].is_proven

    def record(self, domain: str = DOMAIN, selector: str = "r1") -> bytes:
        found = self.live.directory().sending_domains[domain]
        key = self.live.keys.dkim_key(found.id, selector)
        assert key is not None
        return records.record_text(key.private_key).encode()

    async def look_after(self, minutes: float) -> bool:
        """Return whether the domain is proven when its turn has come."""
        self.node.clock.advance(minutes * 60)
        await self.prover.look_at_due()
        return self.is_proven

    async def authors(self) -> list[str]:
        return [each.author for each in await self.administration.versions()]


def drive(node: NodeFolder, test: Callable[[Rig], Awaitable[None]]) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        await test(Rig(node, store, live))

    node.drive_set_up(body)


UNPROVEN = UNPROVEN_EVERY.total_seconds() / 60
PROVEN = PROVEN_EVERY.total_seconds() / 60


def test_a_published_key_proves_its_domain_and_the_log_says_so(
    node: NodeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def test(rig: Rig) -> None:
        rig.dns.set_txt(NAME, rig.record())
        assert not rig.is_proven
        assert await rig.look_after(0)
        assert rig.dns.asked == [("TXT", NAME)], (
            "nobody asks about what an operator vouches for"
        )
        assert f"{DOMAIN} is proven" in caplog.text
        [version, _] = await rig.administration.versions()
        assert version.author == "node"
        assert version.summary == "proven: sending_domain rival/rival.example"

    drive(node, test)


def test_an_unproven_domain_is_looked_at_every_ten_minutes(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        assert not await rig.look_after(0)
        assert not await rig.look_after(UNPROVEN - 1)
        assert len(rig.dns.asked) == 1
        rig.dns.set_txt(NAME, rig.record())
        assert await rig.look_after(1)
        assert len(rig.dns.asked) == 2

    drive(node, test)


def test_a_proven_domain_is_looked_at_once_a_day(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        rig.dns.set_txt(NAME, rig.record())
        assert await rig.look_after(0)
        assert await rig.look_after(PROVEN - 1)
        assert len(rig.dns.asked) == 1
        assert await rig.look_after(1)
        assert len(rig.dns.asked) == 2

    drive(node, test)


def test_a_record_that_is_gone_twice_takes_the_proof(
    node: NodeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(rig: Rig) -> None:
        rig.dns.set_txt(NAME, rig.record())
        assert await rig.look_after(0)
        rig.dns.set_txt(NAME)
        assert await rig.look_after(PROVEN), "once may be a slip of the registrar"
        assert "looked at again" in caplog.text
        assert not await rig.look_after(UNPROVEN)
        assert "its mail is refused" in caplog.text
        assert await rig.authors() == ["node", "node", "bootstrap"]
        rig.dns.set_txt(NAME, rig.record())
        assert await rig.look_after(UNPROVEN)

    drive(node, test)


def test_a_record_that_comes_back_in_time_ends_the_doubt(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        rig.dns.set_txt(NAME, rig.record())
        assert await rig.look_after(0)
        for _ in range(2):
            rig.dns.set_txt(NAME)
            assert await rig.look_after(PROVEN)
            rig.dns.set_txt(NAME, rig.record())
            assert await rig.look_after(UNPROVEN)
        assert await rig.authors() == ["node", "bootstrap"]

    drive(node, test)


def test_silence_of_dns_changes_nothing(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        rig.dns.fail(NAME)
        assert not await rig.look_after(0)
        [report] = await rig.prover.check(DOMAIN)
        assert report.is_published is None
        assert "cannot be checked: the resolver said SERVFAIL" in report.finding
        fresh = FakeResolver()
        rig.prover = Prover(
            rig.live, rig.administration, lambda: fresh, records, rig.node.clock
        )
        fresh.set_txt(NAME, rig.record())
        assert await rig.look_after(UNPROVEN)
        fresh.fail(NAME)
        for _ in range(3):
            assert await rig.look_after(PROVEN)
        [report] = await rig.prover.check(DOMAIN)
        assert report.is_proven

    drive(node, test)


def test_another_key_in_dns_proves_nothing(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        rig.dns.set_txt(NAME, rig.record("example.com", "s2"))
        assert not await rig.look_after(0)
        [report] = await rig.prover.check(DOMAIN)
        assert "another key" in report.finding
        assert (report.record_name, report.record) == (NAME, rig.record().decode())

    drive(node, test)


def test_a_look_that_somebody_asked_for_acts_at_once(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        rig.dns.set_txt(NAME, rig.record())
        [report] = await rig.prover.check(DOMAIN)
        assert (report.is_proven, report.is_published) == (True, True)
        rig.dns.set_txt(NAME)
        [report] = await rig.prover.check(DOMAIN)
        assert (report.is_proven, report.is_published) == (False, False)
        assert not rig.is_proven
        assert await rig.prover.check("nobody.example") == []
        assert [each.domain for each in await rig.prover.check()] == [
            "example.com",
            DOMAIN,
        ]

    drive(node, test)


def test_an_operators_word_stands_whatever_dns_says(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        [report] = await rig.prover.check("example.com")
        assert (report.proof, report.is_proven) == ("operator", True)
        assert report.is_published is False
        assert report.record_name == "s1._domainkey.example.com"
        assert rig.live.directory().sending_domains["example.com"].is_proven

    drive(node, test)


def test_a_new_key_is_looked_at_as_soon_as_the_settings_say_so(
    node: NodeFolder,
) -> None:
    values = copy.deepcopy(node.setup)
    [_, rival] = values["sending_domain"]
    rival |= {"selector": "r2", "key_file": "s2.pem"}

    async def test(rig: Rig) -> None:
        rig.dns.set_txt(NAME, rig.record())
        assert await rig.look_after(0)
        setup = SetupFile.model_validate(values)
        secrets = read_secret_files(setup, node.folder)
        by = Authorship("tester", "", node.clock.now())
        await rig.administration.apply(setup, secrets, by)
        assert not rig.is_proven
        rig.dns.set_txt(f"r2._domainkey.{DOMAIN}", rig.record(selector="r2"))
        assert await rig.look_after(0)

    drive(node, test)


def test_a_domain_without_a_key_says_what_is_missing(node: NodeFolder) -> None:
    [_, rival] = node.setup["sending_domain"]
    for key in ("selector", "key_file"):
        del rival[key]

    async def test(rig: Rig) -> None:
        [report] = await rig.prover.check(DOMAIN)
        assert "no DKIM key" in report.finding
        assert not report.is_proven
        domain = rig.live.directory().sending_domains[DOMAIN]
        assert "has no DKIM key yet" in domain.why_unproven

    drive(node, test)
