"""Debian's Postfix: private instances on loopback, in every role; and its sink."""

import asyncio
import os
import pwd
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fakes.privileges import missing

START_S = 240.0
_CHANCE = random.SystemRandom()
#: What its certificates are for.
NAME = "peer.example"
#: Who owns what Postfix writes.
USER = "postfix"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}/log
mail_owner = postfix
setgid_group = postdrop
myhostname = peer.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = dest.example, example.net
mynetworks =
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {folder}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/etc/tls.pem
smtpd_tls_received_header = yes
{more}
"""
#: Passwords of its own, asked for under TLS only.
_SASL = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = peer.example
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""
_SASL_CONF = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/passwords
mech_list: PLAIN LOGIN
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
smtp unix - - n - - smtp
relay unix - - n - - smtp
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    """An instance that runs. It keeps what it gets for anyone in its two domains.

    What else it takes, if its settings let it, goes to its ``relayhost``.
    """

    folder: Path
    port: int

    @property
    def log(self) -> str:
        """What it has logged."""
        path = self.folder / "log" / "maillog"
        return path.read_text() if path.exists() else ""

    @property
    def master(self) -> int | None:
        """The process id of its master; ``None``: it has not started yet."""
        try:
            text = (self.folder / "spool" / "pid" / "master.pid").read_text()
        except FileNotFoundError:
            return None
        return int(text) if text.strip() else None

    @property
    def letters(self) -> list[bytes]:
        """What it has delivered, with the fields that delivery adds; lines end in LF."""
        folder = self.folder / "mail" / "all" / "new"
        return [path.read_bytes() for path in sorted(folder.glob("*"))]

    async def wait_letters(self, count: int) -> list[bytes]:
        """Return what it has delivered when that is ``count`` letters."""
        async with asyncio.timeout(START_S):
            while len(self.letters) < count:
                await asyncio.sleep(0.05)
        return self.letters

    async def wait_log(self, text: str) -> str:
        """Return the first line of its log that has ``text``."""
        async with asyncio.timeout(START_S):
            while True:
                for line in self.log.splitlines():
                    if text in line:
                        return line
                await asyncio.sleep(0.05)

    async def wait_idle(self) -> None:
        """Return when its queue is empty."""
        queues = [self.folder / "spool" / each for each in ("incoming", "active")]
        async with asyncio.timeout(START_S):
            while any(path.is_file() for each in queues for path in each.rglob("*")):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running_postfix(
    folder: Path,
    *,
    more: str = "",
    certificate: trustme.LeafCert | None = None,
    logins: Mapping[str, str] | None = None,
) -> AsyncIterator[Postfix]:
    """Run an instance in ``folder``.

    Args:
        folder: is made.
        more: settings of its ``main.cf``.
        certificate: for TLS; one that nobody trusts if there is none.
        logins: passwords by name; with them it serves nobody without AUTH.
    """
    _need_users()
    port = free_port()
    if logins is not None:
        more = _SASL + more
    settings = _write_instance(folder, port, more)
    certificate = certificate or trustme.CA().issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(settings / "tls.pem")
    for name, password in (logins or {}).items():
        passwords = settings / "sasl" / "passwords"
        await _run(
            *("saslpasswd2", "-p", "-c", "-f", str(passwords), "-u", NAME, name),
            said=password,
        )
        shutil.chown(passwords, USER)
    postfix = Postfix(folder, port)
    # In the foreground: "start" gives up after ten seconds, on a busy machine too soon.
    running = await asyncio.create_subprocess_exec(
        *("postfix", "-c", str(settings), "start-fg"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _wait_open(port)
        yield postfix
    except BaseException as error:
        error.add_note(postfix.log)
        raise
    finally:
        await _end(running, postfix)


async def _end(running: asyncio.subprocess.Process, postfix: Postfix) -> None:
    """End the master, which ends its own family; a script waits for it."""
    async with asyncio.timeout(START_S):
        while running.returncode is None:
            # It may be ended while it starts: it says its number a moment later.
            if (number := postfix.master) is not None:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGTERM)
                break
            await asyncio.sleep(0.05)
        await running.wait()


async def _run(*command: str, said: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate(said.encode())
    assert process.returncode == 0, error.decode()


@dataclass(frozen=True, slots=True)
class Sink:
    """An ``smtp-sink`` that runs."""

    folder: Path
    port: int

    @property
    def letters(self) -> list[bytes]:
        """What it took: its own fields, then the content; lines end in LF."""
        return [path.read_bytes() for path in sorted(self.folder.glob("letter.*"))]

    async def wait_letters(self, count: int) -> list[bytes]:
        """Return what it took when that is ``count`` whole letters."""
        async with asyncio.timeout(START_S):
            while len([each for each in self.letters if each]) < count:
                await asyncio.sleep(0.05)
        return self.letters


@asynccontextmanager
async def running_sink(folder: Path) -> AsyncIterator[Sink]:
    """Run ``smtp-sink``, which takes everything."""
    _need_users()
    _make_folder(folder)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("smtp-sink", "-u", USER, "-d", f"{folder}/letter."),
        *(f"127.0.0.1:{port}", "100"),
    )
    try:
        await _wait_open(port)
        yield Sink(folder, port)
    finally:
        process.terminate()
        await process.wait()


def _need_users() -> None:
    if why := missing("users"):
        pytest.skip(f"needs {why}")


def _write_instance(folder: Path, port: int, more: str) -> Path:
    """Write the files of an instance and return their folder."""
    owner = pwd.getpwnam(USER)
    folder.mkdir()
    for name in ("etc", "spool", "log"):
        (folder / name).mkdir()
    for name in ("data", "mail"):
        _make_folder(folder / name)
    settings = folder / "etc"
    # There Debian's Postfix looks for it, whatever it is told.
    sasl = settings / "sasl"
    sasl.mkdir()
    (sasl / "smtpd.conf").write_text(_SASL_CONF.format(folder=sasl))
    values = {"folder": folder, "uid": owner.pw_uid, "gid": owner.pw_gid, "more": more}
    (settings / "main.cf").write_text(_MAIN.format(**values))
    (settings / "master.cf").write_text(_MASTER.format(port=port))
    return settings


def _make_folder(folder: Path) -> None:
    """Make a folder for Postfix to write in, and let it pass through those above."""
    folder.mkdir()
    shutil.chown(folder, USER)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)


def free_port() -> int:
    """Return a port that was free a moment ago.

    It takes seconds until it is used, while other tests run: it is none of those that the
    system gives to whoever wants any.
    """
    first_given = int(
        Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    )
    while True:
        port = _CHANCE.randrange(min(10_000, first_given - 1000), first_given)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def _wait_open(port: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return
