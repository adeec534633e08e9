"""Whatever is sent, however it is cut, the session says the same and never breaks."""

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fakes.door import intake_of, make_ports, make_settings, memory_peer
from mailwright.mta.submission.door import DoorCounts

#: What a session is made of, whole and broken; STARTTLS is not offered here.
WORDS = st.sampled_from(
    [
        b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@example.com>\r\n", b"MAIL FROM:<>\r\n",
        b"MAIL FROM:<a@example.com> SIZE=10 BODY=8BITMIME SMTPUTF8\r\n", b"MAIL FROM:<",
        b"RCPT TO:<b@example.net>\r\n", b"RCPT TO:<c@example.net> NOTIFY=NEVER\r\n",
        b"RCPT TO:<nobody>\r\n", b"DATA\r\n", b"A: b\r\n\r\n", b"text\r\n", b"..\r\n", b".\r\n",
        b"\r\n.\r\n", b".\n", b"\r", b"\n", b"\0", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n",
        b"AUTH PLAIN AGNybQBtd19jcm1fcmlnaHQ=\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN Y3Jt\r\n",
        b"bXdfY3JtX3JpZ2h0\r\n", b"*\r\n", b"x" * 600, b"\xff\xfe", b"BOGUS\r\n", b"\r\n",
    ]
)  # fmt: skip
#: Mostly scripts that come far.
SCRIPTS = st.builds(
    lambda has_auth, words: b"".join([_LOGGED_IN if has_auth else b"", *words]),
    st.booleans(),
    st.lists(WORDS, max_size=25),
)
_LOGGED_IN = b"EHLO x\r\nAUTH PLAIN AGNybQBtd19jcm1fcmlnaHQ=\r\n"
CUTS = st.lists(st.integers(min_value=0, max_value=400), max_size=6)

Told = tuple[bytes, list[bytes], DoorCounts]


async def tell(chunks: list[bytes]) -> Told:
    ports = make_ports()
    settings = make_settings(max_message_octets=60, max_header_octets=30)
    async with memory_peer(settings, ports) as peer:
        said = await peer.connect()
        for chunk in chunks:
            said += await peer.send(chunk)
    stored = [submission.body for submission in intake_of(ports).accepted]
    assert ports.budget.free == 64_000_000
    return said, stored, peer.door.counts


def run(chunks: list[bytes]) -> Told:
    told = asyncio.run(tell(chunks))
    said, _, counts = told
    assert counts.failures == 0
    for line in said.split(b"\r\n")[:-1]:
        assert line[:3].isdigit()
        assert line[3:4] in {b" ", b"-"}
        assert line[:3] not in {b"451", b"554"}, "no error of ours"
    return told


@given(SCRIPTS, CUTS)
def test_cutting_a_session_changes_nothing(script: bytes, places: list[int]) -> None:
    bounds = [0, *sorted(min(place, len(script)) for place in places), len(script)]
    whole = run([script])
    cut = run([script[a:b] for a, b in pairwise(bounds) if a < b])
    assert cut == whole


@given(st.binary(max_size=400))
def test_garbage_is_answered_and_breaks_nothing(octets: bytes) -> None:
    _, stored, _ = run([octets])
    assert stored == []
