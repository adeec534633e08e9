from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from mailwright.accounts.signing_keys import DkimSecret, SigningKeys
from mailwright.attempt import Parcel
from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.message import fields, find
from mailwright.mta.dkim.records import record_text
from mailwright.mta.preparing import Prepared, Preparer
from mailwright.reply import Origin, Reply

HEADER = (
    b"From: a@example.com\r\nTo: b@example.org\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
)
CYRILLIC = "Привет\r\n".encode()
PARCEL = Parcel(
    delivery=DeliveryId(1),
    attempt=1,
    message=MessageId(1),
    header=HEADER,
    body=b"text\r\n",
    recipient="b@example.org",
    reverse_path="a@example.com",
    accepted_at=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC),
    sending_domain=SendingDomainId(7),
    selector="s1",
)


class Keys:
    """A key ring with one key and those beside it; counts how often it is asked."""

    def __init__(
        self, secret: DkimSecret | None, *beside: DkimSecret, note: str = ""
    ) -> None:
        self.secret = secret
        self.beside = beside
        self.note = note
        self.asked = 0

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        self.asked += 1
        if self.secret is None or (sending_domain, selector) != (7, "s1"):
            return f"no key {selector} of {sending_domain}"
        return SigningKeys((self.secret, *self.beside), self.note)


@pytest.fixture(scope="module")
def secret():
    return DkimSecret(
        "rsa-sha256", "example.com", "s1", generate_private_key(65_537, 2048)
    )


def prepared(preparer: Preparer, parcel: Parcel, **offers: bool) -> Prepared:
    [outcome] = preparer.prepare([parcel], **{"has_8bitmime": True, **offers})
    assert isinstance(outcome, Prepared)
    return outcome


def verifies(content: bytes, secret: DkimSecret, index: int = 0) -> bool:
    record = record_text(secret.private_key).encode()
    return dkim.DKIM(content).verify(index, dnsfunc=lambda *_, **__: record)


def test_the_content_is_the_stored_octets_below_a_signature(secret):
    found = prepared(Preparer(Keys(secret)), PARCEL)
    assert found.content.startswith(b"DKIM-Signature:")
    assert found.content.endswith(b"\r\n" + PARCEL.header + PARCEL.body)
    assert verifies(found.content, secret)
    assert not found.has_8bit
    assert found.edits == ()


@pytest.mark.parametrize(
    ("body", "sent"),
    [(b"", b""), (b"text", b"text\r\n"), (b"text \r\n", b"text \r\n")],
)
def test_the_last_line_ends_in_crlf(body, sent, secret):
    found = prepared(Preparer(Keys(secret)), replace(PARCEL, body=body))
    assert found.content.endswith(PARCEL.header + sent)
    assert verifies(found.content, secret)


def test_the_signature_is_dated_with_the_acceptance(secret):
    found = prepared(Preparer(Keys(secret)), PARCEL)
    assert b"; t=1767323045;" in found.content


def test_a_retry_sends_the_same_octets(secret):
    preparer = Preparer(Keys(secret))
    retry = replace(PARCEL, attempt=2, delivery=DeliveryId(2))
    assert prepared(preparer, PARCEL) == prepared(preparer, retry)


def test_8bit_text_is_edited_before_it_is_signed(secret):
    preparer = Preparer(Keys(secret))
    parcel = replace(PARCEL, body=CYRILLIC)
    as_it_is = prepared(preparer, parcel)
    assert as_it_is.has_8bit
    assert as_it_is.content.endswith(CYRILLIC)
    edited = prepared(preparer, parcel, has_8bitmime=False)
    assert not edited.has_8bit
    assert edited.content.isascii()
    assert edited.edits == ("re-encoded as quoted-printable: 8-bit text in 1 part",)
    assert verifies(as_it_is.content, secret)
    assert verifies(edited.content, secret)


def test_parcels_of_one_message_are_signed_once(secret):
    keys = Keys(secret)
    parcels = [
        replace(PARCEL, delivery=DeliveryId(number), message=MessageId(number % 2))
        for number in range(6)
    ]
    outcomes = Preparer(keys).prepare(parcels, has_8bitmime=True)
    assert len(outcomes) == 6
    assert outcomes[0] is outcomes[2] is outcomes[4]
    assert keys.asked == 2


@pytest.mark.parametrize(
    ("key", "parcel", "reason"),
    [
        (None, PARCEL, "no key s1 of 7"),
        (None, replace(PARCEL, selector="s2"), "no key s2 of 7"),
        ("same", replace(PARCEL, header=b"To: b\r\n\r\n"), "without From"),
        ("weak", PARCEL, "does not fit"),
    ],
)
def test_what_cannot_be_signed_waits_and_says_why(key, parcel, reason, secret):
    weak = DkimSecret("ed25519-sha256", "example.com", "s1", secret.private_key)
    keys = Keys({None: None, "same": secret, "weak": weak}[key])
    [outcome] = Preparer(keys).prepare([parcel], has_8bitmime=True)
    assert isinstance(outcome, Reply)
    assert (outcome.code, outcome.enhanced) == (451, "4.7.5")
    assert outcome.origin is Origin.LOCAL
    assert reason in outcome.text


def test_one_that_cannot_be_signed_does_not_hold_up_the_others(secret):
    bad = replace(PARCEL, message=MessageId(2), selector="s2")
    outcomes = Preparer(Keys(secret)).prepare([bad, PARCEL], has_8bitmime=True)
    assert [type(outcome) for outcome in outcomes] == [Reply, Prepared]


def test_a_second_signature_stands_below_the_aligned_one(secret):
    second = DkimSecret(
        "ed25519-sha256", "node.example", "n1", Ed25519PrivateKey.generate()
    )
    found = prepared(Preparer(Keys(secret, second)), PARCEL)
    header = found.content[: found.content.index(b"\r\n\r\n") + 4]
    signatures = find(fields(header), b"dkim-signature")
    assert [b"d=example.com" in each.value for each in signatures] == [True, False]
    assert verifies(found.content, secret, 0)
    assert verifies(found.content, second, 1)


def test_no_parcels_are_prepared_to_nothing(secret):
    assert Preparer(Keys(secret)).prepare([], has_8bitmime=True) == []


def test_many_threads_may_share_one_preparer(secret):
    preparer = Preparer(Keys(secret))
    parcels = [
        replace(PARCEL, message=MessageId(number), body=b"%d\r\n" % number)
        for number in range(40)
    ]
    alone = preparer.prepare(parcels, has_8bitmime=True)
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(
            lambda parcel: preparer.prepare([parcel], has_8bitmime=True)[0], parcels
        )
        assert list(together) == alone


def test_another_key_in_place_of_a_revoked_one_is_reported(secret):
    keys = Keys(secret, note="signed with s1: the DKIM key s0 was revoked")
    assert prepared(Preparer(keys), PARCEL).edits == (keys.note,)
