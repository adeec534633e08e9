"""An internet of very many domains, and the files of a node that mails them.

Every small domain has an MX host of its own, so a site and a lane of its own: the worst
case for look-ups, lanes and connections. Their hosts share a few addresses.
"""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.dns import Records
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

TENANTS: Final = 3
SOURCES: Final = 8
#: Domains that most recipients are in.
LARGE: Final = 10
#: Addresses on which the receivers of the small domains listen.
HOSTS: Final = 50

NODE: Final = """\
name = "scale"
hostname = "mta.example.com"
state_dir = "state"
bootstrap = "setup.toml"

[[smtp]]
listen = "127.0.0.1:0"
tls = "none"
networks = ["127.0.0.0/8"]
credential = "crm1"

[http]
listen = "127.0.0.1:0"
metrics_networks = ["127.0.0.0/8"]

[delivery]
smtp_port = {smtp_port}

[dns]
nameservers = ["{dns_host}"]
port = {dns_port}
"""
TENANT: Final = """
[[tenant]]
name = "t{n}"

[[stream]]
tenant = "t{n}"
name = "news"
class = "bulk"
pool = "main"

[[credential]]
tenant = "t{n}"
name = "crm{n}"
stream = "news"
dsn = "none"

[[sending_domain]]
tenant = "t{n}"
domain = "s{n}.example"
selector = "s1"
key_file = "s1.pem"
proof = "operator"
"""
SOURCE: Final = """
[[source]]
name = "ip{n}"
address = "127.0.2.{n}"
ehlo_name = "m{n}.example.com"
"""


def large_domains() -> list[str]:
    """Return the domains that most recipients are in."""
    return [f"large{n}.example" for n in range(LARGE)]


def small_domains(count: int) -> list[str]:
    """Return ``count`` domains with few recipients each."""
    return [f"d{n}.example" for n in range(count)]


def make_internet() -> Internet:
    """Return an internet of the large domains and the hosts of the small ones."""
    hosts = [SandboxDomain(f"host{n}.example") for n in range(HOSTS)]
    return Internet(
        [*map(SandboxDomain, large_domains()), *hosts],
        inbox=InboxSettings(verify_share=0, letters_max=1),
    )


def add_small_domains(net: Internet, count: int) -> None:
    """Let ``count`` domains exist, each with an MX of its own at one of the hosts."""
    behaviour = Behaviour()
    for number, name in enumerate(small_domains(count)):
        address = f"127.0.0.{LARGE + number % HOSTS + 2}"
        net.dns.put(name, Records(mx=((10, f"mx.{name}"),), ttl_s=3600))
        net.dns.put(f"mx.{name}", Records(addresses=(address,), ttl_s=3600))
        net.conduct.behaviours[name] = behaviour


def write_node(
    folder: Path, net: Internet, *, nameserver: tuple[str, int] | None = None
) -> Path:
    """Write the files of a node whose internet is ``net``; return the first.

    ``nameserver`` stands before the one of ``net``.
    """
    key = generate_private_key(65_537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (folder / "s1.pem").write_bytes(key)
    (folder / "s1.pem").chmod(0o600)
    weights = ", ".join(f"ip{n} = 1" for n in range(1, SOURCES + 1))
    setup = 'allowed_networks = ["127.0.0.0/8"]\n'
    setup += "".join(SOURCE.format(n=n) for n in range(1, SOURCES + 1))
    setup += f'\n[[pool]]\nname = "main"\nsources = {{ {weights} }}\n'
    setup += "".join(TENANT.format(n=n) for n in range(1, TENANTS + 1))
    (folder / "setup.toml").write_text(setup)
    host, port = nameserver or net.nameserver
    settings = folder / "node.toml"
    settings.write_text(
        NODE.format(smtp_port=net.smtp_port, dns_host=host, dns_port=port)
    )
    return settings
