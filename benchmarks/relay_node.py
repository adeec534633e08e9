"""What ``relay-node`` runs: writes the two settings files and becomes the node."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from node_files import NodeFiles, folder_on_disk


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
        files = NodeFiles(sink, (("relayed", "transactional"),), smtp=listen)
        settings = files.write(folder, Path(key))
        command = (sys.executable, "-m", "mailwright", "serve", settings)
        node = subprocess.Popen(command)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: node.terminate())
        return node.wait()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
