"""Every way we know to make a node carry a stranger's mail, and none works.

Oracle: the answer to the final dot, and the node's database. A stranger is who has not
proven a credential and is in no network that the listener names. He goes on after every
refusal, politely (one command at a time) and blindly (everything in one write), and never
gets a 250 for a message. The controls: one plain form by someone who may is taken, and a
door that is open to everyone is found out by the same forms.
"""

import asyncio
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fakes.node_process import API_KEY, NodeProcess, query, write_node

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(240)]

US = "mta.example.com"
VICTIM = "victim.example"
STRANGER, NAMED = "127.0.0.1", "127.0.0.2"
HEADER = b"From: a@example.com\r\nSubject: relay\r\n\r\n"
CONTENT = HEADER + b"take this on\r\n.\r\n"
DOORS = """
[[smtp]]
listen = "127.0.0.1:0"
tls = "starttls"
certificate_file = "tls.pem"
key_file = "tls.key"

[[smtp]]
listen = "127.0.0.1:0"
tls = "none"
networks = ["127.0.0.2/32"]
credential = "crm"
"""
PLAIN_PATH = f"b@{VICTIM}"
#: Recipients that have led relays astray, with what goes into RCPT behind ``TO:``.
RECIPIENTS = [
    f"<b@{VICTIM}>",
    f"<b%{VICTIM}@{US}>",
    f"<b%{VICTIM}@[127.0.0.1]>",
    f"<b%{VICTIM}>",
    f'<"b%{VICTIM}">',
    f'<"b@{VICTIM}"@{US}>',
    f'<"b@{VICTIM}">',
    f"<@{US}:b@{VICTIM}>",
    f"<@{US},@relay.example:b@{VICTIM}>",
    f"<{VICTIM}!b>",
    f"<{VICTIM}!b@{US}>",
    f"<{US}!{VICTIM}!b>",
    f"<b@{VICTIM}@{US}>",
    f"<b@{US}@{VICTIM}>",
    f"<b@{US}%{VICTIM}>",
    f"<b@{US}:{VICTIM}>",
    "<b@[192.0.2.1]>",
    "<b@[127.0.0.1]>",
    "<b@[IPv6:::1]>",
    f"<b@[{VICTIM}]>",
    f"<b@{VICTIM}.>",
    f"<b@{US}.>",
    f"<b@.{VICTIM}>",
    f"b@{VICTIM}",
    f"<<b@{VICTIM}>>",
    f"< b@{VICTIM} >",
    f"<b@{VICTIM}> NOTIFY=SUCCESS ORCPT=rfc822;b@{US}",
    f"<b({US})@{VICTIM}>",
    f"<b@{US}\0@{VICTIM}>",
    "<postmaster>",
]
SENDERS = [
    "<>",
    f"<a@{VICTIM}>",
    f"<postmaster@{US}>",
    f"<a@{US}>",
    "<a@localhost>",
    "<a@[127.0.0.1]>",
    "<crm>",
    "<a@example.com> AUTH=<>",
    "<a@example.com> AUTH=crm@example.com",
    f"<@{US}:a@example.com>",
]


def transaction(sender: str = "<a@example.com>", recipient: str = "") -> list[str]:
    to = recipient or f"<{PLAIN_PATH}>"
    return [f"MAIL FROM:{sender}", f"RCPT TO:{to}", "DATA"]


def session(*before: str, hello: str = "EHLO client.example") -> list[str]:
    return [hello, *before, *transaction()]


def _auth(name: str, secret: str, identity: str = "") -> str:
    return b64encode(f"{identity}\0{name}\0{secret}".encode()).decode()


@dataclass(frozen=True)
class Form:
    """One attempt: what is sent, and what comes before the greeting is awaited."""

    name: str
    commands: list[str]
    first: bytes = b""


