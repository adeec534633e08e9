"""No secret leaves a node: a whole life at the level ``debug``, searched for canaries."""

import asyncio
import base64
import io
import logging
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fakes.node_process import API_KEY, Hop, dkim_pem, write_node
from fakes.running_node import DOMAIN, RunningNode, message, running_node
from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from fakes.submitting import SmtpClient
from mailwright.config.node import LogFormat, LogLevel, LogSettings
from mailwright.daemon.log import start_logging

PASSWORD = "canary-password-of-the-smarthost"
WRONG_KEY = "mw_crm_" + "canarywrongkey".ljust(32, "z")
AUTH = b"\0crm\0" + API_KEY.encode()
WRONG_AUTH = b"\0crm\0" + WRONG_KEY.encode()
SMART = "smart.example"


def der_of(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def canaries(folder: Path) -> dict[str, bytes]:
    """Return every secret of the node that was written to ``folder``."""
    return {
        "API key": API_KEY.encode(),
        "its AUTH": AUTH,
        "a wrong API key": WRONG_KEY.encode(),
        "its AUTH, wrong": WRONG_AUTH,
        "password": PASSWORD.encode(),
        "AUTH of the password": b"\0acme\0" + PASSWORD.encode(),
        "DKIM key": der_of(dkim_pem())[40:],
        "node key": (folder / "state" / "node.key").read_bytes(),
    }


def leaked(haystack: bytes, secrets: dict[str, bytes]) -> set[str]:
    """Return the names of what is in ``haystack``, in any spelling that we know of."""
    found = set()
    for name, secret in secrets.items():
        # Base64 differs by where the secret begins in what was encoded.
        inside = {
            base64.b64encode(b"x" * shift + secret)[4 if shift else 0 :][:40].rstrip(
                b"="
            )
            for shift in range(3)
        }
        spellings = {
            secret[:40],
            secret[:40].hex().encode(),
            # How quotes are escaped depends on all of it.
            repr(secret)[2:42].encode(),
            *(each[:-4] for each in inside),
        }
        if any(spelling in haystack for spelling in spellings):
            found.add(name)
    return found


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.BytesIO]:
    """Write the log of the level ``debug`` here, as a node would."""
    names = ("", "mailwright", "mail")
    before = [
        (logging.getLogger(name).handlers[:], logging.getLogger(name).level)
        for name in names
    ]
    octets = io.BytesIO()
    stream = io.TextIOWrapper(octets, "utf-8", write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    start_logging(LogSettings(level=LogLevel.DEBUG, format=LogFormat.TEXT))
    yield octets
    for name, (handlers, level) in zip(names, before, strict=True):
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(level)
    stream.detach()


def settings_of(folder: Path, open_port: int, smarthost_port: int) -> Path:
    """Write a node that asks for a login at one door and logs in at a smarthost."""
    more = (
        f'[log]\nevents_file = "{folder}/events.jsonl"\nevents_addresses = true\n'
        '[[smtp]]\nlisten = "127.0.0.1:0"\ntls = "none"\n'
    )
    hop = Hop(DOMAIN, f"127.0.0.1:{open_port}", "commands")
    settings = write_node(folder, routes=[hop], more=more)
    (folder / "smarthost.password").write_text(PASSWORD)
    with (folder / "setup.toml").open("a") as file:
        file.write(
            f'[[route]]\ndomain = "{SMART}"\nnext_hop = "127.0.0.1:{smarthost_port}"\n'
            'tls = "required"\nlogin = "acme"\npassword_file = "smarthost.password"\n'
        )
    return settings


async def log_in(node: RunningNode) -> None:
    """Log in at the second door, wrongly and rightly."""
    address = node.node.doors.listeners[1].addresses[0]
    for auth, code in ((WRONG_AUTH, b"535"), (AUTH, b"235")):
        client = await SmtpClient.connect(address)
        await client.say(b"AUTH PLAIN " + base64.b64encode(auth) + b"\r\n", code)
        await client.close()


async def look_everywhere(node: RunningNode, ident: str) -> bytes:
    """Return what is to be seen of the node from outside, and what it prints."""
    seen = b""
    for path in ("/metrics", f"/v1/messages/{ident}", "/v1/events", "/openapi.json"):
        seen += (await node.http.get(path)).content
    wrong = {"Authorization": f"Bearer {WRONG_KEY}"}
    seen += (await node.http.get("/v1/events", headers=wrong)).content
    live = node.node.state.settings
    printed = (node.node.settings, live.directory(), live.keys, live, node.node)
    return seen + "".join(map(repr, printed)).encode()


def test_no_secret_is_in_log_files_database_answers_or_prints(
    tmp_path: Path, log: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def main() -> bytes:
        smarthost = Behaviour(offers=(b"PIPELINING", b"AUTH PLAIN LOGIN"), tls=context)
        async with (
            ScriptedReceiver() as plain,
            ScriptedReceiver(smarthost) as smart,
        ):
            settings = settings_of(tmp_path, plain.port, smart.port)
            async with running_node(tmp_path, settings=settings) as node:
                await log_in(node)
                answer = await node.http.post(
                    "/v1/messages", json=message(f"ann@{DOMAIN}", f"ann@{SMART}")
                )
                async with asyncio.timeout(120):
                    while len(plain.contents) + len(smart.contents) < 2:
                        await asyncio.sleep(0.01)
                # The smarthost was told the password: it was in use.
                said = b"\n".join(smart.commands)
                assert base64.b64encode(b"\0acme\0" + PASSWORD.encode()) in said
                return await look_everywhere(node, answer.json()["id"])

    seen = asyncio.run(main())
    secrets = canaries(tmp_path)
    assert leaked(seen, secrets) == set()
    assert b"stopping" in log.getvalue()
    assert leaked(log.getvalue(), secrets) == set()
    assert leaked((tmp_path / "events.jsonl").read_bytes(), secrets) == set()
    for file in (tmp_path / "state").rglob("*"):
        if file.is_file() and file.name != "node.key":
            assert leaked(file.read_bytes(), secrets) == set(), file


def test_a_secret_would_be_found_in_any_spelling(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "node.key").write_bytes(bytes(range(32)))
    for name, secret in canaries(tmp_path).items():
        for haystack in (
            b"xx" + secret + b"yy",
            base64.b64encode(secret),
            base64.b64encode(b"abc" + secret + b"yy"),
            base64.b64encode(b"ab" + secret + b"yy"),
            base64.b64encode(b"a" + secret + b"yy"),
            secret.hex().encode(),
            repr({"key": secret}).encode(),
        ):
            assert name in leaked(haystack, {name: secret})
