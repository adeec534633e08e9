"""★ What strace saw: calls in order, and whether answers came after their syncs.

Order is that of strace's lines: a call has one where it begins and one where it ended
(the same, when nothing happened between).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

#: What is asked of strace. Files of the interpreter are seen too, and are no matter.
OPTIONS = (
    *("-y", "-s", "300", "-e", "signal=none", "-e"),
    "trace=read,write,writev,sendto,sendmsg,recvfrom,pwrite64,fsync,fdatasync,rename,"
    "openat,mkdir,unlink,accept4",
)
_LINE = re.compile(
    r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)"
)
_RESULT = re.compile(r"(?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<more>.*)")
_UNFINISHED = " <unfinished ...>"
_PATH = re.compile(r"^\d+<(?P<path>[^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SYNCS = frozenset({"fsync", "fdatasync"})
_SENDS = frozenset({"write", "writev", "sendto", "sendmsg"})
_READS = frozenset({"read", "recvfrom"})


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        began: number of the line.
        ended: likewise; that of a call that never ended is after all others.
        result: ``None`` when it never ended.
    """

    pid: int
    name: str
    arguments: str
    began: int
    ended: int
    result: int | None

    @property
    def path(self) -> str:
        """What its first argument, a descriptor, is open on."""
        found = _PATH.match(self.arguments)
        return found["path"] if found else ""

    @property
    def texts(self) -> list[str]:
        """The quoted arguments."""
        return _QUOTED.findall(self.arguments)


_NEVER = 1 << 60


def parse(lines: Iterable[str]) -> list[Call]:
    """Return the calls in the order in which they began."""
    calls: list[Call] = []
    open_calls: dict[int, int] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line.rstrip("\n"))
        if found is None:
            continue
        pid, rest = int(found["pid"]), found["rest"]
        if found["name"]:
            begun = Call(pid, found["name"], rest, number, _NEVER, None)
            if rest.endswith(_UNFINISHED):
                open_calls[pid] = len(calls)
                calls.append(replace(begun, arguments=rest[: -len(_UNFINISHED)]))
                continue
            calls.append(_ended(begun, rest, number))
        elif pid in open_calls:
            at = open_calls.pop(pid)
            calls[at] = _ended(calls[at], calls[at].arguments + rest, number)
    return calls


def _ended(call: Call, text: str, number: int) -> Call:
    found = _RESULT.match(text)
    if found is None or found["result"] == "?":
        return call
    result = int(found["result"])
    return replace(call, arguments=found["arguments"], ended=number, result=result)


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement, and the last read of what it acknowledges."""

    read: Call
    sent: Call


def answers(calls: Sequence[Call]) -> list[Answer]:
    """Return each ``250`` after DATA and each ``201``."""
    found = []
    read: dict[str, Call] = {}
    is_data: set[str] = set()
    for call in calls:
        path = call.path
        if "TCP:" not in path and "socket:" not in path:
            continue
        if call.name in _READS and call.result:
            read[path] = call
        elif call.name in _SENDS:
            text = "".join(call.texts)
            is_answer = path in is_data and text.startswith("250")
            if is_answer or text.startswith("HTTP/1.1 201"):
                is_data.discard(path)
                found.append(Answer(read[path], call))
            elif re.search(r"(^|\\n)354", text):
                is_data.add(path)
    return found


def unsynced(calls: Sequence[Call]) -> list[Answer]:
    """Return the answers before which no log with their content was synced."""
    log = [call for call in calls if call.path.endswith("-wal")]
    writes = [call for call in log if call.name == "pwrite64"]
    syncs = [call for call in log if call.name in _SYNCS and call.result == 0]
    return [
        answer
        for answer in answers(calls)
        if not any(
            write.began > answer.read.ended
            and sync.began > write.ended
            and sync.ended < answer.sent.began
            for write in writes
            for sync in syncs
        )
    ]


def misplaced_bodies(calls: Sequence[Call]) -> list[str]:
    """Return the names of body files that were not made durable before their answer.

    The order must be: the last write, its file's sync, the rename, its folder's sync, a
    write to the log, its sync, the answer. Messages must have come one at a time.
    """
    return [
        name for name, call in _renamed_bodies(calls) if not _is_in_order(calls, call)
    ]


def bodies(calls: Sequence[Call]) -> list[str]:
    """Return the names of all body files that were made."""
    return [name for name, _ in _renamed_bodies(calls)]


def _renamed_bodies(calls: Sequence[Call]) -> Iterator[tuple[str, Call]]:
    for call in calls:
        if call.name == "rename" and "/bodies/" in call.texts[-1]:
            yield call.texts[-1], call


def _is_in_order(calls: Sequence[Call], rename: Call) -> bool:
    passing, name = rename.texts
    folder = str(PurePath(name).parent)
    written = [c for c in calls if c.name == "write" and c.path == passing]
    answered = [each.sent for each in answers(calls) if each.sent.began > rename.ended]
    if not written or not answered:
        return False
    stages = [written[-1].ended]
    for names, wanted in (
        (_SYNCS, passing),
        ({"rename"}, None),
        (_SYNCS, folder),
        ({"pwrite64"}, "-wal"),
        (_SYNCS, "-wal"),
    ):
        ended = [
            call.ended
            for call in calls
            if call.name in names
            and call.began > stages[-1]
            and call.result is not None
            and call.result >= 0
            and (call is rename if wanted is None else call.path.endswith(wanted))
        ]
        if not ended:
            return False
        stages.append(min(ended))
    return stages[-1] < answered[0].began


def unsynced_names(calls: Sequence[Call], state: str) -> list[str]:
    """Return names under ``state`` whose folder was not synced before the first answer.

    Of folders, databases, logs and keys: whatever a later start has to find. What lies
    in the spool needs no name.
    """
    first = min((each.sent.began for each in answers(calls)), default=_NEVER)
    missing: list[str] = []
    there: set[str] = set()
    for call in calls:
        if call.name == "unlink":
            there.discard(call.texts[0])
        made = _made(call, state)
        if made is None or made in there or call.began > first:
            continue
        there.add(made)
        folder = str(PurePath(made).parent)
        if not any(
            sync.name in _SYNCS
            and sync.path == folder
            and sync.result == 0
            and call.ended < sync.began
            and sync.ended < first
            for sync in calls
        ):
            missing.append(made)
    return missing


def _made(call: Call, state: str) -> str | None:
    if call.result is None or call.result < 0:
        return None
    if call.name == "mkdir" and call.texts[0].startswith(state):
        return None if call.texts[0].endswith("/spool") else call.texts[0]
    if call.name == "rename" and call.texts[-1].startswith(state):
        return call.texts[-1]
    if call.name == "openat" and "O_CREAT" in call.arguments:
        name = call.texts[0]
        if name.startswith(state) and name.endswith((".db", "-wal")):
            return name
    return None
