"""Each example in config/ is started as it is, and a message goes through it.

What a reader of the example does is done here, with the commands that it names: make the
keys, publish their records, make the passwords, check, serve. Only what belongs to the
place is exchanged: ports, paths, addresses and the name server. The receivers are the
sandbox's, behind the smarthost Postfix.
"""

import asyncio
import json
import re
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import trustme

from fakes.node_process import NodeProcess
from fakes.postfix import Postfix, running_postfix
from mailwright.sandbox.dns import Records
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.inbox import Letter as Taken
from mailwright.sandbox.internet import NETWORK, Internet

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
EXAMPLES = Path(__file__).parents[2] / "config"
#: Kept by the sandbox's receiver, or by the Postfix behind the smarthost.
THERE = "dest.example"
SMARTHOST = "smarthost.example.net"
SMARTHOST_PASSWORD = "canary-password-of-the-smarthost"


@dataclass(frozen=True)
class Mail:
    """One submission.

    Attributes:
        door: number of the listener in the example.
        tls: how the client begins it; ``""``: not at all.
        login: name of a credential; ``""``: none.
        sender: in From and MAIL.
        stream: asked for by a control field, if any.
        leaves_from: last octets of the addresses that it may leave from.
    """

    door: int
    tls: str
    login: str
    sender: str
    stream: str = ""
    leaves_from: frozenset[int] = frozenset()


def mail(
    door: int, tls: str, login: str, sender: str, *leaves_from: int, stream: str = ""
) -> Mail:
    return Mail(door, tls, login, sender, stream, frozenset(leaves_from))


@dataclass(frozen=True)
class Example:
    """An example and what must get through it.

    Attributes:
        logins: credentials that get a secret.
        refused: must not get through.
    """

    name: str
    mails: Sequence[Mail]
    logins: Sequence[str] = ()
    refused: Sequence[Mail] = ()


CASES = [
    Example(
        "first",
        [mail(0, "", "crm", "shop@example.com", 1)],
        logins=["crm"],
        refused=[mail(0, "", "", "shop@example.com")],
    ),
    Example(
        "one-ip",
        [
            mail(0, "starttls", "crm", "shop@example.com", 10),
            mail(1, "implicit", "crm", "shop@example.com", 10),
            mail(1, "implicit", "crm", "shop@example.com", 10, stream="news"),
        ],
        logins=["crm"],
        refused=[
            mail(0, "starttls", "", "shop@example.com"),
            mail(0, "starttls", "crm", "shop@example.net"),
        ],
    ),
    Example(
        "pools",
        [
            mail(0, "starttls", "acme-shop", "shop@acme.example", 11),
            mail(0, "starttls", "acme-crm", "news@acme.example", 12, 13),
            mail(0, "starttls", "acme-crm", "a@acme.example", 11, stream="receipts"),
            mail(0, "starttls", "globex-crm", "x@mail.globex.example", 12, 13),
        ],
        logins=["acme-shop", "acme-crm", "globex-crm"],
        refused=[mail(0, "starttls", "globex-crm", "news@acme.example")],
    ),
    Example(
        "behind-a-crm",
        [
            mail(0, "", "", "crm@example.org", 20),
            mail(1, "starttls", "crm-worker", "crm@example.org", 20),
        ],
        logins=["crm-worker"],
        refused=[mail(1, "starttls", "", "crm@example.org")],
    ),
    Example(
        "smarthost",
        [mail(0, "", "app", "app@example.org")],
        logins=["app"],
        refused=[mail(0, "", "", "app@example.org")],
    ),
]


def exchange(text: str, pattern: str, replacement: str, *, least: int = 1) -> str:
    """Replace every line's ``pattern``; there must be some, or the example changed."""
    text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    assert count >= least, pattern
    return text


def put_into(text: str, table: str, line: str) -> str:
    """Put ``line`` into the table ``table``, which the example may not have."""
    if f"\n[{table}]\n" in text:
        return text.replace(f"\n[{table}]\n", f"\n[{table}]\n{line}\n")
    return f"{text}\n[{table}]\n{line}\n"


