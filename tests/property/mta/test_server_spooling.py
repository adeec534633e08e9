"""Whatever goes through files, and in whatever pieces, the message is what was sent."""

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fakes.door import codes, intake_of, make_ports, memory_peer, open_settings, until

ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
#: Mostly what matters to framing; seldom a stray octet, which ends everything.
PIECES = st.sampled_from(
    [b"\r\n"] * 4 + [b"\r\n..", b"\r\n.a", b"..\r\n", b"a", b"A: b", b"\xff" * 9, b"\r\n\r\n"]
    + [b"\r"]
)  # fmt: skip
CONTENTS = st.lists(PIECES, max_size=40).map(b"".join)
CUTS = st.lists(st.integers(min_value=0, max_value=120), max_size=10)
THRESHOLDS = st.fixed_dictionaries(
    {
        "spool_keep_octets": st.integers(min_value=0, max_value=40),
        "spool_chunk_octets": st.integers(min_value=1, max_value=40),
        "spool_hold_s": st.sampled_from([0.0, 3_600.0]),
        "max_message_octets": st.sampled_from([50, 10_000]),
    }
)

Told = tuple[bytes, list[tuple[bytes, bytes]], int]


async def tell(chunks: list[bytes], limits: dict[str, Any]) -> Told:
    ports = make_ports()
    said = b""
    settings = open_settings(max_header_octets=40, **limits)
    async with memory_peer(settings, ports) as peer:
        await peer.connect()
        await peer.send(b"EHLO x\r\n" + ENVELOPE)
        for chunk in chunks:
            if not peer.is_closed:
                peer.session.data_received(chunk)
            await until(lambda: peer.is_closed or peer._is_idle())
            said += await peer.quiet()
        failures = peer.door.counts.failures
    await until(lambda: ports.spools.open_files == 0)
    assert ports.budget.free == ports.budget.total
    assert ports.spools.loading.free == ports.spools.loading.total
    stored = [
        (each.header.split(b"+0000\r\n", 1)[1], each.body)
        for each in intake_of(ports).accepted
    ]
    return said, stored, failures


@given(CONTENTS, CUTS, THRESHOLDS)
def test_content_is_the_same_at_every_cutting_and_every_threshold(
    content: bytes, places: list[int], limits: dict[str, Any]
) -> None:
    # A second message shows that the session goes on, or does not, in the same way.
    wire = content + b"\r\n.\r\n" + ENVELOPE + b"A: b\r\n\r\nc\r\n.\r\n"
    bounds = [0, *sorted(min(place, len(wire)) for place in places), len(wire)]
    cut = [wire[a:b] for a, b in pairwise(bounds) if a < b]
    in_memory = limits | {"spool_keep_octets": 10**9}

    said, stored, failures = asyncio.run(tell(cut, limits))
    assert (said, stored, failures) == asyncio.run(tell([wire], in_memory))
    assert failures == 0
    if b"\r" not in content.replace(b"\r\n", b""):
        assert codes(said)[1:] == [250, 250, 354, 250]
