"""``mailwright provider``: what operators and programs read of it."""

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mailwright.cli.provider import provider_app
from mailwright.reputation.provider_file import load_providers
from mailwright.sandbox.dns import NULL_MX, Fault, Records, SandboxDns

ZONES = {
    "gmail.com": Records(
        mx=((5, "gmail-smtp-in.l.google.com"), (10, "alt1.gmail-smtp-in.l.google.com"))
    ),
    "gmail-smtp-in.l.google.com": Records(addresses=("8.8.8.8",)),
    "alt1.gmail-smtp-in.l.google.com": Records(addresses=("1.1.1.1", "2606:4700::1")),
    "between.example": Records(mx=((5, "smtp.google.com"), (10, "mx.inside.example"))),
    "smtp.google.com": Records(addresses=("8.8.8.8",)),
    "mx.inside.example": Records(addresses=("10.0.0.1",)),
    "null.example": NULL_MX,
    "servfail.example": Records(fault=Fault.SERVFAIL),
}


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    """A name server on a thread of its own: the command runs a loop itself."""
    listening, over = threading.Event(), threading.Event()
    addresses = []

    async def serve() -> None:
        async with SandboxDns(ZONES) as dns:
            addresses.append(dns.address)
            listening.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert listening.wait(120)
    host, port = addresses[0]
    yield f"{host}:{port}"
    over.set()
    thread.join(120)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(provider_app, list(arguments))


def test_the_list_has_every_provider() -> None:
    names = {each.name for each in load_providers()}
    rows = json.loads(run("list", "--json").stdout)["providers"]
    assert {row["provider"] for row in rows} == names
    text = run("list").stdout
    assert all(name in text for name in names)


def test_a_provider_is_shown_with_the_origin_of_each_limit() -> None:
    shown = json.loads(run("show", "google", "--json").stdout)
    assert shown["mx"] == ["google.com", "googlemail.com"]
    limits = shown["limits"]
    assert limits["per_source.connections"]["value"] == 5
    assert limits["per_source.connections"]["origin"] == "profile google"
    assert "KumoMTA" in limits["per_source.connections"]["source"]
    assert limits["pipelining"]["origin"] == "profile default"
    assert limits["retry"]["origin"] == "the node's delivery.retry"
    text = run("show", "google").stdout
    assert "profile google" in text
    assert "5m, 15m, 30m, 1h, 2h, 4h" in text


def test_a_misspelled_provider_gets_a_hint() -> None:
    result = run("show", "goggle")
    assert result.exit_code == 1
    assert "did you mean google?" in result.stderr


def test_a_domain_is_resolved_to_site_hosts_and_provider(nameserver: str) -> None:
    result = run("resolve", "GMail.com", "--nameserver", nameserver, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["domain"], found["provider"]) == ("gmail.com", "google")
    assert found["site"].startswith("alt1.gmail-smtp-in.l.google.com+1~")
    assert [(mx["preference"], mx["host"]) for mx in found["mx"]] == [
        (5, "gmail-smtp-in.l.google.com"),
        (10, "alt1.gmail-smtp-in.l.google.com"),
    ]
    assert found["mx"][1]["addresses"] == [
        {"address": "1.1.1.1", "is_global": True},
        {"address": "2606:4700::1", "is_global": True},
    ]
    assert found["limits"]["messages_per_connection"]["value"] == 50


def test_a_domain_between_two_says_whose_limit_counts(nameserver: str) -> None:
    text = run("resolve", "between.example", "--nameserver", nameserver).stdout
    assert "provider: google (with the stricter limits of default)" in text
    assert "10.0.0.1 (not globally routable: refused)" in text
    assert "profile google" in text


@pytest.mark.parametrize(
    ("domain", "reply"),
    [
        ("null.example", "556 5.1.10"),
        ("gone.example", "550 5.1.2"),
        ("servfail.example", "451 4.4.3"),
    ],
)
def test_a_domain_without_a_site_shows_the_reply_its_mail_would_get(
    nameserver: str, domain: str, reply: str
) -> None:
    result = run("resolve", domain, "--nameserver", nameserver)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{domain}: {reply} ")
    result = run("resolve", domain, "--nameserver", nameserver, "--json")
    said = json.loads(result.stdout)["reply"]
    assert f"{said['code']} {said['enhanced']}" == reply


@pytest.mark.parametrize(
    "arguments",
    [
        ["localhost"],
        ["[192.0.2.1]"],
        ["x.example", "--nameserver", "resolver"],
        ["x.example", "--nameserver", "resolver.example:53"],
        ["x.example", "--nameserver", "192.0.2.1:dns"],
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: list[str]) -> None:
    result = run("resolve", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("no ")
