"""The demo's folder: the files that an operator would write for such a node.

``node.toml`` and ``setup.toml`` with the keys and the certificate that they name. Kept
with ``--keep``, they show what the node of the demo was told.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from mailwright.accounts.authentication import make_secret
from mailwright.accounts.signing_keys import RSA_SHA256
from mailwright.mta.dkim.keys import generate, write_new_key
from mailwright.mta.dkim.records import record_name, record_text
from mailwright.sandbox.certificates import make_identity
from mailwright.sandbox.demo.content import NEWS, SHOP

TENANT: Final = "acme"
#: The credential of receipts logs in; the one of news also serves the open listener.
RECEIPTS: Final = "shop"
BULK: Final = "crm"
#: The listeners in the order of ``node.toml``.
LOGIN_LISTENER: Final = 0
NETWORK_LISTENER: Final = 1
HOSTNAME: Final = "mta.acme.test"
_SELECTOR: Final = "s1"

_NODE: Final = """\
# The node of a demo. Nothing of it leaves this machine.

name = "demo"
hostname = "{hostname}"
state_dir = "state"
bootstrap = "setup.toml"

[[smtp]]
# For programs that log in; port 0 takes a free one.
listen = "127.0.0.1:0"
tls = "starttls"
certificate_file = "tls/certificate.pem"
key_file = "tls/key.pem"

[[smtp]]
# For a CRM on this host that cannot log in.
listen = "127.0.0.1:0"
tls = "none"
networks = ["127.0.0.0/8"]
credential = "crm"

[http]
listen = "127.0.0.1:0"

[dns]
# The name server of the sandbox.
nameservers = ["{nameserver}"]
port = {nameserver_port}

[delivery]
# The sandbox's receivers have no port 25, and nobody wants to wait for hours.
smtp_port = {smtp_port}
retry = ["1s", "2s", "4s"]
ambiguous_retry = "1s"
"""

_SETUP: Final = """\
# What the node of the demo starts with.

allowed_networks = ["127.0.0.0/8"]

[[tenant]]
name = "acme"

[[source]]
name = "ip1"
address = "127.1.0.1"
ehlo_name = "out1.acme.test"

[[source]]
name = "ip2"
address = "127.1.0.2"
ehlo_name = "out2.acme.test"

[[pool]]
name = "main"
sources = {{ ip1 = 2, ip2 = 1 }}

[[stream]]
tenant = "acme"
name = "receipts"
class = "transactional"
pool = "main"

[[stream]]
tenant = "acme"
name = "news"
class = "bulk"
pool = "main"

[[credential]]
tenant = "acme"
name = "shop"
stream = "receipts"
sha256 = "{shop_sha256}"
dsn = "none"

[[credential]]
tenant = "acme"
name = "crm"
stream = "news"
sha256 = "{crm_sha256}"
dsn = "none"

[[sending_domain]]
tenant = "acme"
domain = "{shop}"
selector = "{selector}"
key_file = "keys/{shop}.{selector}.pem"
proof = "operator"

[[sending_domain]]
tenant = "acme"
domain = "{news}"
selector = "{selector}"
key_file = "keys/{news}.{selector}.pem"
proof = "operator"
"""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is ready for its node.

    Attributes:
        secrets: by the name of the credential.
        records: TXT records to publish, by name.
        certificate: what a client of the listeners has to trust.
    """

    path: Path
    secrets: Mapping[str, str]
    records: Mapping[str, str]
    certificate: Path

    @property
    def node_file(self) -> Path:
        """The node's settings file."""
        return self.path / "node.toml"

    @property
    def log_file(self) -> Path:
        """Where the node's log goes."""
        return self.path / "node.log"


async def write_folder(
    path: Path, nameserver: tuple[str, int], smtp_port: int, now: datetime
) -> Folder:
    """Write the files into the empty folder ``path``.

    Raises:
        OSError: they cannot be written.
    """
    identity = await make_identity((HOSTNAME,), now)

    def write() -> Folder:
        certificate = path / "tls" / "certificate.pem"
        certificate.parent.mkdir()
        certificate.write_bytes(identity.certificate_pem)
        key_file = certificate.with_name("key.pem")
        key_file.touch(mode=0o600)
        key_file.write_bytes(identity.key_pem)
        secrets = {name: make_secret(name) for name in (RECEIPTS, BULK)}
        records = dict(_write_key(path / "keys", domain) for domain in (SHOP, NEWS))
        node = _NODE.format(
            hostname=HOSTNAME,
            nameserver=nameserver[0],
            nameserver_port=nameserver[1],
            smtp_port=smtp_port,
        )
        setup = _SETUP.format(
            shop=SHOP,
            news=NEWS,
            selector=_SELECTOR,
            shop_sha256=secrets[RECEIPTS][1].hex(),
            crm_sha256=secrets[BULK][1].hex(),
        )
        (path / "node.toml").write_text(node, "utf-8")
        (path / "setup.toml").write_text(setup, "utf-8")
        texts = {name: text for name, (text, _) in secrets.items()}
        return Folder(path, texts, records, certificate)

    return await asyncio.to_thread(write)


def _write_key(folder: Path, domain: str) -> tuple[str, str]:
    """Make a key for ``domain``; return the record that publishes it."""
    folder.mkdir(exist_ok=True)
    key = generate(RSA_SHA256)
    write_new_key(folder / f"{domain}.{_SELECTOR}.pem", key)
    return record_name(domain, _SELECTOR), record_text(key)
