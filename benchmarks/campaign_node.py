"""What ``campaign-node`` runs: writes the two settings files and becomes the node."""

import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from node_files import NodeFiles, folder_on_disk
from relaybench.processes import PATIENCE_S, free_port

AUTHOR: Final = "news@example.com"
_POLL_S: Final = 0.05


def main() -> int:
    """Run the node; return its exit status."""
    try:
        sink, key_file = (os.environ[name] for name in ("SINK", "DKIM_KEY"))
    except KeyError as missing:
        print(f"campaign-node: set {missing.args[0]}", file=sys.stderr)
        return 2
    listen = os.environ.get("LISTEN") or f"127.0.0.1:{free_port()}"
    key = "mw_crm_" + base64.b32encode(secrets.token_bytes(20)).decode().lower()
    folder = folder_on_disk("campaign-node-")
    try:
        key_hash = hashlib.sha256(key.encode()).hexdigest()
        files = NodeFiles(sink, (("news", "bulk"),), http=listen, key_hash=key_hash)
        settings = files.write(folder, Path(key_file))
        command = (sys.executable, "-m", "mailwright", "serve", settings)
        # Our output is for the line of JSON; the node logs to its standard error.
        node = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: node.terminate())
        if _is_open(node, listen, key):
            said = {"api": f"http://{listen}", "key": key, "from": AUTHOR}
            print(json.dumps(said), flush=True)
        return node.wait()
    finally:
        shutil.rmtree(folder)


def _is_open(node: "subprocess.Popen[bytes]", listen: str, key: str) -> bool:
    """Wait until the node takes campaigns; false when it ended instead."""
    rest = threading.Event()
    request = urllib.request.Request(
        f"http://{listen}/v1/campaigns?limit=1",
        headers={"Authorization": f"Bearer {key}"},
    )
    for _ in range(int(PATIENCE_S / _POLL_S)):
        if node.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S):  # noqa: S310
                return True
        except urllib.error.HTTPError as error:
            with error:
                print(f"campaign-node: {error.read().decode()}", file=sys.stderr)
            node.terminate()
            return False
        except OSError:
            rest.wait(_POLL_S)
    node.terminate()
    return False


if __name__ == "__main__":
    sys.exit(main())
