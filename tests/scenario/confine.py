"""Runs a command under the restrictions of a systemd unit, where systemd does not run.

``python confine.py PLAN -- COMMAND…`` as root. PLAN is JSON: see :class:`Plan`. What is
forbidden is read from the unit's own lines, and a line that this file does not know is
an error: what is not applied is not tried.

Two steps, as systemd has them: mounts, namespaces and limits as root; then, as the
service's user and without privileges, the system-call filters; then the command.
"""

import ctypes
import json
import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ctypes import c_char_p, c_int, c_uint, c_uint32, c_uint64, c_ulong, c_void_p
from dataclasses import asdict, dataclass
from pathlib import Path

#: Of the service's user: one that nobody has.
UID = GID = 64_123
CREDENTIALS = "/run/credentials/mailwright.service"

#: Lines that say when and how the service is started, not what it may do.
OTHER_LINES = {
    "Description", "Wants", "After", "StartLimitIntervalSec", "StartLimitBurst", "Type",
    "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec",
    "RestartPreventExitStatus", "WatchdogSec", "TimeoutStartSec", "TimeoutStopSec",
    "KillMode", "WantedBy", "User", "Group", "StateDirectoryMode", "LogsDirectoryMode",
}  # fmt: skip
#: Lines whose work is done by another one here: all other privileges and system calls
#: are taken away, and the namespaces of the test have nothing else in them.
IMPLIED_LINES = {
    "ProtectClock", "ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "PrivateMounts", "RemoveIPC", "KeyringMode",
    "SystemCallArchitectures",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What to confine to.

    Attributes:
        unit: the unit file.
        readable: trees that are needed wherever they lie.
        state: the state folder; it and ``logs`` are all that may be written.
        credentials: folder of files for ``LoadCredential``, by name.
        environment: of the command, beside what the service manager gives.
    """

    unit: str
    readable: Sequence[str]
    state: str
    logs: str
    credentials: str
    environment: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def lines_of(unit: Path) -> dict[str, list[str]]:
    """Return the values of each key of a unit file, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


class Unit:
    """A unit's lines; remembers which were asked for."""

    def __init__(self, lines: dict[str, list[str]]) -> None:
        self._lines = lines
        self._unused = lines.keys() - OTHER_LINES - IMPLIED_LINES

    def words(self, key: str) -> list[str]:
        """Return all words of ``key``."""
        self._unused.discard(key)
        return " ".join(self._lines.get(key, [])).split()

    def word(self, key: str) -> str:
        """Return the last value of ``key``, or ``""``."""
        return next(iter(self.words(key)[-1:]), "")

    def is_on(self, key: str) -> bool:
        return self.word(key) == "yes"

    def check_used(self) -> None:
        if self._unused:
            raise SystemExit(f"confine: not applied: {sorted(self._unused)}")


# -- mounts -------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUTS = 0x20000, 0x8000000, 0x4000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _RDONLY = 442, -100, 0x8000, 1


def _check(result: int, doing: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"confine: {doing}: {os.strerror(number)}")


def mount(
    source: str, target: str, kind: str = "", flags: int = 0, data: str = ""
) -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), c_ulong(flags), data.encode()
    )
    _check(result, f"mount {target}")


def set_readonly(target: str, *, is_readonly: bool, recursive: bool = False) -> None:
    attributes = (c_uint64 * 4)(
        _RDONLY if is_readonly else 0, 0 if is_readonly else _RDONLY, 0, 0
    )
    result = _libc.syscall(
        c_ulong(_MOUNT_SETATTR),
        c_int(_AT_FDCWD),
        c_char_p(target.encode()),
        c_uint(_AT_RECURSIVE if recursive else 0),
        ctypes.byref(attributes),
        c_ulong(ctypes.sizeof(attributes)),
    )
    _check(result, f"mount_setattr {target}")


def bind(descriptor: int, target: str) -> None:
    """Mount what ``descriptor`` is open on at ``target``, making folders on the way."""
    Path(target).mkdir(parents=True, exist_ok=True)
    mount(f"/proc/self/fd/{descriptor}", target, flags=_BIND | _REC)


