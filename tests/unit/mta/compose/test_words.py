"""Encoded words and parameters at their lengths: each whole by itself, none too long."""

import base64
import quopri
import re
from email.header import decode_header, make_header

import pytest

from mailwright.mta.compose.words import (
    MAX_ENCODED_WORD_OCTETS,
    encoded_words,
    fold,
    has_controls,
    is_plain,
    parameter_words,
    phrase_words,
    room_after,
    text_words,
)

WORD = re.compile(r"=\?utf-8\?([qb])\?([^?]*)\?=")

LONG = [
    "Ваш заказ подтверждён и будет доставлен завтра утром, спасибо! " * 5,
    "😀👩‍👩‍👧‍👦" * 40,
    "中" * 200,
    "é" * 100,
    "plain ascii but with a mark =?x?= " * 10,
    "one-long-word-" * 20,
    "mostly ascii naïve text " * 20,
    " " * 100,
]


def decoded(word: str) -> str:
    """What one encoded word says, by RFC 2047 §4 and nothing else."""
    match = WORD.fullmatch(word)
    assert match is not None, word
    kind, payload = match.groups()
    if kind == "b":
        return base64.b64decode(payload, validate=True).decode()
    return quopri.decodestring(payload.encode(), header=True).decode()


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("first_room", [12, 40, 63])
def test_each_encoded_word_decodes_by_itself(text: str, first_room: int) -> None:
    words = encoded_words(text, first_room)
    assert "".join(map(decoded, words)) == text
    assert max(map(len, words)) <= MAX_ENCODED_WORD_OCTETS
    assert len(words[0]) <= first_room + 12
    assert len(words) > 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Привет", "b"),
        ("café au lait", "q"),
        ("a =? b and so on", "q"),
        ("=?", "b"),
        ("中文", "b"),
    ],
)
def test_the_shorter_encoding_is_taken(text: str, kind: str) -> None:
    [word] = encoded_words(text)
    assert word.startswith(f"=?utf-8?{kind}?")


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("name", ["Subject", "X-" + "n" * 74])
def test_lines_with_encoded_words_have_76_octets_at_most(text: str, name: str) -> None:
    folded = fold(name, encoded_words(text, room_after(name)))
    lines = folded.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 76 for line in lines if b"=?" in line)
    assert all(line.startswith(b" ") for line in lines[1:])
    value = folded.decode().partition(": " if b": " in lines[0] else ":")[2]
    assert str(make_header(decode_header(value))) == text


def test_plain_words_fold_at_their_blanks_and_keep_them() -> None:
    text = "several  blanks and some words " * 6 + "end"
    folded = fold("Subject", text_words(text))
    assert max(map(len, folded.split(b"\r\n"))) <= 78
    assert folded.replace(b"\r\n", b"").decode() == f"Subject: {text}"


def test_a_name_is_atoms_a_quoted_string_or_encoded() -> None:
    assert phrase_words("Ann Clark") == ["Ann", "Clark"]
    assert phrase_words("Ann B. Clark") == ['"Ann B. Clark"']
    assert phrase_words('A "b" \\') == ['"A \\"b\\" \\\\"']
    assert [decoded(word) for word in phrase_words("Анна")] == ["Анна"]
    assert [decoded(word) for word in phrase_words("=?utf-8?q?x?=")] == [
        "=?utf-8?q?x?="
    ]


def test_a_long_parameter_comes_in_numbered_pieces() -> None:
    words = parameter_words("filename", "отчёт " * 20 + ".pdf")
    assert len(words) > 2
    for number, word in enumerate(words):
        assert word.startswith(f"filename*{number}*=")
        assert word.endswith(";") is (number < len(words) - 1)
        assert len(word) <= 77
        # No piece ends inside an escape.
        assert not re.search(r"%[0-9A-F]?;?$", word)


@pytest.mark.parametrize("code", [0, 9, 10, 13, 31, 127, 128, 133, 159, 0x2028, 0x2029])
def test_controls_are_seen_wherever_they_stand(code: int) -> None:
    for text in (chr(code), f"a{chr(code)}", f"{chr(code)}я"):
        assert has_controls(text)
        assert not is_plain(text)


def test_a_lone_surrogate_is_a_control() -> None:
    assert has_controls("a\ud800")
    assert not has_controls("a😀 é\xa0")
