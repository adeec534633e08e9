"""The two settings files of a node that sends everything to one sink."""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NODE: Final = """\
name = "bench"
hostname = "relay.example.com"
state_dir = "state"
bootstrap = "setup.toml"

[http]
listen = "{http}"

[log]
level = "{log_level}"
"""
_SMTP: Final = """
[[smtp]]
listen = "{smtp}"
tls = "none"
networks = ["127.0.0.0/8"]
credential = "crm"
"""
_SETUP: Final = """\
allowed_networks = ["127.0.0.0/8"]

[[tenant]]
name = "bench"

[[source]]
name = "here"
address = ""
ehlo_name = "relay.example.com"

[[pool]]
name = "main"
sources = {{ here = 1 }}
{streams}
[[credential]]
tenant = "bench"
name = "crm"
stream = "{stream}"
dsn = "none"
{key}
[[sending_domain]]
tenant = "bench"
domain = "example.com"
selector = "s1"
key_file = "s1.pem"
proof = "operator"

[[route]]
domain = "*"
next_hop = "{sink}"
pipelining = "transactions"
tls = "none"

# As many connections to one receiver as the relays that this is compared with are told.
[[provider]]
name = "default"
per_source_and_site = {{ connections = 100 }}
"""
_STREAM: Final = """
[[stream]]
tenant = "bench"
name = "{name}"
class = "{kind}"
pool = "main"
"""
_SCOPES: Final = '["send", "control", "read", "manage"]'
#: Where state must not lie: what a sync does there says nothing.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """What differs between the nodes of the benchmarks.

    Attributes:
        sink: ``host:port`` that all mail goes to.
        streams: their names with their classes; the first is the credential's.
        http: where the API listens.
        smtp: where the SMTP door listens; ``""``: there is none.
        key_hash: SHA-256 of the API key, in hex; ``""``: it has none.
        log_level: ``info`` says where it listens.
        more: further tables of the node's file.
    """

    sink: str
    streams: tuple[tuple[str, str], ...]
    http: str = "127.0.0.1:0"
    smtp: str = ""
    key_hash: str = ""
    log_level: str = "warning"
    more: str = ""

    def write(self, folder: Path, dkim_key: Path) -> Path:
        """Write them and a copy of the signing key; return the node's file."""
        key = f'sha256 = "{self.key_hash}"\nscopes = {_SCOPES}\n'
        setup = _SETUP.format(
            streams="".join(
                _STREAM.format(name=name, kind=kind) for name, kind in self.streams
            ),
            stream=self.streams[0][0],
            key=key if self.key_hash else "",
            sink=self.sink,
        )
        (folder / "setup.toml").write_text(setup)
        node = _NODE.format(http=self.http, log_level=self.log_level)
        if self.smtp:
            node += _SMTP.format(smtp=self.smtp)
        path = folder / "node.toml"
        path.write_text(node + self.more)
        copy = folder / "s1.pem"
        if copy != dkim_key:
            shutil.copyfile(dkim_key, copy)
        copy.chmod(0o600)
        return path


def folder_on_disk(prefix: str) -> Path:
    """Return a new folder on a real file system, under TMPDIR if that is one."""
    for base in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()):  # noqa: S108
        kind = subprocess.run(
            ["stat", "-f", "-c", "%T", base], capture_output=True, text=True, check=True
        ).stdout.strip()
        if kind not in _IN_MEMORY:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    sys.exit("no folder on a disk; set TMPDIR to one")
