"""What a process keeps for the node."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailwright.accounts.signing_keys import SigningKeys
from mailwright.attempt import Parcel
from mailwright.mta.sessions.host import OrderKeys, _Belongings
from mailwright.mta.sessions.wire import KeyOctets, Offer, Order

PKCS8 = Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
DER = Ed25519PrivateKey.generate().private_bytes(*PKCS8)


def key(number: int, selector: str) -> KeyOctets:
    return KeyOctets(number, "ed25519-sha256", "example.com", selector, DER)


def order(*keys: int, body: bytes = b"", content: int = 0, refusal: str = "") -> Order:
    recipient, merge = "b@example.org", ("", "b@example.org", "<1@example.com>")
    return Order(
        1, 1, b"", body, recipient, "", 0, keys, "", refusal, (), content, merge, b"{}"
    )


class Kept:
    """What one process was given."""

    def __init__(self) -> None:
        self.order_keys = OrderKeys()
        self.belongings = _Belongings(self.order_keys)

    def take(self, *orders: Order, **more: object) -> list[Parcel]:
        return self.belongings.parcels(Offer(1, orders, **more))  # type: ignore[arg-type]

    def selectors(self, parcel: Parcel) -> list[str]:
        found = self._found(parcel)
        assert isinstance(found, SigningKeys)
        return [each.selector for each in found.keys]

    def _found(self, parcel: Parcel) -> SigningKeys | str:
        return self.order_keys.keys_for(parcel.sending_domain, "", None)


def test_keys_and_contents_serve_the_orders_that_follow() -> None:
    kept = Kept()
    [first] = kept.take(order(0, body=b"{}", content=5), keys=[key(0, "s1")])
    [second] = kept.take(order(0, 1, content=5), keys=[key(1, "s2")])
    assert (first.body, second.body) == (b"{}", b"{}")
    assert kept.selectors(first) == ["s1"]
    assert kept.selectors(second) == ["s1", "s2"]


def test_an_order_that_nothing_signs_says_why() -> None:
    kept = Kept()
    [refused] = kept.take(order(refusal="no key"))
    found = kept.order_keys.keys_for(refused.sending_domain, "", None)
    assert found == "no key"


def test_what_is_forgotten_is_gone_and_what_is_in_hand_keeps_its_keys() -> None:
    kept = Kept()
    keys = [key(0, "s1"), key(1, "s2")]
    [before] = kept.take(order(0, 1, body=b"old", content=5), keys=keys)
    [after] = kept.take(
        order(0, body=b"new", content=5), keys=[key(0, "s3")], forget=True
    )
    assert (before.body, after.body) == (b"old", b"new")
    assert kept.selectors(before) == ["s1", "s2"]
    assert kept.selectors(after) == ["s3"]
    with pytest.raises(KeyError):
        kept.take(order(1))


def test_nothing_is_kept_of_an_order_that_has_ended() -> None:
    kept = Kept()
    [parcel] = kept.take(order(0), keys=[key(0, "s1")])
    kept.order_keys.forget(parcel)
    with pytest.raises(KeyError):
        kept.selectors(parcel)
    kept.order_keys.forget(parcel)  # once more is nothing
