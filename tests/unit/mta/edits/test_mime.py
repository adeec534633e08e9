from collections.abc import Sequence

import pytest

from fakes.slowness import is_in_proportion
from mailwright.mta.edits.mime import Leaf, MimeFault, find_leaves


def found_in(content: bytes) -> Sequence[Leaf] | MimeFault:
    body_start = content.index(b"\r\n\r\n") + 4
    return find_leaves(content[:body_start], content[body_start:])


def leaves(content: bytes) -> list[Leaf]:
    found = found_in(content)
    assert not isinstance(found, MimeFault)
    return list(found)


def bodies(content: bytes) -> list[bytes]:
    return [content[leaf.body_start : leaf.body_end] for leaf in leaves(content)]


def multipart(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b") -> bytes:
    lines = [b'Content-Type: multipart/%b; boundary="%b"\r\n' % (kind, boundary)]
    lines += [b"\r\n--%b\r\n%b" % (boundary, part) for part in parts]
    return b"".join((*lines, b"\r\n--%b--\r\n" % boundary))


TEXT = b"Content-Type: text/plain\r\n\r\n"


def test_a_message_without_mime_is_one_text_leaf():
    [leaf] = leaves(b"From: a\r\n\r\nbody\r\n")
    assert (leaf.header_start, leaf.body_start, leaf.body_end) == (0, 11, 17)
    assert leaf.is_text
    assert leaf.encoding_field is None


def test_the_crlf_before_a_delimiter_is_not_the_part_s():
    assert bodies(multipart(TEXT + b"one", TEXT + b"two\r\n", b"\r\nthree")) == [
        b"one",
        b"two\r\n",
        b"three",
    ]


def test_parts_nest():
    inner = multipart(TEXT + b"in 1", TEXT + b"in 2", boundary=b"inner")
    found = bodies(multipart(TEXT + b"out 1", inner, TEXT + b"out 2"))
    assert found == [b"out 1", b"in 1", b"in 2", b"out 2"]


def test_an_inner_multipart_that_never_ends_ends_with_the_outer_one():
    inner = multipart(TEXT + b"in", boundary=b"inner").removesuffix(
        b"\r\n--inner--\r\n"
    )
    assert bodies(multipart(inner, TEXT + b"out")) == [b"in", b"out"]


def test_a_message_cut_off_ends_its_last_part():
    content = multipart(TEXT + b"one").removesuffix(b"\r\n--b--\r\n")
    assert bodies(content) == [b"one"]


def test_preamble_epilogue_and_lines_like_delimiters_are_no_parts():
    content = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"preamble\r\n--bb\r\n--b \t\r\n\r\n-- \r\n--c\r\nx--b\r\none\r\n"
        b"--b--  \r\nepilogue\r\n--b\r\n\r\nno part\r\n"
    )
    assert bodies(content) == [b"-- \r\n--c\r\nx--b\r\none"]


def test_a_boundary_may_end_in_dashes():
    assert bodies(multipart(TEXT + b"one", boundary=b"b--")) == [b"one"]


@pytest.mark.parametrize(
    ("header", "is_text"),
    [
        (b"Content-Type: text/plain", True),
        (b"content-type : TEXT/Html; charset=x", True),
        (b"Content-Type: text/plain (so to say)", True),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8BIT (yes)", True),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: binary", True),
        (b"X: y", True),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64", False),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uue", False),
        (
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: Quoted-Printable",
            False,
        ),
        (b"Content-Type: application/pdf", False),
        (b"Content-Type: message/rfc822", False),
        (b"Content-Type: text", False),
        (b"Content-Type:", False),
        (b"Content-Type: text/plain\r\nContent-Type: text/plain", False),
        (
            b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: 8bit",
            False,
        ),
        (b"Content-Type: text/plain\r\nno field", False),
        (b"Content-Type: multipart/mixed", False),
        (b"Content-Type: multipart/mixed; boundary=", False),
        (b"Content-Type: multipart/mixed; boundary=c; boundary=d", False),
        (
            b"Content-Type: multipart/mixed; boundary=c\r\n"
            b"Content-Transfer-Encoding: base64",
            False,
        ),
        (b"Content-Type: text/plain; x=" + b"y" * 5000, False),
    ],
)
def test_only_sound_text_in_an_identity_encoding_is_text(header, is_text):
    [alone] = leaves(header + b"\r\n\r\nbody\r\n")
    assert alone.is_text == is_text
    [part] = leaves(multipart(header + b"\r\n\r\nbody"))
    assert part.is_text == is_text


