"""The shipped providers: every real host finds its own, and no number lacks a source."""

from pathlib import Path

import pytest

from mailwright.reputation.provider import ProfileBook, load_profiles
from mailwright.reputation.provider_file import SHIPPED
from mailwright.reputation.provider_page import providers_page
from mailwright.resolver import MxRecord
from mailwright.site import Limits, Pipelining, TlsDemand

ROOT = Path(__file__).parents[3]
BOOK = load_profiles([300.0, 900.0])

#: (a domain, its MX hosts as seen in DNS, the provider)
SEEN = [
    ("gmail.com", "gmail-smtp-in.l.google.com alt1.gmail-smtp-in.l.google.com", "google"),
    ("workspace.test", "aspmx.l.google.com aspmx2.googlemail.com", "google"),
    ("workspace.test", "smtp.google.com", "google"),
    ("hotmail.com", "hotmail-com.olc.protection.outlook.com", "microsoft_consumer"),
    ("live.com", "live-com.olc.protection.outlook.com", "microsoft_consumer"),
    ("tenant.test", "tenant-test.mail.protection.outlook.com", "microsoft_business"),
    ("dane.test", "dane-test.o-v1.mx.microsoft", "microsoft_business"),
    ("yahoo.com", "mta5.am0.yahoodns.net mta7.am0.yahoodns.net", "yahoo"),
    ("aol.com", "mx-aol.mail.gm0.yahoodns.net", "yahoo"),
    ("yahoo.co.jp", "mx1.mail.yahoo.co.jp mx5.mail.yahoo.co.jp", "yahoo_japan"),
    ("icloud.com", "mx01.mail.icloud.com mx02.mail.icloud.com", "apple"),
    ("mail.ru", "mxs.mail.ru", "mailru"),
    ("vk-workspace.test", "emx.mail.ru", "mailru"),
    ("yandex.ru", "mx.yandex.ru", "yandex"),
    ("yandex360.test", "mx.yandex.net", "yandex"),
    ("rambler.ru", "inmx.rambler.ru", "rambler"),
    ("gmx.de", "mx00.gmx.net mx01.gmx.net", "gmx"),
    ("web.de", "mx-ha02.web.de mx-ha03.web.de", "gmx"),
    ("mail.com", "mx00.mail.com mx01.mail.com", "mailcom"),
    ("t-online.de", "mx00.t-online.de mx03.t-online.de", "tonline"),
    ("orange.fr", "smtp-in.orange.fr smtp-in2.orange.fr", "orange"),
    ("laposte.net", "smtpz4.laposte.net", "laposte"),
    ("comcast.net", "mx1.comcast.net mx2.comcast.net", "comcast"),
    # Comcast's mailboxes moved: who answers counts.
    ("comcast.net", "mx-comcast.mail.am0.yahoodns.net", "yahoo"),
    ("customer.test", "mxa-0001.gslb.pphosted.com mxb-0001.gslb.pphosted.com", "proofpoint"),
    ("customer.test", "mx1-us1.ppe-hosted.com mx2-us1.ppe-hosted.com", "proofpoint"),
    ("customer.test", "eu-smtp-inbound-1.mimecast.com", "mimecast"),
    ("customer.test", "za-smtp-inbound-1.mimecast.co.za", "mimecast"),
    ("customer.test", "je-smtp-inbound-1.mimecast-offshore.com", "mimecast"),
    ("customer.test", "d1.ess.barracudanetworks.com", "barracuda"),
    ("qq.com", "mx1.qq.com mx2.qq.com", "qq"),
    ("exmail.test", "mxbiz1.qq.com mxbiz2.qq.com", "qq"),
    ("163.com", "163mx00.mxmail.netease.com", "netease"),
    ("kpnmail.nl", "mx.kpnmail.nl", "kpn"),
    ("netvigator.com", "mx1.netvigator.com", "netvigator"),
    ("nobody.test", "mx.nobody.test", "default"),
    # None of these is who its name resembles.
    ("lookalike.test", "mx.notgoogle.com", "default"),
    ("lookalike.test", "google.com.lookalike.test", "default"),
    ("lookalike.test", "mx.hotmail.com", "default"),
    # A rehearsal's hosts tell nothing; the domain does.
    ("gmail.com", "mx.gmail.sandbox.test", "google"),
]  # fmt: skip


def records(hosts: str) -> list[MxRecord]:
    return [MxRecord(10 * n, host) for n, host in enumerate(hosts.split(), 1)]


@pytest.mark.parametrize(("domain", "hosts", "provider"), SEEN)
def test_real_hosts_find_their_provider(domain: str, hosts: str, provider: str) -> None:
    _, profile = BOOK.place(domain, records(hosts))
    assert profile.provider == provider


def test_every_provider_is_reached_by_a_real_host() -> None:
    assert {provider for _, _, provider in SEEN} == set(BOOK.providers)


@pytest.mark.parametrize("name", sorted(BOOK.providers))
def test_every_number_names_its_source(name: str) -> None:
    provider = BOOK.providers[name]
    for key in provider.says:
        assert len(provider.sources[key]) > 10, key
        assert BOOK.source_of(BOOK.resolved(name), key) == provider.sources[key]


