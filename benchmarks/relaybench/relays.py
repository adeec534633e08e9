"""The relays that are measured: how each is set up, started and ended.

All keep their queue on the same disk, answer the final dot after it is synced, sign
with the same RSA-2048 key and send all to the same sink. Each is told to work as fast
as it can under these rules; ``Relay.settings`` says what that is.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from relaybench.processes import (
    BenchError,
    free_port,
    running,
    version,
    wait_for,
    wait_open,
)

ROOT = Path(__file__).parents[2]
_HARAKA = ROOT / "benchmarks" / "peers" / "haraka"


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay that runs.

    Attributes:
        name: of one word, for tables.
        port: of its door, on loopback.
        pids: its processes; those below them count too.
        settings: what to know of how it is set up, a line each.
    """

    name: str
    port: int
    pids: tuple[int, ...]
    settings: Sequence[str]


class Setup(Protocol):
    """How one relay is run."""

    def __call__(
        self, folder: Path, key: Path, sink: int
    ) -> AbstractContextManager[Relay]:
        """Run it with its state in a new ``folder``, to the sink's port."""
        ...


@contextmanager
def mailwright(folder: Path, key: Path, sink: int) -> Iterator[Relay]:
    """Run ``benchmarks/relay-node``."""
    folder.mkdir()
    port, log = free_port(), folder / "log"
    env = os.environ | {
        "LISTEN": f"127.0.0.1:{port}",
        "SINK": f"127.0.0.1:{sink}",
        "DKIM_KEY": str(key),
        "TMPDIR": str(folder),
    }
    with running([ROOT / "benchmarks" / "relay-node"], log, env=env) as node:
        wait_open(node, port, log)
        yield Relay(
            "mailwright",
            port,
            (node.pid,),
            (
                version(sys.executable, "-m", "mailwright", "--version")
                + f", Python {sys.version.split()[0]}",
                "durable: one SQLite file, WAL, synchronous=FULL; "
                "250 after the commit, many accepts in one",
                "outcomes: each written to the same file, events too",
                "signing: relaxed/relaxed, in the process that leads the sessions",
                "log: level warning; two processes",
            ),
        )


_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}/log
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example.com
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtp_dns_support_level = disabled
milter_default_action = tempfail
{milters}
# So that it is not held back by limits that protect others:
default_process_limit = 200
smtpd_client_connection_count_limit = 0
default_destination_concurrency_limit = 100
initial_destination_concurrency = 100
default_destination_recipient_limit = 1
in_flow_delay = 0
"""
_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
_OPENDKIM = """\
Mode s
Domain example.com
Selector s1
KeyFile {folder}/s1.pem
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
InternalHosts 127.0.0.0/8
Socket local:{folder}/milter/socket
UserID postfix
UMask 007
Background no
Syslog no
RequireSafeKeys no
"""


@contextmanager
def postfix(
    folder: Path, key: Path, sink: int, *, signs: bool = True
) -> Iterator[Relay]:
    """Run an instance of Debian's Postfix of its own, and OpenDKIM. Needs root."""
    _need("smtp-source", "postfix", "opendkim")
    folder.mkdir(mode=0o711)
    port = free_port()
    for name in ("etc", "spool", "log", "data", "milter"):
        (folder / name).mkdir()
    for name in ("data", "milter"):
        shutil.chown(folder / name, "postfix")
    values = {"folder": folder, "sink": sink, "port": port}
    milters = f"smtpd_milters = unix:{folder}/milter/socket" if signs else ""
    (folder / "etc/main.cf").write_text(_MAIN_CF.format(milters=milters, **values))
    (folder / "etc/master.cf").write_text(_MASTER_CF.format(**values))
    shutil.copyfile(key, folder / "s1.pem")
    shutil.chown(folder / "s1.pem", "postfix")
    (folder / "s1.pem").chmod(0o600)
    (folder / "opendkim.conf").write_text(_OPENDKIM.format(**values))
    signer = ("opendkim", "-f", "-x", folder / "opendkim.conf")
    log = folder / "log/opendkim"
    with running(signer, log) as opendkim, _postfix_master(folder) as master:
        wait_for(opendkim, (folder / "milter/socket").is_socket, log)
        yield Relay(
            "postfix",
            port,
            (opendkim.pid, master),
            (
                f"Postfix {version('postconf', '-h', 'mail_version')}, "
                f"{version('opendkim', '-V')}",
                "durable: a file a message, created under its final name and synced; "
                "250 after it",
                "signing: OpenDKIM as a milter on a Unix socket, relaxed/relaxed"
                if signs
                else "signing: none",
                "limits: 200 processes, 100 connections at once to the sink, "
                "no in_flow_delay; connections are kept as it sees fit (on demand)",
                "log: its maillog, as always; one process a connection",
            ),
        )