FORMS = [
    *(Form(f"to {to}", ["EHLO x", *transaction(recipient=to)]) for to in RECIPIENTS),
    *(Form(f"from {sender}", ["EHLO x", *transaction(sender)]) for sender in SENDERS),
    Form("nobody said hello", transaction()),
    Form("hello as us", session(hello=f"EHLO {US}")),
    Form("hello as loopback", session(hello="EHLO [127.0.0.2]")),
    Form("helo as localhost", session(hello="HELO localhost")),
    Form("XCLIENT", session("XCLIENT ADDR=127.0.0.2 NAME=localhost LOGIN=crm")),
    Form("XFORWARD", session("XFORWARD ADDR=127.0.0.2 NAME=localhost")),
    Form(
        "PROXY v1",
        session(),
        b"PROXY TCP4 127.0.0.2 127.0.0.1 40000 25\r\n",
    ),
    Form(
        "PROXY v2",
        session(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x02\x7f\0\0\x01\x9c\x40\0\x19",
    ),
    Form("AUTH wrong", session("AUTH PLAIN " + _auth("crm", "wrong"))),
    Form("AUTH empty", session("AUTH PLAIN " + _auth("crm", ""))),
    Form("AUTH in clear", session("AUTH PLAIN " + _auth("crm", API_KEY))),
    Form("AUTH given up", session("AUTH LOGIN", "*")),
    Form("AUTH EXTERNAL", session("AUTH EXTERNAL =")),
    Form("AUTH ANONYMOUS", session("AUTH ANONYMOUS YQ==")),
    Form("old verbs", ["EHLO x", "SEND FROM:<a@example.com>", *transaction()[1:]]),
    Form("BDAT", ["EHLO x", *transaction()[:2], "BDAT 0 LAST"]),
    Form("no MAIL", ["EHLO x", *transaction()[1:]]),
    Form("reset in between", ["EHLO x", *transaction()[:2], "RSET", "DATA"]),
    Form("STARTTLS and more", session("STARTTLS")),
]
#: What may be asked for by who may send, and must not lead to the victim.
DETOURS = [
    to
    for to in RECIPIENTS[1:]
    if not to.startswith((f"<b@{VICTIM}>", f"<b@{VICTIM}.>"))
]
FOREIGN_FROM = [
    b"From: a@victim.example\r\n",
    b'From: "a@example.com" <a@victim.example>\r\n',
    b"From: a@victim.example\r\nSender: a@example.com\r\n",
    b"From: a@example.com, a@victim.example\r\n",
    b"From: a@example.com\r\nFrom: a@victim.example\r\n",
    b"From: friends: a@example.com;\r\n",
    b"From: a@sub.example.com.victim.example\r\n",
    b"From: a@example.com@victim.example\r\n",
    b"From : a@victim.example\r\n",
    b"From: <@example.com:a@victim.example>\r\n",
    b"Sender: a@example.com\r\n",
    b"",
]


@dataclass(frozen=True)
class Doors:
    """Ports of a node that runs.

    Attributes:
        auth: STARTTLS and AUTH; no network is named.
        named: without either; only :data:`NAMED` is.
        open: without either; :data:`STRANGER` is named as well.
    """

    settings: Path
    open: int
    auth: int
    named: int

    def messages(self) -> int:
        """How many the node has taken since it was made."""
        found: int = query(self.settings, "SELECT count(*) FROM messages")[0][0]
        return found

    def recipients(self) -> set[str]:
        return {
            row[0] for row in query(self.settings, "SELECT recipient FROM deliveries")
        }


@asynccontextmanager
async def doors(folder: Path) -> AsyncIterator[Doors]:
    """Run a node with a door of each kind."""
    certificate = trustme.CA().issue_cert("127.0.0.1", US)
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "tls.pem", append=True)
    settings = write_node(folder, more=DOORS)
    async with NodeProcess(settings) as node:
        ports = [int(line.split()[-1]) for line in node.log if " SMTP on " in line]
        assert len(ports) == 3
        yield Doors(settings, *ports)


def is_taken(said: bytes) -> bool:
    return b"accepted as" in said


async def politely(port: int, peer: str, form: Form, content: bytes = CONTENT) -> bytes:
    """Send one command at a time; return everything that was said."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(peer, 0)
        )
        said = b""
        try:
            writer.write(form.first)
            said += await reply(reader)
            for command in form.commands:
                writer.write(command.encode() + b"\r\n")
                answer = await reply(reader)
                said += answer
                if answer.startswith(b"354"):
                    writer.write(content)
                    said += await reply(reader)
                if not answer:
                    break
        except ConnectionError:
            pass  # it was hung up on
        writer.close()
    return said


async def reply(reader: asyncio.StreamReader) -> bytes:
    """Return one reply, all its lines; nothing at the end of the connection."""
    said = b""
    while line := await reader.readline():
        said += line
        if line[3:4] != b"-":
            break
    return said


async def blindly(port: int, peer: str, form: Form, content: bytes = CONTENT) -> bytes:
    """Send everything at once, whatever is answered."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(peer, 0)
        )
        lines = b"".join(command.encode() + b"\r\n" for command in form.commands)
        said = b""
        try:
            writer.write(form.first + lines + content + b"QUIT\r\n")
            while octets := await reader.read(65_536):
                said += octets
        except ConnectionError:
            pass  # it was hung up on
        writer.close()
    return said


def drive(folder: Path, play: Callable[[Doors], object]) -> None:
    async def scene() -> None:
        async with doors(folder) as open_doors:
            await play(open_doors)  # type: ignore[misc]

    asyncio.run(scene())


