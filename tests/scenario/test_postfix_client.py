"""Postfix as a client of the node: it logs in under TLS and hands over what it gets.

As on a host where a program speaks to a local Postfix, and Postfix to the node. Oracle:
what the sandbox's receiver took, and the logs of Postfix.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fakes.node_process import API_KEY, NodeProcess, dkim_pem, query, write_node
from fakes.postfix import Postfix, running_postfix
from fakes.submitting import SmtpClient
from mailwright.accounts.signing_keys import read_der, read_pem
from mailwright.mta.dkim.records import record_name, record_text
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.inbox import Letter as Taken
from mailwright.sandbox.internet import Internet

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
#: The name in our certificate, as a client of ours knows us.
US = "mta.example.com"
DOMAIN = "there.example"
_DOOR = """
[[smtp]]
listen = "127.0.0.1:0"
tls = "{tls}"
certificate_file = "door.pem"
key_file = "door.key"
"""
#: What Postfix is told about a smarthost: the node. Doubled braces are Postfix's own.
_CLIENT = """\
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{port}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{port} = {name}:{password} }} }}
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = {mechanism}
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = mta.example.com
smtp_tls_CAfile = {authority}
smtp_tls_wrappermode = {wrapper}
smtp_tls_loglevel = 1
"""


@dataclass(frozen=True)
class Letter:
    """What a program hands to Postfix; lines end in CRLF."""

    recipients: Sequence[str]
    body: bytes
    options: bytes = b""  # of RCPT

    @property
    def content(self) -> bytes:
        return (
            b"From: <a@example.com>\r\nTo: undisclosed-recipients:;\r\n"
            b"Subject: through two hands\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
            b"Message-ID: <%b@example.com>\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n%b"
        ) % (self.recipients[0].partition("@")[0].encode(), self.body)


@dataclass
class Scene:
    """A node whose mail arrives in the sandbox.

    Attributes:
        node: runs, with a door in clear, one with STARTTLS, one with implicit TLS.
        authority: file of who signed the certificate of its doors.
    """

    net: Internet
    node: NodeProcess
    authority: Path

    def client(
        self,
        wrapper: str = "no",
        mechanism: str = "plain",
        name: str = "crm",
        password: str = API_KEY,
        authority: Path | None = None,
    ) -> str:
        """Return settings of a Postfix that is a client of the node."""
        door = 2 if wrapper == "yes" else 1
        return _CLIENT.format(
            port=self.node.doors[door][1],
            name=name,
            password=password,
            mechanism=mechanism,
            wrapper=wrapper,
            authority=authority or self.authority,
        )

    def taken(self) -> int:
        """Return how many messages the node has taken."""
        return int(query(self.node.settings, "SELECT count(*) FROM messages")[0][0])


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    issued = authority.issue_cert(US)
    issued.private_key_pem.write_to_path(folder / "door.key")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "door.pem", append=True)
    inbox = InboxSettings(keep_content=True)
    async with Internet([DOMAIN], inbox=inbox) as net:
        net.publish_txt(
            record_name("example.com", "s1"),
            record_text(read_der(read_pem(dkim_pem())[1])),
        )
        settings = write_node(
            folder,
            nameserver=net.nameserver,
            smtp_port=net.smtp_port,
            more=_DOOR.format(tls="starttls") + _DOOR.format(tls="implicit"),
        )
        async with NodeProcess(settings) as node:
            yield Scene(net, node, folder / "authority.pem")
            assert await node.stop() == 0, node.text


async def hand_to(postfix: Postfix, letters: Sequence[Letter]) -> None:
    """Submit ``letters`` to Postfix, as a program on its host does."""
    client = await SmtpClient.connect(("127.0.0.1", postfix.port))
    try:
        for letter in letters:
            mail = b"MAIL FROM:<a@example.com> BODY=8BITMIME RET=HDRS ENVID=job7\r\n"
            await client.say(mail, b"250")
            for to in letter.recipients:
                rcpt = b"RCPT TO:<%b>%b\r\n" % (to.encode(), letter.options)
                await client.say(rcpt, b"250")
            await client.say(b"DATA\r\n", b"354")
            stuffed = letter.content.replace(b"\r\n.", b"\r\n..")
            await client.say(stuffed + b".\r\n", b"250")
    finally:
        await client.close()


def body_of(letter: Taken) -> bytes:
    assert letter.content is not None
    return letter.content.partition(b"\r\n\r\n")[2]


def letters_of(token: str) -> list[Letter]:
    letters = [
        Letter([f"{token}{number}@{DOMAIN}"], b"number %d\r\n.dots\r\n..\r\n" % number)
        for number in range(20)
    ]
    many = [f"{token}-m{number}@{DOMAIN}" for number in range(30)]
    return [
        *letters,
        Letter(many, b"to many\r\n"),
        Letter([f"{token}-utf@{DOMAIN}"], "Привет ✨\r\n".encode()),
        Letter([f"{token}-big@{DOMAIN}"], (b"x" * 76 + b"\r\n") * 20_000),
        Letter([f"{token}-never@{DOMAIN}"], b"no report\r\n", b" NOTIFY=NEVER"),
    ]


def test_postfix_logs_in_under_verified_tls_and_its_mail_arrives(
    tmp_path: Path,
) -> None:
    modes = {
        "plain": ("no", "plain"),
        "login": ("no", "login"),
        "465": ("yes", "plain"),
    }
    letters = {token: letters_of(token) for token in modes}
    wanted = {
        to: letter
        for batch in letters.values()
        for letter in batch
        for to in letter.recipients
    }

    async def main() -> None:
        async with scene(tmp_path) as play, asyncio.timeout(2 * DEADLINE_S):
            logs = {}

            async def run(token: str) -> None:
                more = play.client(*modes[token])
                folder = tmp_path / f"postfix-{token}"
                async with running_postfix(folder, more=more) as postfix:
                    await hand_to(postfix, letters[token])
                    await play.net.inbox.wait_copies(len(wanted))
                    await postfix.wait_idle()
                    logs[token] = postfix.log

            async with asyncio.TaskGroup() as tasks:
                for token in modes:
                    tasks.create_task(run(token))
            await play.net.inbox.wait_verified()
            assert play.net.inbox.totals.distinct == len(wanted)
            assert play.net.inbox.totals.copies == len(wanted)
            assert play.net.inbox.failures == []
            rows = query(play.node.settings, "SELECT ret, envid FROM messages")
        for letter in play.net.inbox.letters:
            assert letter.content is not None
            for to in letter.recipients:
                assert body_of(letter) == wanted[to].body, to
            # The hop that Postfix made, and ours: by TLS and AUTH.
            assert b"by peer.example (Postfix)" in letter.content
            assert b"with ESMTPSA id " in letter.content
        # What the program asked of Postfix about reports came on to us.
        assert set(rows) == {("HDRS", "job7")}
        for log in logs.values():
            assert "Verified TLS connection established to 127.0.0.1" in log
            assert "status=deferred" not in log
            assert "status=bounced" not in log

    asyncio.run(main())


def test_postfix_keeps_its_mail_when_it_cannot_log_in(tmp_path: Path) -> None:
    async def main() -> None:
        stranger = tmp_path / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(stranger)
        letter = Letter([f"b@{DOMAIN}"], b"wait\r\n")
        async with scene(tmp_path) as play, asyncio.timeout(2 * DEADLINE_S):

            async def outcome(name: str, more: str) -> str:
                """Hand a letter to a Postfix with these settings; return its fate."""
                async with running_postfix(tmp_path / name, more=more) as postfix:
                    await hand_to(postfix, [letter])
                    return await postfix.wait_log("status=")

            async with asyncio.TaskGroup() as tasks:
                strange, *refused = [
                    tasks.create_task(outcome(name, more))
                    for name, more in {
                        "strange": play.client(authority=stranger),
                        "plain": play.client(password="wrong"),
                        "nobody": play.client(name="nobody"),
                        "login": play.client(mechanism="login", password="wrong"),
                        "465": play.client("yes", password="wrong"),
                    }.items()
                ]
            assert (
                "status=deferred (Server certificate not verified)" in strange.result()
            )
            for task in refused:
                assert "status=deferred (SASL authentication failed" in task.result()
            assert play.taken() == 0
            assert play.net.inbox.totals.copies == 0

            # Control: the same Postfix with what is right gets through.
            assert "status=sent" in await outcome("good", play.client())
            assert play.taken() == 1

    asyncio.run(main())
