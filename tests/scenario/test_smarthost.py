"""Postfix as the smarthost of the node: a route with AUTH under TLS that is verified.

Oracle: what Postfix kept, and what its log says of each session (how often AUTH was
given). A password must not leave before the certificate is found good.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from fakes.node_process import Hop, NodeProcess, query, write_node
from fakes.postfix import NAME, Postfix, running_postfix
from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from fakes.submitting import Book, HttpClient, Letter, submit_all
from mailwright.sandbox.dns import Records, SandboxDns

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
LOGIN, PASSWORD = "relay1", "canary-password-of-the-smarthost"
#: A domain that is not the smarthost's own: it must relay, or keep it for us.
RECIPIENT = "b@dest.example"
#: What a session did, as Postfix counts it at its end.
_COUNTS = re.compile(r" disconnect from \S+(.*)")


async def ended_sessions(postfix: Postfix) -> list[dict[str, str]]:
    """Return what each session did, when all have ended: ``auth=0/1`` is a failure."""
    async with asyncio.timeout(DEADLINE_S):
        while postfix.log.count(" connect from") != postfix.log.count(" disconnect"):
            await asyncio.sleep(0.05)
    counts = [
        dict(word.partition("=")[::2] for word in found[1].split())
        for found in _COUNTS.finditer(postfix.log)
    ]
    # Who did not even say hello only looked whether the port is open.
    return [each for each in counts if "ehlo" in each]


async def wait_event(client: HttpClient, kind: str) -> dict[str, Any]:
    """Return the first event of ``kind``."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for event in await client.events():
                if event["type"] == kind:
                    return event
            await asyncio.sleep(0.1)


@dataclass
class Scene:
    """A node whose only way out is a Postfix that asks for a login."""

    postfix: Postfix
    node: NodeProcess
    client: HttpClient

    async def send(self, *recipients: str) -> None:
        letters = [
            Letter(f"{to.partition('@')[0]}", (to,)) for to in recipients or [RECIPIENT]
        ]
        await submit_all(self.node.smtp, letters, Book())


def trusted(folder: Path, authority: trustme.CA) -> Mapping[str, str]:
    """Return the environment in which a process trusts ``authority`` and nobody else."""
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return {"SSL_CERT_FILE": str(path), "SSL_CERT_DIR": str(folder / "nothing")}


@asynccontextmanager
async def names() -> AsyncIterator[tuple[str, int]]:
    """Run a name server that knows where the smarthost is."""
    async with SandboxDns({NAME: Records(addresses=("127.0.0.1",))}) as server:
        yield server.address


