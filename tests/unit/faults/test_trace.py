"""What is read from strace's lines, and what is found in them."""

import pytest

from faults import trace

STATE = "/n/state"
WAL = f"15<{STATE}/mailwright.db-wal>"
DOOR = "25<TCP:[127.0.0.1:25->127.0.0.1:9]>"
BODY = f"{STATE}/bodies/20260101/01"
TAKEN = (
    f'7 1.0 write({DOOR}, "250 2.1.0 ok\\r\\n354 go\\r\\n", 9) = 9',
    f'7 1.1 read({DOOR}, "Subject: x\\r\\n.\\r\\n", 256000) = 20',
)
WRITTEN = f'8 1.2 pwrite64({WAL}, "..", 24, 0) = 24'
SYNCED = f"8 1.3 fdatasync({WAL}) = 0"
SAID = f'7 1.4 write({DOOR}, "250 2.0.0 accepted\\r\\n", 20) = 20'
FILE = (
    f'9 1.11 write(3<{BODY}.new>, "big", 3) = 3',
    f"9 1.12 fsync(3<{BODY}.new>) = 0",
    f'9 1.13 rename("{BODY}.new", "{BODY}") = 0',
    f"9 1.14 fsync(4<{STATE}/bodies/20260101>) = 0",
)


def parse(*lines: str) -> list[trace.Call]:
    """Return the calls of lines whose second word, the time, is for people."""
    return trace.parse(
        " ".join(line.split(" ")[:1] + line.split(" ")[2:]) for line in lines
    )


def test_a_call_that_was_interrupted_ends_where_it_was_resumed() -> None:
    [sync, write] = parse(
        f"8 1.0 fdatasync({WAL} <unfinished ...>",
        f'7 1.1 write({DOOR}, "x", 1) = 1',
        "8 1.2 <... fdatasync resumed>) = 0",
    )
    assert (sync.began, sync.ended, sync.result) == (0, 2, 0)
    assert sync.path == f"{STATE}/mailwright.db-wal"
    assert (write.began, write.ended, write.texts) == (1, 1, ["x"])


def test_a_call_that_failed_or_never_ended_is_no_success() -> None:
    [failed, endless] = parse(
        f"8 1.0 fdatasync({WAL}) = -1 EIO (Input/output error) (INJECTED)",
        f"8 1.1 fdatasync({WAL} <unfinished ...>",
    )
    assert failed.result == -1
    assert endless.result is None


def test_an_answer_after_its_sync_is_in_order() -> None:
    calls = parse(*TAKEN, WRITTEN, SYNCED, SAID)
    assert len(trace.answers(calls)) == 1
    assert trace.unsynced(calls) == []


@pytest.mark.parametrize(
    "lines",
    [
        (*TAKEN, WRITTEN, SAID, SYNCED),
        (*TAKEN, SYNCED, WRITTEN, SAID),
        (WRITTEN, *TAKEN, SYNCED, SAID),
        (*TAKEN, WRITTEN, SYNCED.replace("= 0", "= -1 EIO (x)"), SAID),
        (*TAKEN, WRITTEN, SAID),
    ],
    ids=["answer first", "sync first", "written before", "failed", "never"],
)
def test_an_answer_without_its_sync_is_found(lines: tuple[str, ...]) -> None:
    assert len(trace.unsynced(parse(*lines))) == 1


def test_a_body_that_is_durable_in_order_is_found_so() -> None:
    calls = parse(*TAKEN, *FILE, WRITTEN, SYNCED, SAID)
    assert trace.bodies(calls) == [BODY]
    assert trace.misplaced_bodies(calls) == []


@pytest.mark.parametrize("missing", range(len(FILE)))
def test_a_step_that_is_left_out_is_found(missing: int) -> None:
    steps = [step for number, step in enumerate(FILE) if number != missing]
    calls = parse(*TAKEN, *steps, WRITTEN, SYNCED, SAID)
    assert trace.misplaced_bodies(calls) == ([BODY] if missing != 2 else [])
    assert trace.bodies(calls) == ([BODY] if missing != 2 else [])


def test_a_commit_before_the_folders_sync_is_found() -> None:
    calls = parse(*TAKEN, *FILE[:3], WRITTEN, SYNCED, FILE[3], SAID)
    assert trace.misplaced_bodies(calls) == [BODY]


def test_a_name_whose_folder_was_not_synced_is_found() -> None:
    opened = (
        f'8 0.1 openat(AT_FDCWD</n>, "{STATE}/mailwright.db-wal", O_RDWR|O_CREAT) = 5'
    )
    synced = f"8 0.2 fsync(6<{STATE}>) = 0"
    after = (*TAKEN, WRITTEN, SYNCED, SAID)
    wal = f"{STATE}/mailwright.db-wal"
    assert trace.unsynced_names(parse(opened, *after), STATE) == [wal]
    assert trace.unsynced_names(parse(opened, synced, *after), STATE) == []
    # Opened once more is not made once more, unless it was removed.
    assert trace.unsynced_names(parse(opened, synced, opened, *after), STATE) == []
    gone = f'8 0.3 unlink("{wal}") = 0'
    again = parse(opened, synced, gone, opened, *after)
    assert trace.unsynced_names(again, STATE) == [wal]
