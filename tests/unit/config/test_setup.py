"""The setup file: each table is right, and every reference leads somewhere."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mailwright.accounts.directory import Proof, Scope, StreamClass
from mailwright.config.loading import validate
from mailwright.config.problems import Problem, SettingsError
from mailwright.config.setup import SetupFile
from mailwright.config.setup_accounts import ScopeName, StreamKind
from mailwright.config.setup_domains import ProofKind
from mailwright.config.toml import format_settings
from mailwright.config.units import HostPort

PATH = Path("/etc/mailwright/setup.toml")
SHA256 = hashlib.sha256(b"hunter2").hexdigest()


def tables(**changed: Any) -> dict[str, Any]:
    """Return a right setup file, with some tables replaced."""
    return {
        "tenant": [{"name": "acme"}, {"name": "globex"}],
        "source": [{"name": "ip1", "ehlo_name": "mta1.example.com"}],
        "pool": [{"name": "main", "sources": {"ip1": 1}}],
        "stream": [
            {"tenant": "acme", "name": "news", "class": "bulk", "pool": "main"},
            {
                "tenant": "globex",
                "name": "offers",
                "class": "transactional",
                "pool": "main",
            },
        ],
        "credential": [{"tenant": "acme", "name": "crm", "stream": "news"}],
        "sending_domain": [{"tenant": "acme", "domain": "example.com"}],
        "route": [{"domain": "*", "next_hop": "127.0.0.1:2525"}],
        **changed,
    }


def setup(**changed: Any) -> SetupFile:
    return validate(SetupFile, tables(**changed), PATH)


def problems(**changed: Any) -> dict[str, Problem]:
    with pytest.raises(SettingsError) as caught:
        setup(**changed)
    return {each.key: each for each in caught.value.problems}


def test_what_is_left_out_has_sane_defaults() -> None:
    found = setup()
    assert found.source[0].address == ""
    assert found.credential[0].scopes == {"send", "control", "read"}
    assert found.credential[0].secret_hash is None
    assert found.sending_domain[0].return_path_domain == "bounce.example.com"
    assert found.sending_domain[0].proof == "dns"
    assert found.route[0].next_hop == HostPort("127.0.0.1", 2525)
    assert found.route[0].tls == "opportunistic"
    assert found.route[0].pipelining == "commands"


def test_an_empty_file_sets_nothing_up() -> None:
    assert validate(SetupFile, {}, PATH) == SetupFile()


def test_domains_are_canonical() -> None:
    found = setup(
        sending_domain=[{"tenant": "acme", "domain": "Почта.РФ"}],
        route=[{"domain": "EXAMPLE.net", "next_hop": "h:25"}],
    )
    assert found.sending_domain[0].domain == "xn--80a1acny.xn--p1ai"
    expected = "bounce.xn--80a1acny.xn--p1ai"
    assert found.sending_domain[0].return_path_domain == expected
    assert found.route[0].domain == "example.net"


def test_addresses_are_canonical() -> None:
    source = {"name": "ip1", "address": "2001:DB8:0::1", "ehlo_name": "a.example.com"}
    assert setup(source=[source]).source[0].address == "2001:db8::1"


def test_files_start_at_the_folder_of_the_setup_file() -> None:
    domain = {"tenant": "acme", "domain": "a.example", "selector": "s1"}
    found = setup(sending_domain=[{**domain, "key_file": "keys/a.pem"}])
    assert found.sending_domain[0].key_file == Path("/etc/mailwright/keys/a.pem")


def test_the_words_are_those_of_the_accounts() -> None:
    assert {each.value for each in ScopeName} == {each.value for each in Scope}
    assert {each.value for each in ProofKind} == {each.value for each in Proof}
    assert {each.name for each in StreamKind} == {each.name for each in StreamClass}


def stream(**keys: Any) -> list[dict[str, Any]]:
    return [{**tables()["stream"][0], **keys}, tables()["stream"][1]]


def credential(**keys: Any) -> list[dict[str, Any]]:
    return [{**tables()["credential"][0], **keys}]


def domain(**keys: Any) -> list[dict[str, Any]]:
    return [{**tables()["sending_domain"][0], **keys}]


def route(**keys: Any) -> list[dict[str, Any]]:
    return [{**tables()["route"][0], **keys}]


def source(**keys: Any) -> list[dict[str, Any]]:
    return [{**tables()["source"][0], **keys}]


def pool(**keys: Any) -> list[dict[str, Any]]:
    return [{**tables()["pool"][0], **keys}]


DKIM = {"selector": "s1", "key_file": "k"}
LOGIN = {"login": "me", "password_file": "p"}


@pytest.mark.parametrize(
    ("changed", "key", "what", "remedy"),
    [
        # a table on its own
        ({"source": source(address="host")}, "source[0].address", "not an IP", "192."),
        ({"source": source(address="::")}, "source[0].address", "send", "one"),
        ({"source": source(address="224.0.0.1")}, "source[0].address", "send", "one"),
        ({"source": source(ehlo_name="x")}, "source[0].ehlo_name", "domain", "full"),
        ({"pool": pool(sources={})}, "pool[0].sources", "at least 1", "ip1 = 1"),
        ({"pool": pool(sources={"ip1": 0})}, "pool[0].sources.ip1", "0 is not", "1 to"),
        ({"pool": pool(sources={"ip1": "1"})}, "pool[0].sources.ip1", "number", "ip1"),
        ({"pool": pool(sources={"I P": 1})}, 'pool[0].sources."I P"', "name", "a–z"),
        (
            {"stream": stream(**{"class": "bulky"})},
            "stream[0].class",
            '"bulk"',
            "class",
        ),
        ({"credential": credential(scopes=[])}, "credential[0].scopes", "least 1", "["),
        (
            {"credential": credential(scopes=["send", "admin"])},
            "credential[0].scopes[1]",
            '"manage"',
            "scopes = [",
        ),
        (
            {"credential": credential(sha256="hunter2")},
            "credential[0].sha256",
            "not a SHA-256",
            "not the secret itself",
        ),
        (
            {"credential": credential(sha256=SHA256, secret_file="s")},
            "credential[0].secret_file",
            "beside sha256",
            "keep one",
        ),
        (
            {"credential": credential(daily_quota=0)},
            "credential[0].daily_quota",
            "at least 1",
            "100000",
        ),
        (
            {"sending_domain": domain(domain="com")},
            "sending_domain[0].domain",
            "two labels",
            "example.com",
        ),
        (
            {"sending_domain": domain(selector="s1")},
            "sending_domain[0].key_file",
            "required with selector",
            "both or neither",
        ),
        (
            {"sending_domain": domain(key_file="k")},
            "sending_domain[0].selector",
            "required with key_file",
            "both or neither",
        ),
        (
            {"sending_domain": domain(**{**DKIM, "selector": "S_1."})},
            "sending_domain[0].selector",
            "not a DKIM selector",
            '"s1"',
        ),
        (
            {"sending_domain": domain(**DKIM, extra_keys=[DKIM])},
            "sending_domain[0].extra_keys[0].selector",
            "used twice",
            "its own",
        ),
        (
            {"sending_domain": domain(proof="faith")},
            "sending_domain[0].proof",
            '"dns" or "operator"',
            "proof",
        ),
        ({"route": route(domain="*.com")}, "route[0].domain", "not a domain", "full"),
        ({"route": route(next_hop="h:0")}, "route[0].next_hop", "port 0", "port"),
        ({"route": route(next_hop="h")}, "route[0].next_hop", "no port", "host:port"),
        (
            {"route": route(tls="required", login="me")},
            "route[0].password_file",
            "required with login",
            "both",
        ),
        (
            {"route": route(password_file="p")},
            "route[0].login",
            "required with password_file",
            "both",
        ),
        ({"route": route(**LOGIN)}, "route[0].tls", "in clear", '"required"'),
        ({"allowed_networks": ["x"]}, "allowed_networks[0]", "not a network", "192."),
        ({"allowed_networks": ["fe80::%\n/64"]}, "allowed_networks[0]", "network", ""),
        # named twice
        (
            {"tenant": [*tables()["tenant"], {"name": "acme"}]},
            "tenant[2].name",
            "[0]",
            "",
        ),
        ({"source": source() * 2}, "source[1].name", "the same as in source[0]", ""),
        ({"pool": pool() * 2}, "pool[1].name", "the same as in pool[0]", ""),
        ({"stream": stream() + stream()[:1]}, "stream[2].name", "stream[0]", "another"),
        ({"credential": credential() * 2}, "credential[1].name", "credential[0]", ""),
        ({"route": route() * 2}, "route[1].domain", "the same as in route[0]", ""),
        (
            {"sending_domain": [*domain(), *domain(domain="EXAMPLE.com")]},
            "sending_domain[1].domain",
            "the same as in sending_domain[0]",
            "remove one",
        ),
        (
            {
                "source": [
                    *source(address="::1"),
                    *source(name="ip2", address="0:0::1"),
                ]
            },
            "source[1].address",
            "the same as in source[0]",
            "",
        ),
        # referred to and not there
        ({"stream": stream(tenant="acne")}, "stream[0].tenant", '"acne"', "mean acme?"),
        ({"stream": stream(pool="maim")}, "stream[0].pool", '"maim"', "mean main?"),
        (
            {"pool": pool(sources={"ip2": 1})},
            "pool[0].sources.ip2",
            'no source "ip2"',
            "mean ip1?",
        ),
        ({"pool": pool(overflow="x")}, "pool[0].overflow", 'no pool "x"', "[[pool]]"),
        (
            {"sending_domain": domain(tenant="zzz")},
            "sending_domain[0].tenant",
            'no tenant "zzz"',
            "define it in [[tenant]]",
        ),
        (
            {"credential": credential(stream="newz")},
            "credential[0].stream",
            'no stream "newz" of tenant acme',
            "did you mean news?",
        ),
        # there, and wrong
        (
            {"credential": credential(stream="offers")},
            "credential[0].stream",
            'no stream "offers" of tenant acme',
            "",
        ),
        ({"pool": pool(overflow="main")}, "pool[0].overflow", "in a circle", "none"),
        (
            {
                "sending_domain": [
                    *domain(return_path_domain="b.example"),
                    {
                        "tenant": "globex",
                        "domain": "c.example",
                        "return_path_domain": "b.example",
                    },
                ]
            },
            "sending_domain[1].return_path_domain",
            "used by tenant acme",
            "its own",
        ),
    ],
)
def test_a_wrong_table_is_named_with_what_to_do(
    changed: dict[str, Any], key: str, what: str, remedy: str
) -> None:
    found = problems(**changed)
    assert key in found
    assert what in found[key].what
    assert remedy in found[key].remedy


def test_each_pool_of_a_circle_is_named_and_no_other() -> None:
    pools = [
        {"name": "main", "sources": {"ip1": 1}, "overflow": "b"},
        {"name": "b", "sources": {"ip1": 1}, "overflow": "c"},
        {"name": "c", "sources": {"ip1": 1}, "overflow": "b"},
    ]
    assert list(problems(pool=pools)) == ["pool[1].overflow", "pool[2].overflow"]


def test_streams_of_two_tenants_may_share_a_name() -> None:
    both = stream()
    both[1]["name"] = "news"
    assert len(setup(stream=both).stream) == 2


def test_sources_without_an_address_are_not_the_same() -> None:
    assert len(setup(source=[*source(), *source(name="ip2")]).source) == 2


def test_domains_of_one_tenant_may_share_a_return_path_domain() -> None:
    shared = {"return_path_domain": "b.example.com"}
    found = setup(sending_domain=[*domain(**shared), *domain(domain="b.c", **shared)])
    assert len(found.sending_domain) == 2


def test_a_derived_domain_is_not_blamed_for_the_one_it_follows_from() -> None:
    assert list(problems(sending_domain=domain(domain="?"))) == [
        "sending_domain[0].domain"
    ]


def test_a_hash_is_usable_and_never_printed() -> None:
    found = setup(credential=credential(sha256=SHA256))
    assert found.credential[0].secret_hash == hashlib.sha256(b"hunter2").digest()
    for text in (
        repr(found),
        str(found),
        found.model_dump_json(),
        format_settings(found),
    ):
        assert SHA256 not in text


@pytest.mark.parametrize(
    "changed",
    [
        {"credential": credential(sha256="hunter2")},
        {"credential": credential(secret="hunter2")},
        {"credential": credential(daily_quota="hunter2")},
        {"route": route(password="hunter2")},
        {"route": route(password_file=["hunter2"])},
        {"route": route(tls="hunter2")},
    ],
)
def test_a_secret_at_the_wrong_key_is_not_repeated(changed: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        setup(**changed)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.problems)


def test_a_throttle_is_known_by_its_name_or_by_what_it_counts() -> None:
    found = setup(
        throttle=[
            {"name": "all", "limit": "1/s"},
            {"limit": "5000/h burst 50", "per": ["provider", "source"]},
            {"limit": "20/min", "per": ["stream", "tenant"], "tenant": "acme"},
            {"limit": "9/day", "domain": "BÜCHER.example"},
            {"limit": "9/s"},
        ]
    )
    assert [each.title for each in found.throttle] == [
        "all",
        "per hour: each source, each provider",
        "per minute: tenant acme, each stream",
        "per day: domain xn--bcher-kva.example",
        "per second: all mail",
    ]
    assert [each.limit for each in found.throttle][1] == "5000/h burst 50"


@pytest.mark.parametrize(
    ("throttles", "key", "what"),
    [
        ([{"limit": "0/day"}], "throttle[0].limit", "lets nothing through"),
        ([{"limit": "9/week"}], "throttle[0].limit", "is not a limit"),
        ([{"limit": "9/day burst 3"}], "throttle[0].limit", "is not a limit"),
        ([{}], "throttle[0].limit", "required"),
        ([{"limit": "9/s", "per": ["colour"]}], "throttle[0].per[0]", ""),
        ([{"limit": "9/s", "campaign": "x"}], "throttle[0].campaign", ""),
        (
            [{"limit": "9/s", "stream": "news"}],
            "throttle[0].tenant",
            "is required with stream",
        ),
        (
            [{"limit": "9/s", "tenant": "globex", "stream": "news"}],
            "throttle[0].stream",
            'there is no stream "news" of tenant globex',
        ),
        (
            [{"limit": "9/s", "credential": "crn"}],
            "throttle[0].credential",
            'there is no credential "crn"',
        ),
        (
            [{"limit": "9/s", "per": ["source"]}, {"limit": "7/s", "per": ["source"]}],
            "throttle[1].name",
            "is the same as in throttle[0]",
        ),
        (
            [{"name": "a", "limit": "9/s"}, {"name": "a", "limit": "9/h"}],
            "throttle[1].name",
            "is the same as in throttle[0]",
        ),
    ],
)
def test_a_wrong_throttle_names_its_key(
    throttles: list[dict[str, Any]], key: str, what: str
) -> None:
    found = problems(throttle=throttles)
    assert key in found
    assert what in found[key].what


def test_rates_of_one_scope_in_several_units_go_together() -> None:
    found = setup(throttle=[{"limit": "9/s"}, {"limit": "900/h"}, {"limit": "9/day"}])
    assert len(found.throttle) == 3


@pytest.mark.parametrize(
    ("provider", "key", "what"),
    [
        (
            {"name": "default", "overall": {"connections": 3}},
            "provider[0].overall",
            "means nothing for everyone else",
        ),
        ({"name": "google", "retry": ["10ms"]}, "provider[0].retry[0]", "hammers"),
        (
            {"name": "google", "per_source": {"throttles": ["9/day"]}},
            "provider[0].per_source.throttles[0]",
            "is not a rate",
        ),
        ({"name": "google", "mx": ["a.example"]}, "provider[0].mx", ""),
    ],
)
def test_a_wrong_change_to_a_profile_names_its_key(
    provider: dict[str, Any], key: str, what: str
) -> None:
    found = problems(provider=[provider])
    assert key in found
    assert what in found[key].what
