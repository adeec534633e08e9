import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.accounts.subjects import SubjectKey, make_subject_key
from mailwright.address import parse_address

KEY = bytes(range(32))


def test_a_subject_is_the_first_half_of_the_hmac_of_the_canonical_address() -> None:
    expected = hmac.new(KEY, b"jane@example.com", hashlib.sha256).digest()[:16]
    assert SubjectKey(KEY).subject("jane@example.com") == expected


@pytest.mark.parametrize(
    "spelling",
    ["Jane@Example.COM", '"jane"@example.com', "JANE@example.com"],
)
def test_every_spelling_of_an_address_is_one_subject(spelling: str) -> None:
    key = SubjectKey(KEY)
    assert key.subject(parse_address(spelling)) == key.subject("jane@example.com")


@given(st.emails(), st.emails())
def test_two_addresses_are_two_subjects(one: str, other: str) -> None:
    first, second = one.lower(), other.lower()
    key = SubjectKey(KEY)
    assert (key.subject(first) == key.subject(second)) == (first == second)


def test_another_key_gives_other_subjects_and_no_key_is_shown() -> None:
    first, second = SubjectKey(make_subject_key()), SubjectKey(make_subject_key())
    assert first.subject("jane@example.com") != second.subject("jane@example.com")
    assert repr(SubjectKey(b"canary" + bytes(26))) == "SubjectKey(hidden)"


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        SubjectKey(bytes(16))
