"""Forms in which a stranger asks a node to carry mail, and doors to try them at.

A stranger is who has not proven a credential and is in no network that a door names.
"""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from fakes.node_process import API_KEY, NodeProcess, query, write_node

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

[[smtp]]
listen = "127.0.0.1:0"
tls = "implicit"
certificate_file = "tls.pem"
key_file = "tls.key"
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


@dataclass(frozen=True)
class Doors:
    """Ports of a node that runs.

    Attributes:
        auth: STARTTLS and AUTH; no network is named.
        named: without either; only :data:`NAMED` is.
        open: without either; :data:`STRANGER` is named as well.
        implicit: AUTH in TLS from the first octet.
        authority: file of who signed the doors' certificate.
    """

    settings: Path
    open: int
    auth: int
    named: int
    implicit: int

    @property
    def authority(self) -> Path:
        return self.settings.parent / "authority.pem"

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
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1", US)
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "tls.pem", append=True)
    settings = write_node(folder, more=DOORS)
    async with NodeProcess(settings) as node:
        ports = [int(line.split()[-1]) for line in node.log if " SMTP on " in line]
        assert len(ports) == 4
        yield Doors(settings, *ports)