def arrange_files(unit: Unit, plan: Plan) -> None:
    """Give the process its own view of the files."""
    kept = {path: os.open(path, os.O_PATH) for path in plan.readable}
    written = {path: os.open(path, os.O_PATH) for path in (plan.state, plan.logs)}
    devices = {
        name: os.open(f"/dev/{name}", os.O_PATH)
        for name in ("null", "zero", "full", "random", "urandom", "tty")
    }
    keys = {path.name: path.read_bytes() for path in Path(plan.credentials).iterdir()}
    mount("none", "/", flags=_REC | _PRIVATE)
    hidden = ["/home", "/root", "/run"] if unit.is_on("ProtectHome") else ["/run"]
    private = ["/tmp", "/var/tmp"] if unit.is_on("PrivateTmp") else []  # noqa: S108
    for target in filter(os.path.isdir, (*hidden, *private)):
        mode = "mode=1777" if target in private else "mode=0755"
        mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, mode)
    for path, descriptor in (*kept.items(), *written.items()):
        bind(descriptor, path)
    loaded = [each.partition(":")[0] for each in unit.words("LoadCredential")]
    Path(CREDENTIALS).mkdir(parents=True)
    for name in loaded:
        _give(Path(CREDENTIALS, name), keys[name])
    if unit.is_on("PrivateDevices"):
        _arrange_devices(devices)
    if unit.word("ProtectSystem") == "strict":
        set_readonly("/", is_readonly=True, recursive=True)
    options = [
        "hidepid=2" if unit.word("ProtectProc") == "invisible" else "",
        "subset=pid" if unit.word("ProcSubset") == "pid" else "",
    ]
    flags = _NOSUID | _NODEV | _NOEXEC
    mount("proc", "/proc", "proc", flags, ",".join(filter(None, options)))
    for path in (*written, *private):
        set_readonly(path, is_readonly=False)
        if path in written:
            os.chown(path, UID, GID)