@contextmanager
def _postfix_master(folder: Path) -> Iterator[int]:
    """Run the daemons of an instance, which listens when this yields the first's id."""

    def control(command: str) -> str:
        done = subprocess.run(
            ("postfix", "-c", folder / "etc", command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        return "" if done.returncode == 0 else done.stderr

    if said := control("start"):
        raise BenchError(f"Postfix does not start: {said}")
    try:
        yield int((folder / "spool/pid/master.pid").read_text())
    finally:
        control("stop")  # waits, and at last uses force


_NODE_SINCE = 20
_HARAKA_CONFIG = {
    "smtp.ini": "listen=127.0.0.1:{port}\nnodes={nodes}\n",
    "plugins": "to_sink\ndkim\n",
    "to_sink": "{sink}\n",
    "me": "relay.example.com\n",
    "log.ini": "[main]\nlevel=warn\nformat=default\n",
    "outbound.ini": "enable_tls=false\n",
    "dkim.ini": "[sign]\nenabled=true\nselector=s1\ndomain=example.com\n"
    "headers=From, Subject, Date, Message-ID, To, MIME-Version, Content-Type\n"
    "[canon]\nbody=relaxed\n[verify]\nenabled=false\n",
    "dkim/example.com/selector": "s1\n",
}


@contextmanager
def haraka(folder: Path, key: Path, sink: int) -> Iterator[Relay]:
    """Run the Haraka whose versions ``benchmarks/peers/haraka`` pins."""
    _need("node", "npm")
    if int(version("node", "--version").lstrip("v").split(".")[0]) < _NODE_SINCE:
        raise BenchError(f"Haraka needs Node {_NODE_SINCE} or later")
    modules = _installed_haraka()
    (folder / "config/dkim/example.com").mkdir(parents=True)
    (folder / "plugins").mkdir()
    (folder / "queue").mkdir()
    shutil.copy(_HARAKA / "to_sink.js", folder / "plugins")
    port, nodes = free_port(), len(os.sched_getaffinity(0))
    for name, text in _HARAKA_CONFIG.items():
        values = {"port": port, "sink": sink, "nodes": nodes}
        (folder / "config" / name).write_text(text.format(**values))
    stock = modules / "Haraka/config/connection.ini"
    shutil.copyfile(stock, folder / "config/connection.ini")
    shutil.copyfile(key, folder / "config/dkim/example.com/private")
    command = ("node", modules / "Haraka/bin/haraka", "-c", folder)
    log = folder / "log"
    with running(command, log) as process:
        wait_open(process, port, log)
        yield Relay(
            "haraka",
            port,
            (process.pid,),
            (
                f"Haraka {_package_version(modules / 'Haraka')}, "
                f"haraka-plugin-dkim {_package_version(modules / 'haraka-plugin-dkim')}, "
                f"Node {version('node', '--version')}",
                "durable: a file a message, synced, then renamed (its folder is not "
                "synced); 250 after it",
                "signing: haraka-plugin-dkim, relaxed body",
                f"limits: {nodes} workers, a connection a message "
                "(it does not keep them), as many as it likes",
                "log: level warn",
            ),
        )


def _installed_haraka() -> Path:
    """Return its node_modules, installed once for each set of pinned versions.

    Raises:
        BenchError: it cannot be installed.
    """
    pins = [_HARAKA / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pins)).hexdigest()
    place = ROOT / ".cache" / f"haraka-{digest[:12]}"
    if not place.exists():
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        fresh.mkdir(parents=True)
        for path in pins:
            shutil.copy(path, fresh)
        command = ("npm", "ci", "--ignore-scripts", "--omit=optional", "--no-audit")
        done = subprocess.run(
            command, cwd=fresh, capture_output=True, text=True, check=False
        )
        if done.returncode:
            shutil.rmtree(fresh)
            raise BenchError(f"npm cannot install Haraka: {done.stderr[-1000:]}")
        fresh.rename(place)
    return place / "node_modules"


def _need(*programs: str) -> None:
    if missing := [name for name in programs if shutil.which(name) is None]:
        raise BenchError(f"there is no {', no '.join(missing)} here")


def _package_version(folder: Path) -> str:
    return str(json.loads((folder / "package.json").read_text())["version"])


#: By what ``--only`` calls them, in the order of a round.
SETUPS: dict[str, Setup] = {
    "mailwright": mailwright,
    "postfix": postfix,
    "haraka": haraka,
}