def test_a_stranger_gets_nothing_taken_in_any_form(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    async def play(doors: Doors) -> None:
        # Control, first and last: who may send is served, in both manners.
        plain = Form("plain", session())
        for manner in (politely, blindly):
            assert is_taken(await manner(doors.named, NAMED, plain))
        assert doors.messages() == 2

        taken = []
        for form in FORMS:
            for port in (doors.auth, doors.named):
                for manner in (politely, blindly):
                    said = await manner(port, STRANGER, form)
                    assert said, "the connection is answered"
                    if is_taken(said):
                        taken.append(f"{form.name} ({manner.__name__})")
        publish(f"relay forms: {len(FORMS)} in 4 ways each, {len(taken)} taken")
        assert taken == []
        assert doors.messages() == 2

        assert is_taken(await politely(doors.named, NAMED, plain))
        assert doors.messages() == 3

        # Control: a door that names the stranger's network takes many of these forms.
        answers = [await politely(doors.open, STRANGER, form) for form in FORMS]
        assert sum(map(is_taken, answers)) >= 15

    assert len(FORMS) >= 40
    drive(tmp_path, play)


def test_a_detour_leads_nowhere_even_for_who_may_send(tmp_path: Path) -> None:
    async def play(doors: Doors) -> None:
        for to in DETOURS:
            form = Form(to, ["EHLO x", *transaction(recipient=to)])
            await politely(doors.named, NAMED, form)
        # What was taken is for a mailbox with a strange name at the domain that was
        # written last: nothing in it is an instruction.
        domains = {name.rpartition("@")[2] for name in doors.recipients()}
        assert US in domains
        assert domains <= {US, VICTIM}
        to_victim = {name for name in doors.recipients() if name.endswith(f"@{VICTIM}")}
        assert to_victim <= {PLAIN_PATH}, to_victim

    drive(tmp_path, play)


def test_nobody_writes_in_a_foreign_name(tmp_path: Path) -> None:
    async def play(doors: Doors) -> None:
        plain = Form("plain", session())
        rest = b"Subject: relay\r\n\r\ntake this on\r\n.\r\n"
        for fields in FOREIGN_FROM:
            said = await politely(doors.named, NAMED, plain, fields + rest)
            assert not is_taken(said), fields
            assert said.splitlines()[-1].startswith(b"550 5.7.1 "), fields
        assert doors.messages() == 0
        own = await politely(
            doors.named, NAMED, plain, b"From: a@example.com\r\n" + rest
        )
        assert is_taken(own)

    drive(tmp_path, play)


# swaks, as an operator would try it.


async def swaks(port: int, *options: str) -> tuple[int, str]:
    """Return exit status and the dialog."""

    def run() -> tuple[int, str]:
        done = subprocess.run(
            ["swaks", "--server", f"127.0.0.1:{port}", "--timeout", "10", *options],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return await asyncio.to_thread(run)


def letter(sender: str = "a@example.com", recipient: str = PLAIN_PATH) -> Sequence[str]:
    return (
        "--ehlo", "client.example", "--from", sender, "--to", recipient,
        "--data", "From: a@example.com\nSubject: swaks\n\ntake this on\n",
    )  # fmt: skip


def test_swaks_gets_through_with_auth_over_tls_and_not_without(tmp_path: Path) -> None:
    async def play(doors: Doors) -> None:
        _, support = await swaks(doors.auth, "--support")
        assert "TLS supported" in support, "apt-get install -y libnet-ssleay-perl"

        user = ("--auth-user", "crm", "--auth-password", API_KEY)
        for number, mechanism in enumerate(("PLAIN", "LOGIN"), 1):
            status, dialog = await swaks(
                doors.auth, "--tls", "--auth", mechanism, *user, *letter()
            )
            assert status == 0, dialog
            assert "=== TLS started" in dialog
            assert "<~  235 2.7.0" in dialog
            assert "<~  250 2.0.0 accepted as" in dialog
            assert doors.messages() == number

        wrong = ("--auth-user", "crm", "--auth-password", "wrong")
        attempts = [
            letter(),
            ("--tls", *letter()),
            ("--auth", "PLAIN", *user, *letter()),
            ("--tls", "--auth", "PLAIN", *wrong, *letter()),
            ("--tls", *letter("<>")),
            ("--tls", *letter(f"postmaster@{US}", f"b%{VICTIM}@{US}")),
            ("--tls", *letter("a@example.com", f'"b@{VICTIM}"@{US}')),
            ("--tls", *letter("a@example.com", f"@{US}:b@{VICTIM}")),
            ("--tls", *letter("a@example.com", f"{VICTIM}!b")),
            ("--tls", *letter("a@example.com", "b@[127.0.0.1]")),
        ]
        for options in attempts:
            status, dialog = await swaks(doors.auth, *options)
            assert status != 0, dialog
            assert "accepted as" not in dialog
        for options in ((*letter(),), ("--xclient", "ADDR=127.0.0.2", *letter())):
            status, dialog = await swaks(doors.named, *options)
            assert status != 0, dialog
        assert doors.messages() == 2

    drive(tmp_path, play)