@pytest.mark.parametrize(
    "name", ["mailru", "yandex", "rambler", "tonline", "proofpoint"]
)
def test_who_publishes_no_limit_inherits_every_one(name: str) -> None:
    assert BOOK.providers[name].says == {}
    inherited = BOOK.resolved("default").values
    assert BOOK.resolved(name).values == inherited


def test_files_are_called_as_their_providers() -> None:
    assert {path.stem for path in SHIPPED.glob("*.toml")} == set(BOOK.providers)


def test_the_default_is_whole() -> None:
    default = BOOK.default_profile()
    assert (default.provider, default.retry) == ("default", (300.0, 900.0))
    assert (default.connections, default.messages_per_connection) == (10, 100)
    assert default.pipelining is Pipelining.COMMANDS
    assert default.tls is TlsDemand.OPPORTUNISTIC
    assert default.per_source == default.overall == Limits()


def test_microsofts_two_systems_are_two_groups_and_each_tenant_a_site() -> None:
    hosts = ["hotmail-com.olc", "one.mail", "two.mail"]
    found = [
        BOOK.place("x.test", records(f"{host}.protection.outlook.com"))
        for host in hosts
    ]
    assert [profile.provider for _, profile in found] == [
        "microsoft_consumer",
        "microsoft_business",
        "microsoft_business",
    ]
    assert len({key for key, _ in found}) == 3
    assert found[0][1].overall == Limits(500)
    assert found[1][1].overall == Limits()


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs/reference/providers.md").read_text("utf-8")
    assert page == providers_page(BOOK), "run: make docs"


def test_the_page_says_what_is_inherited() -> None:
    page = providers_page(load_profiles([300.0]))
    assert "| [google](#google) | *10* | 5 |  | 50 | encrypted |" in page
    assert "No published limit; everything is inherited." in page


def fresh() -> ProfileBook:
    return load_profiles([300.0])


def test_an_operators_change_prevails_and_is_named() -> None:
    book = fresh()
    book.override({"google": {"per_source.connections": 50}, "nobody": {"tls": "none"}})
    _, profile = book.place("gmail.com", records("gmail-smtp-in.l.google.com"))
    assert profile.per_source.connections == 50
    assert profile.connections == 10
    assert book.resolved("google").origins["per_source.connections"] == (
        "operator's change to google"
    )
    assert book.source_of(book.resolved("google"), "per_source.connections") == ""
    book.override({})
    _, profile = book.place("gmail.com", records("gmail-smtp-in.l.google.com"))
    assert profile.per_source.connections == 5


def test_a_change_to_the_default_reaches_whoever_inherits() -> None:
    book = fresh()
    book.override(
        {"default": {"per_source_and_site.connections": 3, "overall.connections": 1}}
    )
    assert book.resolved("yandex").values["per_source_and_site.connections"] == 3
    assert book.resolved("comcast").values["per_source_and_site.connections"] == 25
    # What everyone else's sites take together is no limit of anybody.
    assert book.default_profile().connections == 3
    assert book.default_profile().overall == Limits()


def test_a_new_retry_ladder_reaches_every_profile() -> None:
    book = fresh()
    book.place("gmail.com", records("smtp.google.com"))
    book.apply([60.0, 120.0])
    for host in ("smtp.google.com", "mx.nobody.test"):
        assert book.place("x.test", records(host))[1].retry == (60.0, 120.0)


def test_a_domain_between_two_providers_is_its_own_site_under_the_stricter_limits() -> (
    None
):
    google, qq = "smtp.google.com", "mx1.qq.com"
    key, profile = BOOK.place("x.test", records(f"{google} {qq}"))
    assert profile.provider == "google"
    assert profile.messages_per_connection == 8
    assert profile.connections == 4
    assert profile.per_source.connections == 5
    other_key, other = BOOK.place("y.test", records(f"{qq} {google}"))
    assert other.provider == "qq"
    assert other.messages_per_connection == 8
    assert (
        len({key, other_key, *(BOOK.place("z", records(h))[0] for h in (google, qq))})
        == 4
    )
    placement = BOOK.explain("x.test", records(f"{google} {qq}"))
    assert placement.key == key
    assert placement.belonging.others == ("qq",)
    assert placement.resolved.origins["messages_per_connection"] == "profile qq"


def test_a_backup_of_its_own_puts_a_domain_under_the_defaults_limits_too() -> None:
    _, profile = BOOK.place("x.test", records("mx1.comcast.net mx.x.test"))
    assert (profile.provider, profile.connections) == ("comcast", 10)
    assert profile.messages_per_connection == 100


def test_a_provider_told_by_the_domain_alone_shares_no_site_with_others() -> None:
    hosts = records("mx.shared.test")
    assert BOOK.place("gmail.com", hosts)[0] == "mx.shared.test@google"
    assert BOOK.place("other.test", hosts)[0] == "mx.shared.test"
