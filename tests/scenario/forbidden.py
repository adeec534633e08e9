"""Tries what the service must not do, and what it must; prints JSON: name → what came.

``""`` is success, else the name of the error. Every attempt is one that would change
nothing if it were let through: a mount of no file system, a hostname that is the same.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), function)


def write(path: str) -> None:
    Path(path).write_text("x")
    Path(path).unlink()


def listen(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        pass


def open_family(family: int) -> None:
    socket.socket(
        family, socket.SOCK_RAW if family == 17 else socket.SOCK_DGRAM
    ).close()


def set_bit(folder: str, mode: int) -> None:
    path = Path(folder, "bit")
    path.touch()
    try:
        path.chmod(mode)
    finally:
        path.unlink()


def main(state: str, port: int, other_pid: int) -> None:
    forbidden: dict[str, Callable[[], object]] = {
        "write /etc": lambda: write("/etc/mailwright-probe"),
        "write /usr": lambda: write("/usr/mailwright-probe"),
        "write /var/lib": lambda: write("/var/lib/mailwright-probe"),
        "write /dev": lambda: write("/dev/mailwright-probe"),
        # Only the read-only tree forbids this one: its mode lets everyone.
        "write an open folder": lambda: write(str(Path(state).with_name("open") / "x")),
        "read /proc/stat": lambda: Path("/proc/stat").read_text(),
        "read /proc/sys": lambda: Path("/proc/sys/kernel/hostname").read_text(),
        "see other processes": lambda: Path(f"/proc/{other_pid}/cmdline").read_bytes(),
        "become root": lambda: os.setuid(0),
        "chown": lambda: os.chown(state, 0, 0),
        # Who may mount is told ENODEV.
        "mount": lambda: call("mount", b"x", b"/", b"no-file-system", 0, b""),
        "unshare": lambda: call("unshare", 0x10000000),
        "chroot": lambda: os.chroot("/"),
        "ptrace": lambda: call("ptrace", 0, 0, 0, 0),  # be traced by the parent
        "keyctl": lambda: call("syscall", 250, 0, -3, 1),
        "bpf": lambda: call("syscall", 321, 0, None, 0),
        "set the hostname": lambda: socket.sethostname(socket.gethostname()),
        "raise priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        "lock memory": lambda: call("mlockall", 1),
        "a packet socket": lambda: open_family(17),
        "a netlink socket": lambda: open_family(16),
        "writable code": lambda: mmap.mmap(-1, 4096, prot=7).close(),
        "setuid bit": lambda: set_bit(state, 0o4700),
        "setgid bit": lambda: set_bit(state, 0o2700),
    }
    allowed: dict[str, Callable[[], object]] = {
        "write the state": lambda: write(f"{state}/probe"),
        "write /tmp": lambda: write("/tmp/probe"),  # noqa: S108
        "a low port": lambda: listen(port),
        "many files": lambda: [
            os.close(each) for each in [os.dup(0) for _ in range(1000)]
        ],
        "read oneself": lambda: Path("/proc/self/statm").read_text(),
        "look up names": lambda: socket.getaddrinfo("localhost", 25),
    }
    found = {}
    for name, attempt in {**forbidden, **allowed}.items():
        try:
            attempt()
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, repr(error))
        else:
            found[name] = ""
    root = sorted(os.listdir("/root")) if os.access("/root", os.R_OK) else []
    report = {
        "forbidden": [*forbidden],
        "allowed": [*allowed],
        "found": found,
        "home": os.listdir("/home"),
        "root": root,
        "status": Path("/proc/self/status").read_text(),
        "key": (
            Path(os.environ.get("CREDENTIALS_DIRECTORY", "/"), "node.key")
        ).exists(),
    }
    sys.stdout.write(json.dumps(report))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
