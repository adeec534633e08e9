"""What a test may do on this machine: tried, once a process, when the first test needs it.

Root in a container often may not mount or trace. A test that has to says so by the marker
``needs``, and where it may not it is skipped; the end of the run tells which and why.
"""

import os
import resource
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

#: For a thousand connections, from a process that has both ends.
FILES: Final = 4096
_WITHIN_S: Final = 120
_GIVEN: Final = "d=$(mktemp -d) && { chown 65534 $d; s=$?; rm -r $d; [ $s = 0 ]; }"
_NOBODY: Final = "setpriv --reuid=65534 --regid=65534 --clear-groups"
_CONFINED: Final = (
    "mount --make-rprivate / && mount -t tmpfs none /mnt"
    " && mount -t proc -o subset=pid,hidepid=2 none /proc"
)


@cache
def missing(need: str) -> str:
    """Return why this machine does not give ``need``; nothing when it does.

    Raises:
        KeyError: no test may need that.
    """
    return _PROBES[need]()


def _said(command: str) -> str:
    """Return what a shell's command complained of; nothing when it went well."""
    done = subprocess.run(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_WITHIN_S,
        check=False,
    )
    if done.returncode == 0:
        return ""
    told = (done.stderr or done.stdout).strip().splitlines()
    return told[0] if told else f"exit status {done.returncode}"


def _root() -> str:
    return "" if os.geteuid() == 0 else "root: peers run as users of their own"


def _mounts() -> str:
    with tempfile.TemporaryDirectory() as name:
        at = shlex.quote(name)
        said = _said(f"mount -t tmpfs -o size=1m,nr_inodes=99 none {at} && umount {at}")
    return said and f"to mount a tmpfs: {said}"


def _loops() -> str:
    with tempfile.TemporaryDirectory() as name:
        image, at = (shlex.quote(f"{name}/{each}") for each in ("image", "at"))
        said = _said(
            f"truncate -s 16M {image} && mkfs.ext4 -q -F {image} && mkdir {at}"
            f" && mount -o loop {image} {at} && umount {at}"
        )
    return said and f"to mount a file: {said}"


def _tracing() -> str:
    said = _said("strace -D -f --seccomp-bpf -o /dev/null -e trace=fsync true")
    # strace ends at once when the process that it attached to has ended.
    said = said or _said(
        "sleep 1 & strace -f -p $! -o /dev/null -e trace=fsync"
        " -e inject=fsync:error=EIO"
    )
    return said and f"to trace with strace: {said}"


def _confinement() -> str:
    said = _said(
        f"unshare --mount --ipc --uts sh -c '{_CONFINED} && {_NOBODY} --no-new-privs true'"
    )
    return said and f"namespaces, mounts and users: {said}"


def _users() -> str:
    said = _said(f"{_NOBODY} true") or _said(_GIVEN)
    return said and f"to be other users, and to give them files: {said}"


def _files() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES:
        return ""
    if hard != resource.RLIM_INFINITY and hard < FILES:
        return f"{FILES} open files: the limit is {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    return ""


def _faketime() -> str:
    if any(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        return ""
    return "libfaketime (the Debian package)"


def _shared_memory() -> str:
    at = Path("/dev/shm")  # noqa: S108 another disk than that of temporary folders
    if not (at.is_dir() and os.access(at, os.W_OK)):
        return f"{at}, to write to"
    return ""


_PROBES: Mapping[str, Callable[[], str]] = {
    "root": _root,
    "mounts": _mounts,
    "loops": _loops,
    "tracing": _tracing,
    "confinement": _confinement,
    "users": _users,
    "files": _files,
    "faketime": _faketime,
    "shared memory": _shared_memory,
}
NEEDS: Final = frozenset(_PROBES)
