"""The node file: what is wrong is named by its key, with what to do."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailwright.config.loading import validate
from mailwright.config.node import NodeSettings
from mailwright.config.problems import Problem, SettingsError

PATH = Path("/etc/mailwright/node.toml")
LEAST = {"name": "mta1", "hostname": "mta1.example.com"}
FILES = {"certificate_file": "c.pem", "key_file": "k.pem"}


def node(**keys: Any) -> NodeSettings:
    return validate(NodeSettings, {**LEAST, **keys}, PATH)


def problems(**keys: Any) -> dict[str, Problem]:
    with pytest.raises(SettingsError) as caught:
        node(**keys)
    return {each.key: each for each in caught.value.problems}


def test_name_and_hostname_are_all_that_a_node_must_say() -> None:
    settings = node()
    assert settings.state_dir == Path("/var/lib/mailwright")
    assert settings.node_key_file == Path("/var/lib/mailwright/node.key")
    assert settings.limits.max_message == 25_000_000
    assert settings.delivery.retry[0] == timedelta(minutes=5)
    assert settings.smtp == ()


def test_paths_start_at_the_folder_of_the_file() -> None:
    settings = node(state_dir="state", bootstrap="../setup.toml")
    assert settings.state_dir == Path("/etc/mailwright/state")
    assert settings.node_key_file == Path("/etc/mailwright/state/node.key")
    assert settings.bootstrap == Path("/etc/mailwright/../setup.toml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        node().limits.errors = 99


@pytest.mark.parametrize(
    ("keys", "key", "what", "remedy"),
    [
        ({"name": "MTA 1"}, "name", "not a name", "a–z"),
        ({"name": 5}, "name", "must be a text", 'name = "mta1"'),
        ({"hostname": "mta1"}, "hostname", "two labels", "full name"),
        ({"hostname": "a_b.example.com"}, "hostname", "underscore", "hyphens"),
        ({"state_dir": ""}, "state_dir", "no path", "leave the key out"),
        ({"state_dir": "a\0b"}, "state_dir", "no path", "name a file"),
        ({"state_dir": ["x"]}, "state_dir", "must be a path", "state_dir ="),
        ({"smtp": {"listen": "x"}}, "smtp", "must be a list", "reference"),
        ({"limits": 5}, "limits", "must be a table", "reference"),
        ({"limits": {"patience": 60}}, "limits.patience", "unit", '"90s"'),
        ({"limits": {"patience": "60"}}, "limits.patience", "not a duration", '"90s"'),
        ({"limits": {"patience": "1h"}}, "limits.patience", 'at most "10m"', "60s"),
        ({"limits": {"max_message": "25 megs"}}, "limits.max_message", "size", "25MB"),
        ({"limits": {"max_message": True}}, "limits.max_message", "size", "25MB"),
        ({"limits": {"max_message": 10}}, "limits.max_message", 'least "64KB"', "25MB"),
        ({"limits": {"errors": True}}, "limits.errors", "whole number", "errors = 10"),
        ({"limits": {"errors": "9"}}, "limits.errors", "whole number", "errors = 10"),
        ({"limits": {"errors": 0}}, "limits.errors", "at least 1", "errors = 10"),
        (
            {"limits": {"connections_per_ip": 501}},
            "limits.connections_per_ip",
            "more than connections (500)",
            "raise connections",
        ),
        (
            {"limits": {"max_message": "64KB"}},
            "limits.max_header",
            "more than max_message",
            "raise max_message",
        ),
        (
            {"limits": {"max_message": "65MB"}},
            "limits.bodies_in_memory",
            "never be taken",
            "lower max_message",
        ),
        ({"delivery": {"retry": []}}, "delivery.retry", "at least 1", "retry = ["),
        (
            {"delivery": {"retry": ["5m", "1ms"]}},
            "delivery.retry[1]",
            "hammers",
            '"1s"',
        ),
        (
            {"delivery": {"timeouts": {"dot": "0s"}}},
            "delivery.timeouts.dot",
            'at least "1s"',
            '"10m"',
        ),
        ({"dns": {"nameservers": ["ns1"]}}, "dns.nameservers[0]", "IP address", "192."),
        (
            {"dns": {"nameservers": ["fe80::1%\n"]}},
            "dns.nameservers[0]",
            "not an IP",
            "",
        ),
        ({"dns": {"port": 70_000}}, "dns.port", "at most 65535", "port = 53"),
        ({"log": {"level": "loud"}}, "log.level", '"debug", "info"', '"info"'),
        ({"retention": {"events": "1h"}}, "retention.events", 'least "1d"', "30d"),
        ({"http": {"listen": 8025}}, "http.listen", "must be a text", "quotes"),
        ({"http": {"listen": "8025"}}, "http.listen", "no port", "127.0.0.1:25"),
        ({"http": {"listen": "0.0.0.0:0"}}, "http.listen", "port 0", "name the port"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_do(
    keys: dict[str, Any], key: str, what: str, remedy: str
) -> None:
    found = problems(**keys)
    assert list(found) == [key]
    assert what in found[key].what
    assert remedy in found[key].remedy
    assert found[key].file == PATH


def test_a_missing_key_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        validate(NodeSettings, {}, PATH)
    assert [(each.key, each.what) for each in caught.value.problems] == [
        ("name", "is required"),
        ("hostname", "is required"),
    ]


def test_all_problems_are_reported_at_once() -> None:
    found = problems(name="?", limits={"errors": 0, "patience": 1}, nonsense=1)
    assert set(found) == {"name", "limits.errors", "limits.patience", "nonsense"}


@pytest.mark.parametrize(
    ("keys", "key", "remedy"),
    [
        ({"hostnam": 1}, "hostnam", "did you mean hostname?"),
        ({"limits": {"max_mesage": 1}}, "limits.max_mesage", "mean max_message?"),
        (
            {"delivery": {"timeouts": {"baner": 1}}},
            "delivery.timeouts.baner",
            "did you mean banner?",
        ),
        ({"smtp": [{"listn": 1}]}, "smtp[0].listn", "did you mean listen?"),
        ({"max_recipients": 5}, "max_recipients", "belongs in limits.max_recipients"),
        ({"log": {"zzz": 1}}, "log.zzz", "known here: level, format"),
        ({"a\n\x1b[2J": 1}, '"a\\n\\u001b[2J"', "known here"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(
    keys: dict[str, Any], key: str, remedy: str
) -> None:
    found = problems(**keys)
    assert found[key].what == "is not a known key"
    assert remedy in found[key].remedy


def test_an_unknown_keys_value_is_never_shown() -> None:
    found = problems(password="hunter2", log={"passwd": "hunter2"})
    assert "hunter2" not in str(found)


# --- doors


@pytest.mark.parametrize(
    ("listener", "has_auth"),
    [
        ({"listen": "0.0.0.0:587", **FILES}, True),
        ({"listen": "0.0.0.0:465", "tls": "implicit", **FILES}, True),
        ({"listen": "127.0.0.1:2525", "tls": "none"}, True),
        (
            {
                "listen": "10.0.0.1:25",
                "tls": "none",
                "networks": ["10.0.0.0/24", "fd00::/16", "192.0.2.1"],
                "credential": "crm",
            },
            False,
        ),
        (
            {
                "listen": "127.0.0.1:25",
                "tls": "none",
                "networks": ["127.0.0.0/8"],
                "credential": "crm",
            },
            False,
        ),
        (
            {
                "listen": "0.0.0.0:587",
                "networks": ["10.0.0.0/24"],
                "credential": "crm",
                **FILES,
            },
            True,
        ),
    ],
)
def test_a_listener_offers_auth_under_tls_or_on_loopback(
    listener: dict[str, Any], has_auth: bool
) -> None:
    assert node(smtp=[listener]).smtp[0].has_auth is has_auth


@pytest.mark.parametrize(
    ("listener", "key", "what"),
    [
        ({"tls": "none"}, "smtp[0].tls", "in clear"),
        ({"key_file": "k"}, "smtp[0].certificate_file", 'with tls = "starttls"'),
        ({"certificate_file": "k"}, "smtp[0].key_file", 'with tls = "starttls"'),
        (
            {
                "tls": "none",
                "networks": ["10.0.0.0/8"],
                "credential": "crm",
                "key_file": "k",
            },
            "smtp[0].key_file",
            'although tls = "none"',
        ),
        ({"networks": ["10.0.0.0/8"], **FILES}, "smtp[0].credential", "with networks"),
        ({"credential": "crm", **FILES}, "smtp[0].networks", "with credential"),
        (
            {"networks": ["0.0.0.0/0"], "credential": "crm", **FILES},
            "smtp[0].networks[0]",
            "strangers",
        ),
        (
            {"networks": ["10.0.0.0/8", "::/0"], "credential": "crm", **FILES},
            "smtp[0].networks[1]",
            "strangers",
        ),
        (
            {"networks": ["10.0.0.1/8"], "credential": "crm", **FILES},
            "smtp[0].networks[0]",
            "outside its prefix",
        ),
        (
            {"networks": ["crm-host"], "credential": "crm", **FILES},
            "smtp[0].networks[0]",
            "not a network",
        ),
    ],
)
def test_a_listener_that_would_be_unsafe_is_refused(
    listener: dict[str, Any], key: str, what: str
) -> None:
    found = problems(smtp=[{"listen": "0.0.0.0:25", **listener}])
    assert list(found) == [key]
    assert what in found[key].what


def test_a_listener_in_clear_is_told_every_way_out() -> None:
    remedy = problems(smtp=[{"listen": "[::]:25", "tls": "none"}])["smtp[0].tls"].remedy
    for way in ("starttls", "certificate_file", "127.0.0.1", "networks", "credential"):
        assert way in remedy


def test_two_doors_cannot_share_an_address_and_port() -> None:
    door = {"listen": "127.0.0.1:8025", "tls": "none"}
    found = problems(smtp=[door, door])
    assert list(found) == ["smtp[1].listen", "http.listen"]


def test_loopback_doors_may_leave_the_port_to_the_system() -> None:
    door = {"listen": "127.0.0.1:0", "tls": "none"}
    assert len(node(smtp=[door, door], http={"listen": "127.0.0.1:0"}).smtp) == 2


def test_a_listener_greets_with_its_own_name_or_the_nodes() -> None:
    door = {"listen": "127.0.0.1:0", "tls": "none"}
    settings = node(smtp=[door, {**door, "hostname": "SMTP.example.com"}])
    names = [settings.greeting_name(each) for each in settings.smtp]
    assert names == ["mta1.example.com", "smtp.example.com"]