def adapted_node(text: str, net: Internet) -> str:
    """Return an example's node file with this machine's ports and paths."""
    host, port = net.nameserver
    text = exchange(text, r'^listen = ".*"$', 'listen = "127.0.0.1:0"')
    if "[http]" not in text:
        text += '\n[http]\nlisten = "127.0.0.1:0"\n'
    text = exchange(text, r'^state_dir = ".*"$', 'state_dir = "state"')
    text = exchange(text, r'^certificate_file = ".*"$', _DOOR_PEM, least=0)
    text = exchange(text, r'^key_file = ".*"$', 'key_file = "door.key"', least=0)
    text = exchange(text, r"^nameservers = .*$\n", "", least=0)
    text = put_into(text, "dns", f'nameservers = ["{host}"]\nport = {port}')
    # All receivers of the sandbox listen on one port of its own.
    return put_into(text, "delivery", f"smtp_port = {net.smtp_port}")


_DOOR_PEM = 'certificate_file = "door.pem"'


def adapted_setup(text: str, smarthost_port: int) -> str:
    """Return an example's setup file with loopback for its documentation addresses."""
    if "allowed_networks" in text:
        text = exchange(
            text, r"^allowed_networks = .*$", f'allowed_networks = ["{NETWORK}"]'
        )
    else:
        text = f'allowed_networks = ["{NETWORK}"]\n{text}'
    text = exchange(text, r'"192\.0\.2\.(\d+)"', r'"127.0.0.\1"', least=0)
    text = exchange(text, r'"2001:db8::13"', '"::1"', least=0)
    return exchange(
        text, rf'"{SMARTHOST}:587"', f'"{SMARTHOST}:{smarthost_port}"', least=0
    )


@dataclass
class Play:
    """An example on its way."""

    example: Example
    folder: Path
    net: Internet
    authority: trustme.CA
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Path:
        return self.folder / f"{self.example.name}.toml"

    @property
    def authority_file(self) -> Path:
        """Whom the node is to trust."""
        return self.folder / "authority.pem"

    @property
    def setup_file(self) -> Path:
        return self.folder / f"{self.example.name}.setup.toml"

    async def run(self, *command: str) -> Any:
        """Run ``mailwright`` and return the JSON that it prints."""

        def call() -> Any:
            done = subprocess.run(
                [sys.executable, "-m", "mailwright", *command],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                check=False,
            )
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
            return json.loads(done.stdout) if "--json" in command else done.stdout

        return await asyncio.to_thread(call)

    def run_smarthost(self) -> AbstractAsyncContextManager[Postfix]:
        """Run the smarthost that the example names."""
        self.net.dns.put(SMARTHOST, Records(addresses=("127.0.0.1",)))
        return running_postfix(
            self.folder / "postfix",
            certificate=self.authority.issue_cert(SMARTHOST),
            logins={"relay1": SMARTHOST_PASSWORD},
        )

    def write(self, smarthost_port: int) -> None:
        """Write the example's files, and those that it says are there."""
        self.authority.cert_pem.write_to_path(self.authority_file)
        for path, text in (
            (
                self.settings,
                adapted_node((EXAMPLES / self.settings.name).read_text(), self.net),
            ),
            (
                self.setup_file,
                adapted_setup(
                    (EXAMPLES / self.setup_file.name).read_text(), smarthost_port
                ),
            ),
        ):
            path.write_text(text)
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.folder / "door.key")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(self.folder / "door.pem", append=True)
        for name in ("keys", "secrets"):
            (self.folder / name).mkdir()
        (self.folder / "secrets" / "smarthost").write_text(SMARTHOST_PASSWORD + "\n")

    async def make_keys(self) -> None:
        """Make each key that the setup file names, and publish its record."""
        setup = tomllib.loads(self.setup_file.read_text())
        for domain in setup["sending_domain"]:
            for key in (domain, *domain.get("extra_keys", ())):
                made = await self.run(
                    *("dkim", "generate", "--domain", domain["domain"]),
                    *("--selector", key["selector"], "--out", key["key_file"]),
                    "--json",
                )
                self.net.publish_txt(made["name"], made["record"])

    async def make_secrets(self) -> None:
        for name in self.example.logins:
            made = await self.run(
                *("key", "create", name, "--settings", self.settings.name), "--json"
            )
            self.secrets[name] = made["secret"]

    async def submit(self, node: NodeProcess, wanted: Mail, recipient: str) -> None:
        """Send one message with a client that is not ours.

        Raises:
            aiosmtplib.SMTPException: the node refused it.
        """
        message = EmailMessage()
        message["From"] = wanted.sender
        message["To"] = recipient
        message["Subject"] = "through an example"
        if wanted.stream:
            message["X-Mailwright-Stream"] = wanted.stream
        message.set_content("Hello.\n")
        host, port = node.doors[wanted.door]
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        client = aiosmtplib.SMTP(
            hostname=host,
            port=port,
            use_tls=wanted.tls == "implicit",
            start_tls=wanted.tls == "starttls",
            tls_context=context,
            timeout=DEADLINE_S,
        )
        async with client:
            if wanted.login:
                await client.login(wanted.login, self.secrets[wanted.login])
            await client.send_message(message)

    def letter_to(self, recipient: str) -> Taken:
        [found] = [
            each for each in self.net.inbox.letters if recipient in each.recipients
        ]
        return found