def _give(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    path.chmod(0o400)
    os.chown(path, UID, GID)


def _arrange_devices(devices: dict[str, int]) -> None:
    mount("tmpfs", "/dev", "tmpfs", _NOSUID | _NOEXEC, "mode=0755")
    for name, descriptor in devices.items():
        Path("/dev", name).touch()
        mount(f"/proc/self/fd/{descriptor}", f"/dev/{name}", flags=_BIND)
    Path("/dev/shm").mkdir()  # noqa: S108


# -- system calls ---------------------------------------------------------------------------

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NE, _LT, _EQ, _GT, _MASKED = 1, 2, 4, 6, 7
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
_CLONE_ANY_NEW = 0x7E020080  # also cgroup, time, IPC, user, PID, net, UTS and mount
_PROT_WRITE, _PROT_EXEC, _SHM_EXEC = 2, 4, 0o100000


class _Compare(ctypes.Structure):
    _fields_ = [
        ("arg", c_uint), ("op", c_int), ("a", c_uint64), ("b", c_uint64),
    ]  # fmt: skip


class Filter:
    """A filter of system calls; see seccomp_init(3)."""

    def __init__(self, default: int) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._lib.seccomp_init.restype = c_void_p
        self._lib.seccomp_init.argtypes = [c_uint32]
        self._lib.seccomp_load.argtypes = [c_void_p]
        self._lib.seccomp_rule_add_array.argtypes = [
            c_void_p, c_uint32, c_int, c_uint, c_void_p,
        ]  # fmt: skip
        self._context = self._lib.seccomp_init(default)

    def add(self, action: int, name: str, *compares: tuple[int, int, int, int]) -> None:
        """Do ``action`` at the call ``name`` if its arguments compare so.

        Each of ``compares`` is the argument's number, an operator and its two operands.
        """
        number = self._lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # of another architecture
        array = (_Compare * len(compares))(*compares)
        result = self._lib.seccomp_rule_add_array(
            self._context, action, number, len(compares), array if compares else None
        )
        if result:
            raise OSError(-result, f"confine: rule of {name}: {os.strerror(-result)}")

    def load(self) -> None:
        result = self._lib.seccomp_load(self._context)
        if result:
            raise OSError(-result, f"confine: load: {os.strerror(-result)}")


def groups() -> dict[str, list[str]]:
    """Return systemd's groups of system calls, with the groups in them."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("@"):
            members = found.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())
    return found


def expanded(word: str, known: dict[str, list[str]]) -> Iterator[str]:
    if word.startswith("@"):
        for member in known[word]:
            yield from expanded(member, known)
    else:
        yield word


def allowed_calls(values: Sequence[str]) -> list[str]:
    """Return what ``SystemCallFilter=`` lines allow; the first one must be a list of it."""
    known = groups()
    allowed: set[str] = set()
    for value in values:
        calls = {
            call for word in value.removeprefix("~").split()
            for call in expanded(word, known)
        }  # fmt: skip
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    # systemd allows these in any case.
    return sorted(allowed | set(expanded("@default", known)))


def filter_of(unit: Unit) -> Filter:
    """Return what all lines but ``SystemCallFilter`` forbid of calls otherwise allowed."""
    forbidden = Filter(_ALLOW)
    no = _ERRNO | _EPERM
    if unit.is_on("LockPersonality"):
        forbidden.add(no, "personality", (0, _NE, 0xFFFFFFFF, 0))
    if unit.is_on("MemoryDenyWriteExecute"):
        both = _PROT_WRITE | _PROT_EXEC
        forbidden.add(no, "mmap", (2, _MASKED, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            forbidden.add(no, name, (2, _MASKED, _PROT_EXEC, _PROT_EXEC))
        forbidden.add(no, "shmat", (2, _MASKED, _SHM_EXEC, _SHM_EXEC))
    if unit.is_on("RestrictNamespaces"):
        for bit in range(32):
            if 1 << bit & _CLONE_ANY_NEW:
                forbidden.add(no, "clone", (0, _MASKED, 1 << bit, 1 << bit))
        forbidden.add(_ERRNO | _ENOSYS, "clone3")
        forbidden.add(no, "unshare")
        forbidden.add(no, "setns")
    if unit.is_on("RestrictRealtime"):
        forbidden.add(no, "sched_setscheduler", (1, _GT, 0, 0))
    if unit.is_on("RestrictSUIDSGID"):
        modes = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2,
                 "mknod": 1, "mknodat": 2, "creat": 1, "open": 2, "openat": 3}  # fmt: skip
        for name, argument in modes.items():
            for bit in (stat.S_ISUID, stat.S_ISGID):
                forbidden.add(no, name, (argument, _MASKED, bit, bit))
        forbidden.add(_ERRNO | _ENOSYS, "openat2")
    families = {_FAMILIES[name] for name in unit.words("RestrictAddressFamilies")}
    no_family = _ERRNO | _EAFNOSUPPORT
    for family in set(range(64)) - families if families else ():
        forbidden.add(no_family, "socket", (0, _EQ, family, 0))
    if families:
        forbidden.add(no_family, "socket", (0, _GT, 63, 0))
    return forbidden


# -- the two steps ----------------------------------------------------------------------------


def as_root(plan: Plan, command: Sequence[str]) -> None:
    lines = lines_of(Path(plan.unit))
    calls = allowed_calls(lines["SystemCallFilter"])
    unit = Unit(lines)
    flags = _CLONE_NEWNS
    flags |= _CLONE_NEWIPC if unit.is_on("PrivateIPC") else 0
    flags |= _CLONE_NEWUTS if unit.is_on("ProtectHostname") else 0
    _check(_libc.unshare(flags), "unshare")
    arrange_files(unit, plan)
    # Not even root may always raise its own.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(int(unit.word("LimitNOFILE")), most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    core = int(unit.word("LimitCORE"))
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))
    os.umask(int(unit.word("UMask"), 8))
    capabilities = ",".join(
        f"+{name.removeprefix('CAP_').lower()}"
        for name in unit.words("AmbientCapabilities")
    )
    bounding = ",".join(
        f"+{name.removeprefix('CAP_').lower()}"
        for name in unit.words("CapabilityBoundingSet")
    )
    assert unit.is_on("NoNewPrivileges")
    assert unit.word("SystemCallErrorNumber") == "EPERM"
    unit.words("SystemCallFilter")
    filter_of(unit)  # asks for the lines that the second step applies
    assert unit.word("StateDirectory") == unit.word("LogsDirectory") == "mailwright"
    unit.check_used()
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "CREDENTIALS_DIRECTORY": CREDENTIALS,
        "WATCHDOG_PID": str(os.getpid()),  # it stays the same to the end
        **plan.environment,
    }
    os.execve(  # noqa: S606
        "/usr/bin/setpriv",
        [
            "setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups",
            f"--inh-caps=-all,{capabilities}", f"--ambient-caps=-all,{capabilities}",
            f"--bounding-set=-all,{bounding}", "--no-new-privs",
            sys.executable, __file__, "--as-user", plan.unit, ",".join(calls), "--",
            *command,
        ],
        environment,
    )  # fmt: skip


def as_user(unit: str, calls: str, command: Sequence[str]) -> None:
    forbidden = filter_of(Unit(lines_of(Path(unit))))
    allowed = Filter(_ERRNO | _EPERM)
    for call in calls.split(","):
        allowed.add(_ALLOW, call)
    forbidden.load()
    allowed.load()
    os.execv(command[0], command)  # noqa: S606


if sys.argv[0] == __file__:
    _end = sys.argv.index("--")
    _before, _command = sys.argv[1:_end], sys.argv[_end + 1 :]
    if _before[0] == "--as-user":
        as_user(_before[1], _before[2], _command)
    else:
        as_root(Plan(**json.loads(_before[0])), _command)
