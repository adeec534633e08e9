"""Any line is a command or a refusal; what a command holds is safe to pass on."""

from hypothesis import given
from hypothesis import strategies as st

from mailwright.mta.smtp.commands import Command, Mail, Rcpt, parse_command
from mailwright.mta.smtp.paths import decode_xtext
from mailwright.reply import Reply

VERBS = st.sampled_from(
    [b"", b"EHLO ", b"MAIL FROM:<", b"RCPT TO:<", b"AUTH ", b"DATA", b"RSET", b"VRFY "]
)
WORDS = st.sampled_from(
    [
        b"a@example.com", b">", b"<", b'"', b"\\", b" ", b"@", b":", b"SIZE=", b"9", b"BODY=",
        b"8BITMIME", b" SMTPUTF8", b" NOTIFY=", b"NEVER", b",", b" ORCPT=rfc822;", b"+0A", b"+",
        b"=", b" ENVID=", b" RET=", b"FULL", b"\xd0\xb0", b"\xff", b"\x00", b"\r", b"x" * 300,
    ]
)  # fmt: skip


def check(line: bytes) -> Command | Reply:
    for is_extended in (False, True):
        parsed = parse_command(line, is_extended=is_extended)
        if isinstance(parsed, Reply):
            assert 500 <= parsed.code < 560
            assert parsed.enhanced.startswith("5.")
            assert parsed.text.isascii()
            assert parsed.text.isprintable()
        elif isinstance(parsed, Mail):
            assert len(parsed.envid) <= 100
            assert parsed.envid.isprintable()
        elif isinstance(parsed, Rcpt):
            assert parsed.recipient.orcpt.isprintable()
            assert parsed.recipient.orcpt.isascii()
            assert len(parsed.recipient.orcpt) <= 500
    return parsed


@given(st.binary(max_size=300))
def test_any_octets_are_a_command_or_a_refusal(line: bytes) -> None:
    check(line)


@given(VERBS, st.lists(WORDS, max_size=12).map(b"".join))
def test_any_words_are_a_command_or_a_refusal(verb: bytes, words: bytes) -> None:
    check(verb + words)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_xtext_gives_back_what_was_encoded(text: str) -> None:
    encoded = "".join(
        char if char not in "+=" and char != " " else f"+{ord(char):02X}"
        for char in text
    )
    assert decode_xtext(encoded) == text
