import asyncio
import json
import re
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mailwright.cli.main import command_line
from mailwright.sandbox.dns import Fault, Records, SandboxDns

app = command_line()

NAME = "s1._domainkey.example.com"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["dkim", *map(str, arguments)])


def generate(path: Path, *more: str) -> Result:
    return run(
        "generate", "--domain", "Example.com", "--selector", "s1", "--out", path, *more
    )


def on(key: Path, *more: str) -> list[object]:
    return ["--key", key, "--domain", "example.com", "--selector", "s1", *more]


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    assert generate(path).exit_code == 0
    return path


@pytest.fixture(scope="module")
def record(key):
    return json.loads(run("record", *on(key, "--json")).stdout)["record"]


def test_a_key_is_made_for_its_owner_and_its_record_printed(tmp_path):
    path = tmp_path / "key.pem"
    result = generate(path)
    assert result.exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"{NAME}. IN TXT" in result.stdout
    assert "PRIVATE" not in result.stdout


def test_an_ed25519_key_is_made_on_demand(tmp_path):
    path = tmp_path / "key.pem"
    made = json.loads(generate(path, "--ed25519", "--json").stdout)
    assert made["algorithm"] == "ed25519-sha256"
    assert made["name"] == NAME
    assert made["record"].startswith("v=DKIM1; k=ed25519; p=")
    assert made["key_file"] == str(path)


def test_a_key_is_never_overwritten(key):
    before = key.read_bytes()
    result = generate(key)
    assert result.exit_code == 2
    assert "--out" in result.stderr
    assert key.read_bytes() == before


def test_a_key_that_cannot_be_written_says_so(tmp_path):
    result = generate(tmp_path / "no" / "key.pem")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_the_record_is_printed_for_people_and_for_zone_files(key, record):
    shown = run("record", *on(key)).stdout
    assert f"name:   {NAME}\n" in shown
    assert f"value:  {record}\n" in shown
    zone = run("record", *on(key, "--zone")).stdout
    assert "".join(re.findall(r'"([^"]*)"', zone)) == record


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--domain", "example", "--domain: domain needs at least two labels"),
        ("--domain", "a b.example", "--domain: "),
        ("--selector", "S 1", "--selector: "),
        ("--key", "/dev/null", "--key: /dev/null: "),
        ("--key", "/no/such/file", "--key: cannot read /no/such/file: No such file"),
        ("--nameserver", "localhost", "--nameserver: "),
        ("--nameserver", "127.0.0.1:0", "--nameserver: "),
        ("--nameserver", "127.0.0.1:99999", "--nameserver: "),
        ("--nameserver", "[::1]x", "--nameserver: "),
    ],
)
def test_wrong_arguments_are_named(option, value, said, key):
    result = run("check", *on(key), option, value)
    assert result.exit_code == 2
    assert result.stderr.startswith(said)


def with_dns(records: Records | None, ask: Callable[[str], Result]) -> Result:
    """Return what ``ask`` gets with a name server whose address it is given."""

    async def serve() -> Result:
        async with SandboxDns() as server:
            if records is not None:
                server.put(NAME, records)
            host, port = server.address
            call: Awaitable[Result] = asyncio.to_thread(ask, f"{host}:{port}")
            return await call

    return asyncio.run(serve())


def check(key: Path, records: Records | None) -> tuple[int, dict[str, object]]:
    result = with_dns(
        records,
        lambda server: run("check", *on(key, "--nameserver", server, "--json")),
    )
    return result.exit_code, json.loads(result.stdout)


def test_the_published_record_is_good(key, record):
    status, found = check(key, Records(texts=(record,)))
    assert status == 0
    assert found == {
        "name": NAME,
        "ok": True,
        "verdict": "matches",
        "text": "the record publishes this key",
    }


def test_the_verdict_is_told_to_people_too(key, record):
    result = with_dns(
        Records(texts=(record + "; t=y",)),
        lambda server: run("check", *on(key, "--nameserver", server)),
    )
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{NAME}: the record publishes this key; t=y")


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (None, "absent"),
        (Records(texts=("v=spf1 -all",)), "absent"),
        (Records(texts=("v=DKIM1; p=",)), "revoked"),
        (Records(texts=("v=DKIM1; p=AAAA",)), "other_key"),
        (Records(texts=("v=DKIM1; p=AAAA", "v=DKIM1; p=BBBB")), "several"),
        (Records(fault=Fault.SERVFAIL), "unknown"),
    ],
)
def test_a_record_that_does_not_fit_is_exit_status_1(records, verdict, key):
    status, found = check(key, records)
    assert status == 1
    assert found["verdict"] == verdict
    assert found["ok"] is False
