"""The relays that are measured: how each is set up, started and ended.

All keep their queue on the same disk, answer the final dot after it is synced, sign
with the same RSA-2048 key and send all to the same sink. Each is told to work as fast
as it can under these rules; ``Relay.settings`` says what that is.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from relaybench.processes import free_port, running, version, wait_for, wait_open

ROOT = Path(__file__).parents[2]


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
                "signing: in the node, relaxed/relaxed",
                "log: level warning; one process",
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
    master = ("postfix", "-c", folder / "etc", "start-fg")
    log = folder / "log/start"
    with (
        running(signer, folder / "log/opendkim") as opendkim,
        running(master, log) as main,
    ):
        wait_for(
            opendkim, (folder / "milter/socket").is_socket, folder / "log/opendkim"
        )
        wait_open(main, port, log)
        yield Relay(
            "postfix",
            port,
            (opendkim.pid, main.pid),
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


#: By what ``--only`` calls them, in the order of a round.
SETUPS: dict[str, Setup] = {
    "mailwright": mailwright,
    "postfix": postfix,
}
