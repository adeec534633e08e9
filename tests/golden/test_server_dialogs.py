r"""Dialogs with the SMTP door, as they are read.

``S:`` is a line that it says (``…`` stands for anything), ``C:`` one that a client sends,
``C!`` octets that it sends (with ``\r``, ``\n``, ``\x..``), ``E:`` what happened; ``:`` names
the listener and its settings. All that is said must be in the file, in order.
"""

import asyncio
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from fakes.door import intake_of, make_ports, make_settings, memory_peer, open_settings
from mailwright.envelope import Envelope
from mailwright.mta.submission.settings import DoorSettings

DIALOGS = sorted(Path(__file__).parent.joinpath("server").glob("*.smtp"))


def test_there_are_dialogs() -> None:
    assert len(DIALOGS) > 10


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_the_dialog_goes_as_it_is_written(path: Path) -> None:
    asyncio.run(play(path.read_text("utf-8"), is_cut=False))


@pytest.mark.parametrize(
    "path",
    # What follows STARTTLS in its packet is the point of that one.
    [path for path in DIALOGS if path.stem != "starttls_injection"],
    ids=lambda path: path.stem,
)
def test_the_dialog_goes_the_same_octet_by_octet(path: Path) -> None:
    asyncio.run(play(path.read_text("utf-8"), is_cut=True))


async def play(dialog: str, *, is_cut: bool) -> None:
    lines = dialog.splitlines()
    settings, options = listener_of(
        next(line for line in lines if line.startswith(": "))
    )
    ports = make_ports()
    async with memory_peer(settings, ports, **options) as peer:
        said = await peer.connect()
        told = 0
        for line in lines:
            mark, text = line[:3], line[3:]
            if mark == "S: ":
                first, _, said = said.partition(b"\r\n")
                expected = re.escape(text).replace("…", ".*")
                assert re.fullmatch(expected, first.decode()), (text, first)
            elif mark in {"C: ", "C! "}:
                assert said == b"", said
                octets = text.encode() + b"\r\n" if mark == "C: " else unescaped(text)
                for chunk in (
                    [octets[at : at + 1] for at in range(len(octets))]
                    if is_cut
                    else [octets]
                ):
                    said += await peer.send(chunk)
            elif line == "E: closed":
                assert said == b"", said
                assert peer.is_closed
            elif mark == "E: ":
                assert text == f"accepted {summary(intake_of(ports).envelopes[told])}"
                told += 1
        assert said == b"", said
        assert told == len(intake_of(ports).accepted)


def listener_of(line: str) -> tuple[DoorSettings, dict[str, Any]]:
    kind, *words = line[2:].split()
    values: dict[str, Any] = dict(word.split("=") for word in words)
    options = {"peer": values.pop("peer")} if "peer" in values else {}
    changes = {name: int(value) for name, value in values.items()}
    if kind == "open":
        return open_settings(**changes), options
    if kind == "tls":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return make_settings(tls=tls, allows_clear_auth=False, **changes), options
    assert kind == "auth"
    return make_settings(**changes), options


def unescaped(text: str) -> bytes:
    return re.sub(
        rb"\\(r|n|x[0-9a-f]{2})",
        lambda match: (
            {b"r": b"\r", b"n": b"\n"}.get(match[1]) or bytes([int(match[1][1:], 16)])
        ),
        text.encode(),
    )


def summary(envelope: Envelope) -> str:
    recipients = " ".join(str(recipient.address) for recipient in envelope.recipients)
    return f"{envelope.reverse_path or '<>'} {recipients}"