@asynccontextmanager
async def scene(
    folder: Path,
    authority: trustme.CA,
    certificate: trustme.LeafCert,
    *,
    password: str = PASSWORD,
    more: str = "",
) -> AsyncIterator[Scene]:
    """Run both; ``password`` is the one that the node has."""
    (folder / "smarthost.password").write_text(password + "\n")
    async with (
        names() as nameserver,
        running_postfix(
            folder / "postfix",
            certificate=certificate,
            logins={LOGIN: PASSWORD},
            more=more,
        ) as postfix,
    ):
        hop = Hop(
            *("*", f"{NAME}:{postfix.port}", "commands", "required"),
            *(LOGIN, "smarthost.password"),
        )
        settings = write_node(folder, nameserver=nameserver, routes=[hop])
        environment = trusted(folder, authority)
        async with NodeProcess(settings, environment=environment) as node:
            client = HttpClient(node.http)
            try:
                yield Scene(postfix, node, client)
            finally:
                await client.close()
            assert await node.stop() == 0, node.text
            # Neither the log nor the database tells the password.
            assert PASSWORD not in node.text
            database = (folder / "state" / "mailwright.db").read_bytes()
            assert PASSWORD.encode() not in database


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_the_smarthost_gets_our_mail_after_auth_over_verified_tls(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        authority = trustme.CA()
        async with scene(tmp_path, authority, authority.issue_cert(NAME)) as play:
            recipients = [f"r{number}@dest.example" for number in range(30)]
            # Of no domain of the smarthost's: taken because we logged in.
            await play.send(*recipients)
            kept = await play.postfix.wait_letters(30)
            event = await wait_event(play.client, "delivered")
            # A delivery is settled within the time of a few commits after it is kept.
            async with asyncio.timeout(DEADLINE_S):
                while query(play.node.settings, "SELECT id FROM deliveries"):
                    await asyncio.sleep(0.05)
            await play.node.stop()
            ended = await ended_sessions(play.postfix)
            log = play.postfix.log
        assert event["data"]["tls"] == "TLSv1.3"
        assert len(kept) == 30
        assert all(b"with ESMTPSA id" in letter for letter in kept)
        assert f"sasl_username={LOGIN}@{NAME}" in log
        # Each connection logged in once, under TLS.
        assert {each["auth"] for each in ended} == {"1"}
        assert {each["starttls"] for each in ended} == {"1"}

    asyncio.run(main())


@pytest.mark.parametrize(
    "fault", ["another authority", "another name", "expired", "no TLS at all"]
)
def test_no_password_leaves_for_a_smarthost_that_does_not_prove_itself(
    tmp_path: Path, fault: str
) -> None:
    async def main() -> None:
        authority = trustme.CA()
        yesterday = datetime.now(UTC) - timedelta(days=1)
        certificate = {
            "another authority": lambda: trustme.CA().issue_cert(NAME),
            "another name": lambda: authority.issue_cert("other.example"),
            "expired": lambda: authority.issue_cert(NAME, not_after=yesterday),
            "no TLS at all": lambda: authority.issue_cert(NAME),
        }[fault]()
        more = ""
        if fault == "no TLS at all":
            # And AUTH offered in clear: a careless client would take it.
            more = "smtpd_tls_security_level = none\nsmtpd_tls_auth_only = no\n"
        async with scene(tmp_path, authority, certificate, more=more) as play:
            await play.send()
            event = await wait_event(play.client, "deferred")
            assert event["data"]["phase"] in {"tls", "ehlo"}, event
            await play.node.stop()
            assert play.postfix.letters == []
            ended = await ended_sessions(play.postfix)
            assert ended
            for each in ended:
                assert not {"auth", "mail", "rcpt", "data"} & set(each), each
            # It waits, for the certificate may be mended.
            waiting = query(play.node.settings, "SELECT recipient FROM deliveries")
            assert waiting == [(RECIPIENT,)]

    asyncio.run(main())


def test_what_a_faithless_smarthost_hears_in_clear_and_under_tls(
    tmp_path: Path,
) -> None:
    """The same rule from the other side: every octet that such a server gets."""

    async def main() -> None:
        authority = trustme.CA()
        stranger = trustme.CA().issue_cert(NAME)
        good = authority.issue_cert(NAME)
        async with names() as nameserver:
            for certificate, is_trusted in ((stranger, False), (good, True)):
                folder = tmp_path / ("good" if is_trusted else "stranger")
                folder.mkdir()
                context = server_context(certificate)
                offers = (b"8BITMIME", b"AUTH PLAIN LOGIN")
                async with ScriptedReceiver(Behaviour(offers, tls=context)) as peer:
                    (folder / "password").write_text(PASSWORD)
                    hop = Hop(
                        *("*", f"{NAME}:{peer.port}", "commands", "required"),
                        *(LOGIN, "password"),
                    )
                    settings = write_node(folder, nameserver=nameserver, routes=[hop])
                    environment = trusted(folder, authority)
                    async with NodeProcess(settings, environment=environment) as node:
                        await submit_all(node.smtp, [Letter("b", (RECIPIENT,))], Book())
                        client = HttpClient(node.http)
                        try:
                            kind = "delivered" if is_trusted else "deferred"
                            await wait_event(client, kind)
                        finally:
                            await client.close()
                        assert await node.stop() == 0, node.text
                verbs = {line.partition(b" ")[0] for line in peer.commands}
                if is_trusted:
                    # Control: the password is where this test looks for it.
                    assert b"AUTH" in verbs
                    assert len(peer.contents) == 1
                else:
                    assert verbs <= {b"EHLO", b"STARTTLS", b"QUIT"}
                    assert peer.contents == []

    asyncio.run(main())


def test_a_refused_login_makes_the_mail_wait(tmp_path: Path) -> None:
    async def main() -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(NAME)
        async with scene(
            tmp_path, authority, certificate, password="not the password"
        ) as play:
            await play.send()
            event = await wait_event(play.client, "deferred")
            assert event["data"]["phase"] == "auth"
            assert event["data"]["code"] == 535
            await play.node.stop()
            assert play.postfix.letters == []
            ended = await ended_sessions(play.postfix)
            assert ended
            for each in ended:
                assert each["auth"] == "0/1"
                assert "mail" not in each

    asyncio.run(main())