@pytest.mark.parametrize("example", CASES, ids=lambda example: example.name)
def test_a_message_goes_through_the_example(tmp_path: Path, example: Example) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            inbox = InboxSettings(keep_content=True)
            net = await stack.enter_async_context(Internet([THERE], inbox=inbox))
            play = Play(example, tmp_path, net, trustme.CA())
            smarthost = None
            if example.name == "smarthost":
                smarthost = await stack.enter_async_context(play.run_smarthost())
            play.write(smarthost.port if smarthost else 0)
            await play.make_keys()
            said = await play.run("config", "check", play.settings.name)
            assert said.count(": ok") == 2
            await play.make_secrets()
            trusted = {"SSL_CERT_FILE": str(play.authority_file)}
            node = await stack.enter_async_context(
                NodeProcess(play.settings, environment=trusted)
            )
            # Until the key's record was looked for, a domain with proof = "dns" waits.
            await play.run("domain", "check", "--settings", play.settings.name)

            wanted = {
                f"r{number}@{THERE}": each for number, each in enumerate(example.mails)
            }
            for recipient, each in wanted.items():
                await play.submit(node, each, recipient)
            for each in example.refused:
                with pytest.raises(aiosmtplib.SMTPException):
                    await play.submit(node, each, f"nobody@{THERE}")
            async with asyncio.timeout(DEADLINE_S):
                if smarthost is None:
                    await net.inbox.wait_copies(len(wanted))
                    await net.inbox.wait_verified()
                else:
                    kept = await smarthost.wait_letters(len(wanted))
            assert await node.stop() == 0, node.text

        if smarthost is not None:
            assert len(kept) == len(wanted)
            assert all(b"with ESMTPSA id" in each for each in kept)
            assert all(b"DKIM-Signature: " in each for each in kept)
            return
        assert net.inbox.failures == []
        assert net.inbox.totals.copies == len(wanted)
        for recipient, each in wanted.items():
            source = play.letter_to(recipient).source
            assert int(source.rpartition(".")[2]) in each.leaves_from, recipient

    asyncio.run(main())


def test_every_example_is_among_them() -> None:
    files = {path.name for path in EXAMPLES.glob("*.toml")}
    assert files == {
        name
        for each in CASES
        for name in (f"{each.name}.toml", f"{each.name}.setup.toml")
    }
