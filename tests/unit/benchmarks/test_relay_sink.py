"""The relay benchmark's sink: what it answers, counts and keeps."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from relaybench.sink import Dialog, Tally, message_id

HELLO = b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
OK = b"250 2.0.0 ok\r\n"


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


def letter(number: int, body: bytes = b"text\r\n") -> bytes:
    return b"Message-Id: <%d@here>\r\nSubject: x\r\n\r\n%s" % (number, body)


def transaction(content: bytes) -> bytes:
    return b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n" + content + b".\r\n"


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    tally = Tally()
    tally.begin(2, 2, tmp_path)
    return tally


def connect(tally: Tally, done: list[int]) -> tuple[Dialog, Wire]:
    wire = Wire()
    dialog = Dialog(tally, lambda: done.append(tally.arrived))
    dialog.connection_made(cast("asyncio.Transport", wire))
    return dialog, wire


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_a_dialog_is_the_same_however_it_is_cut(
    tally: Tally, tmp_path: Path, size: int
) -> None:
    done: list[int] = []
    dialog, wire = connect(tally, done)
    first, second = letter(1, b"..a dot\r\n.. \r\n"), letter(2, b"")
    sent = b"EHLO me\r\n" + transaction(first) + transaction(second) + b"QUIT\r\n"
    for start in range(0, len(sent), size):
        dialog.data_received(sent[start : start + size])
    replies = OK + OK + b"354 go\r\n" + OK
    assert wire.written == (
        b"220 sink.example\r\n" + HELLO + replies + replies + b"221 bye\r\n"
    )
    assert wire.closed
    assert done == [2]
    assert tally.report()["kept"] == 2
    assert (tmp_path / "0.eml").read_bytes() == letter(1, b".a dot\r\n. \r\n")
    assert (tmp_path / "1.eml").read_bytes() == second


def test_an_empty_message_ends_at_once(tally: Tally) -> None:
    dialog, wire = connect(tally, [])
    dialog.data_received(transaction(b""))
    assert wire.written.endswith(b"354 go\r\n" + OK)
    assert tally.arrived == 1


def test_a_copy_is_no_arrival_even_rounds_later(tally: Tally, tmp_path: Path) -> None:
    assert not tally.take(letter(1))
    assert not tally.take(letter(1))
    assert (tally.arrived, tally.copies) == (1, 1)
    tally.begin(1, 1, tmp_path)
    assert not tally.take(letter(1))
    assert (tally.arrived, tally.copies) == (0, 1)
    assert tally.take(letter(2))


def test_the_control_loses_what_it_is_told_to(tmp_path: Path) -> None:
    tally = Tally(lose_every=3)
    tally.begin(6, 0, tmp_path)
    assert not any(tally.take(letter(number)) for number in range(6))
    assert tally.arrived == 4


def test_a_message_is_known_by_its_id_however_it_is_spelled() -> None:
    assert message_id(b"Received: x\r\nMessage-ID: <1@h>\r\n\r\n") == b"<1@h>"
    assert message_id(b"Received: x\r\nMessage-Id: <1@h>\r\n\r\n") == b"<1@h>"
    assert message_id(b"a: b\r\n\r\nbody\r\n") == b"a: b\r\n\r\nbody\r\n"
