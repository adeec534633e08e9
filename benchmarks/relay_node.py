"""What ``relay-node`` runs: writes the two settings files and becomes the node."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

NODE: Final = """\
name = "relay"
hostname = "relay.example.com"
state_dir = "state"
bootstrap = "setup.toml"

[[smtp]]
listen = "{listen}"
tls = "none"
networks = ["127.0.0.0/8"]
credential = "clients"

[http]
listen = "127.0.0.1:0"

[log]
level = "warning"
"""
SETUP: Final = """\
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

[[stream]]
tenant = "bench"
name = "relayed"
class = "transactional"
pool = "main"

[[credential]]
tenant = "bench"
name = "clients"
stream = "relayed"
dsn = "none"

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
"""
#: Where state must not lie: what a sync does there says nothing.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


def folder_on_disk(prefix: str) -> Path:
    """Return a new folder on a real file system, under TMPDIR if that is one."""
    for base in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()):  # noqa: S108
        kind = subprocess.run(
            ["stat", "-f", "-c", "%T", base], capture_output=True, text=True, check=True
        ).stdout.strip()
        if kind not in _IN_MEMORY:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    sys.exit("no folder on a disk; set TMPDIR to one")


def main() -> int:
    """Run the node; return its exit status."""
    try:
        listen, sink, key = (
            os.environ[name] for name in ("LISTEN", "SINK", "DKIM_KEY")
        )
    except KeyError as missing:
        print(f"relay-node: set {missing.args[0]}", file=sys.stderr)
        return 2
    folder = folder_on_disk("relay-node-")
    try:
        (folder / "node.toml").write_text(NODE.format(listen=listen))
        (folder / "setup.toml").write_text(SETUP.format(sink=sink))
        shutil.copyfile(key, folder / "s1.pem")
        (folder / "s1.pem").chmod(0o600)
        command = (sys.executable, "-m", "mailwright", "serve", folder / "node.toml")
        node = subprocess.Popen(command)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: node.terminate())
        return node.wait()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