def test_the_boundary_may_be_quoted_and_escaped():
    content = (
        b'Content-Type: multipart/mixed; x="a;boundary=no"; BOUNDARY = "q \\"b"\r\n\r\n'
        b'--q "b\r\n\r\none\r\n--q "b--\r\n'
    )
    assert bodies(content) == [b"one"]


def test_parts_of_a_digest_are_messages():
    [leaf] = leaves(multipart(b"\r\nFrom: a\r\n\r\nbody", kind=b"digest"))
    assert not leaf.is_text


@pytest.mark.parametrize("kind", [b"signed", b"encrypted"])
def test_what_is_signed_or_encrypted_covers_everything_below(kind):
    inner = multipart(TEXT + b"in", boundary=b"inner")
    covered = multipart(inner, boundary=b"cover", kind=kind)
    first, second = leaves(multipart(covered, TEXT + b"out"))
    assert first.cover == f"multipart/{kind.decode()}"
    assert second.cover == ""


@pytest.mark.parametrize(
    "part",
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",  # the outer boundary
        b"X: y\r\n--b\r\nZ: z\r\n\r\nbody",
    ],
)
def test_a_structure_that_reads_two_ways_is_broken(part):
    content = multipart(part)
    found = found_in(content)
    assert found is MimeFault.BROKEN


def test_a_part_whose_header_never_ends_is_no_text():
    [leaf] = leaves(multipart(b"Content-Type: text/plain"))
    assert not leaf.is_text


def test_the_headers_of_parts_are_bounded():
    part = b"X: " + b"y" * 16_000 + b"\r\n\r\n"
    content = multipart(*[part] * 20)
    found = found_in(content)
    assert found is MimeFault.LONG_HEADERS


def nested(depth: int) -> bytes:
    content = TEXT + b"core"
    for level in range(depth):
        content = multipart(content, boundary=b"b%d" % level)
    return content


def test_nesting_is_bounded():
    assert bodies(nested(30)) == [b"core"]
    content = nested(31)
    assert found_in(content) is MimeFault.DEEP


def test_the_number_of_parts_is_bounded():
    assert len(leaves(multipart(*[TEXT] * 999))) == 999
    content = multipart(*[TEXT] * 1000)
    found = found_in(content)
    assert found is MimeFault.MANY_PARTS


TOP = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    "content",
    [
        nested(2000),
        TOP + b"--b\r\n\r\n" * 200_000,
        TOP + b"--b\r\n" * 200_000,
        TOP + b"\r\n--" * 500_000,
        TOP + b"\r\n--x" * 500_000,
        TOP + (b"--b\r\nX: " + b"y" * 70_000 + b"\r\n") * 100,
        TOP + (b"--b\r\n" + b"a:\r\n" * 4000 + b"\r\n") * 1000,
        TOP + (b"--b\r\nContent-Type: a/b" + b";x=y" * 1000 + b"\r\n\r\n") * 500,
        TOP + (b'--b\r\nContent-Type: a/b;x="' + b"\\" * 4000 + b"\r\n\r\n") * 500,
        TOP + (b"--b\r\nContent-Type: " + b"a" * 4000 + b"\r\n\r\n") * 500,
        b"Content-Type: multipart/mixed" + b"; a=b" * 20_000 + b"\r\n\r\nbody",
    ],
    ids=range(11),
)
def test_hostile_structure_takes_time_in_proportion(content):
    def find(octets):
        cut = content[:octets]
        cut += b"" if b"\r\n\r\n" in cut else b"\r\n\r\n"
        found_in(cut)

    assert is_in_proportion(find, len(content))
