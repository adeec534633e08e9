from mailwright.message import split
from mailwright.mta.edits.session import edit_for_receiver

CYRILLIC = "Привет, мир! 😀\r\n".encode()
HEADER = "From: Жук <a@example.com>\r\nMIME-Version: 1.0\r\n".encode()


def edited(content: bytes, *, has_8bitmime: bool) -> tuple[bytes, tuple[str, ...]]:
    header, body, edits = edit_for_receiver(*split(content), has_8bitmime=has_8bitmime)
    return header + body, edits


def test_a_receiver_with_8bitmime_gets_the_stored_octets():
    content = HEADER + b"\r\n" + CYRILLIC
    assert edited(content, has_8bitmime=True) == (content, ())


def test_ascii_text_goes_to_anyone_as_it_is_stored():
    content = HEADER + b"\r\n" + b"x" * 2000
    assert edited(content, has_8bitmime=False) == (content, ())


def test_8bit_text_is_quoted_for_a_receiver_without_8bitmime():
    header = HEADER + b"Content-Type: text/plain; charset=utf-8\r\n"
    content = header + b"Content-Transfer-Encoding: 8bit\r\nTo: b\r\n\r\n" + CYRILLIC
    after, edits = edited(content, has_8bitmime=False)
    # Octets in fields are left; the field that names the encoding keeps its place.
    assert after.startswith(
        header + b"Content-Transfer-Encoding: quoted-printable\r\nTo: b\r\n\r\n"
    )
    assert after[len(header) :].isascii()
    assert edits == ("re-encoded as quoted-printable: 8-bit text in 1 part",)


def test_8bit_octets_that_are_no_text_are_kept_and_reported():
    header = HEADER + b"Content-Type: image/png\r\n"
    content = header + b"Content-Transfer-Encoding: binary\r\n\r\n\x89PNG"
    assert edited(content, has_8bitmime=False) == (
        content,
        ("kept 8-bit text in 1 part: not plain text",),
    )
