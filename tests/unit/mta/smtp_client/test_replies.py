import pytest

from mailwright.mta.smtp.replies import (
    MAX_LINE_OCTETS,
    MAX_LINES,
    MAX_TEXT,
    Malformed,
    Parsed,
    ReplyParser,
    ServerReply,
    to_reply,
)
from mailwright.reply import Phase, Reply


def parsed(octets: bytes) -> list[Parsed]:
    parser = ReplyParser()
    parser.feed(octets)
    found: list[Parsed] = []
    while (reply := parser.next_reply()) is not None:
        found.append(reply)
        if isinstance(reply, Malformed):
            break
    return found


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"250 Ok\r\n", [ServerReply(250, (b"Ok",))]),
        (b"250 Ok\n", [ServerReply(250, (b"Ok",))]),
        (b"250\r\n", [ServerReply(250, (b"",))]),
        (b"250 \r\n", [ServerReply(250, (b"",))]),
        (b"250-a\r\n250-\r\n250 c\r\n", [ServerReply(250, (b"a", b"", b"c"))]),
        (b"250-a\r\n250\r\n", [ServerReply(250, (b"a", b""))]),
        (b"250-a\n250 b\r\n", [ServerReply(250, (b"a", b"b"))]),
        (b"250 a\rb\r\n", [ServerReply(250, (b"a\rb",))]),
        (b"599 x\r\n200 y\r\n", [ServerReply(599, (b"x",)), ServerReply(200, (b"y",))]),
        (b"250 \xff\x00\r\n", [ServerReply(250, (b"\xff\x00",))]),
        (b"250 Ok", []),
        (b"250-Ok\r\n", []),
        (b"", []),
    ],
)
def test_what_is_a_reply(octets: bytes, expected: list[Parsed]) -> None:
    assert parsed(octets) == expected


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"\r\n", "reply line without a code"),
        (b"250ok\r\n", "reply line without a code"),
        (b"25 ok\r\n", "reply line without a code"),
        (b"2500 ok\r\n", "reply line without a code"),
        (b" 250 ok\r\n", "reply line without a code"),
        (b"150 ok\r\n", "reply line without a code"),
        (b"600 ok\r\n", "reply line without a code"),
        (b"250\tok\r\n", "reply line without a code"),
        (b"HTTP/1.1 400 Bad Request\r\n", "reply line without a code"),
        ("٢٥٠ ok\r\n".encode(), "reply line without a code"),
        (b"250-a\r\n550 b\r\n", "reply with codes that disagree"),
        (b"250-a\r\n251-b\r\n", "reply with codes that disagree"),
        (b"250-a\r\n\r\n", "reply line without a code"),
        (b"250-a\r\n" * MAX_LINES, "reply without an end"),
        ((b"250-" + b"a" * 1_000 + b"\r\n") * 66, "reply without an end"),
    ],
)
def test_what_is_not(octets: bytes, reason: str) -> None:
    assert parsed(octets) == [Malformed(reason)]


def test_a_reply_may_have_as_many_lines_as_the_limit_says() -> None:
    octets = b"250-a\r\n" * (MAX_LINES - 1) + b"250 z\r\n"
    assert parsed(octets) == [ServerReply(250, (b"a",) * (MAX_LINES - 1) + (b"z",))]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_may_have_as_many_octets_as_the_limit_says(end: bytes) -> None:
    text = b"a" * (MAX_LINE_OCTETS - len(b"250 ") - len(end))
    assert parsed(b"250 " + text + end) == [ServerReply(250, (text,))]
    assert parsed(b"250 a" + text + end) == [Malformed("reply line too long")]


def test_an_endless_line_is_refused_without_its_end() -> None:
    assert parsed(b"2" * (MAX_LINE_OCTETS - 1)) == []
    assert parsed(b"2" * MAX_LINE_OCTETS) == [Malformed("reply line too long")]


def test_nothing_is_a_reply_after_garbage() -> None:
    parser = ReplyParser()
    parser.feed(b"garbage\r\n250 Ok\r\n")
    first = parser.next_reply()
    parser.feed(b"250 Ok\r\n")
    assert first == parser.next_reply() == Malformed("reply line without a code")


def test_a_parser_is_empty_only_between_replies() -> None:
    parser = ReplyParser()
    states = []
    for octets in (b"", b"2", b"50-a\r\n", b"250 b\r\n"):
        parser.feed(octets)
        parser.next_reply()
        states.append(parser.is_empty)
    assert states == [True, False, False, True]


@pytest.mark.parametrize(
    ("lines", "enhanced", "text"),
    [
        ((b"2.1.0 Ok",), "2.1.0", "Ok"),
        ((b"2.1.0",), "2.1.0", ""),
        ((b"2.1.0\tOk",), "2.1.0", "Ok"),
        ((b"Ok",), "", "Ok"),
        ((b"5.1.0 Ok",), "", "5.1.0 Ok"),  # RFC 2034 §4: the class is the code's
        ((b"2.1.0.4 Ok",), "", "2.1.0.4 Ok"),
        ((b"2.1000.0 Ok",), "", "2.1000.0 Ok"),
        ((b"2.1.0Ok",), "", "2.1.0Ok"),
        ((b"2.1.0 a", b"2.1.0 b", b"2.1.5 c", b"d"), "2.1.0", "a b 2.1.5 c d"),
        ((b"", b"2.1.0 b"), "", "2.1.0 b"),
        ((b"a\x00\x1b[31mb\rc\x7f",), "", "a [31mb c"),
        (("a\x85b\u2028c\u202ed".encode(),), "", "a b c d"),
        ((b"\xff caf\xc3\xa9",), "", "� café"),
        ((b"a" * (MAX_TEXT + 1),), "", "a" * MAX_TEXT),
    ],
)
def test_a_reply_as_the_node_knows_it(
    lines: tuple[bytes, ...], enhanced: str, text: str
) -> None:
    expected = Reply(250, enhanced, text, Phase.DOT)
    assert to_reply(ServerReply(250, lines), Phase.DOT) == expected
