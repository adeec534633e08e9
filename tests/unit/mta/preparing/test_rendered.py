"""Preparing messages of campaigns: rendered, then signed like any other."""

from collections.abc import Sequence
from dataclasses import replace

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from fakes.campaign_contents import DATED, content_json, merge_of, read
from mailwright.accounts.signing_keys import DkimSecret, SigningKeys
from mailwright.attempt import Parcel
from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.reading import parse_content
from mailwright.mta.compose.rendering import compile_content, render
from mailwright.mta.compose.template import RenderError
from mailwright.mta.dkim.records import record_text
from mailwright.mta.preparing import Prepared, Preparer
from mailwright.mta.renderers import NoRendererError, Order, Rendered
from mailwright.reply import Origin, Reply


class Here:
    """Renders in this process."""

    def __init__(self, *, is_absent: bool = False) -> None:
        self.is_absent = is_absent

    def render(self, orders: Sequence[Order]) -> list[Rendered]:
        if self.is_absent:
            raise NoRendererError("no process")
        return [self._one(order) for order in orders]

    def _one(self, order: Order) -> Rendered:
        content = compile_content(parse_content(order.body))
        try:
            return render(content, order.merge, dated_at=order.dated_at)
        except RenderError as error:
            return error


class OneKey:
    def __init__(self, secret: DkimSecret) -> None:
        self.secret = secret

    def keys_for(self, *_: object) -> SigningKeys | str:
        return SigningKeys((self.secret,), "")


@pytest.fixture(scope="module")
def secret() -> DkimSecret:
    key = generate_private_key(65_537, 2048)
    return DkimSecret("rsa-sha256", "shop.example", "s1", key)


def parcel(number: int, body: bytes, **fields: object) -> Parcel:
    merge = replace(
        merge_of(fields, recipient=f"r{number}@example.net"),
        message_id=f"<{number}@shop.example>",
    )
    return Parcel(
        delivery=DeliveryId(number),
        attempt=1,
        message=MessageId(number),
        header=b"",
        body=body,
        recipient=merge.recipient,
        reverse_path="news@shop.example",
        accepted_at=DATED,
        sending_domain=SendingDomainId(7),
        selector="s1",
        merge=merge,
    )


STRICT = content_json(strict=True, text="Grüße, {{ name }}\n")


def test_each_recipient_gets_a_signed_message_of_their_own(secret: DkimSecret) -> None:
    preparer = Preparer(OneKey(secret), Here())
    parcels = [parcel(n, STRICT, name=f"N{n}") for n in range(1, 4)]
    made = preparer.prepare(parcels, has_8bitmime=False)
    record = record_text(secret.private_key).encode()
    for number, prepared in enumerate(made, 1):
        assert isinstance(prepared, Prepared)
        signed = dkim.DKIM(prepared.content)
        assert signed.verify(dnsfunc=lambda *_, **__: record)
        assert b"t=%d;" % DATED.timestamp() in prepared.content
        header, _, body = prepared.content.partition(b"\r\n\r\n")
        message = read(Composed(header + b"\r\n\r\n", body))
        assert message["To"] == f"r{number}@example.net"
        assert message["Subject"] == f"Hello N{number}"
        assert message["Message-ID"] == f"<{number}@shop.example>"
    assert preparer.prepare(parcels, has_8bitmime=True) == made


def test_who_cannot_be_rendered_is_refused_for_good_and_the_others_leave(
    secret: DkimSecret,
) -> None:
    preparer = Preparer(OneKey(secret), Here())
    made = preparer.prepare(
        [
            parcel(1, STRICT, name="A"),
            parcel(2, STRICT),
            parcel(3, STRICT, name="a\r\nBcc: evil@x.example"),
            parcel(4, STRICT, name="D"),
        ],
        has_8bitmime=True,
    )
    assert [isinstance(each, Prepared) for each in made] == [True, False, False, True]
    missing, hostile = made[1], made[2]
    assert isinstance(missing, Reply)
    assert isinstance(hostile, Reply)
    assert (missing.code, missing.enhanced, missing.origin) == (
        554,
        "5.6.0",
        Origin.LOCAL,
    )
    assert missing.text == "not rendered: subject: line 1: name is missing"
    assert hostile.is_permanent
    assert "evil" not in hostile.text


def test_without_a_renderer_mail_waits(secret: DkimSecret) -> None:
    for preparer in (
        Preparer(OneKey(secret), Here(is_absent=True)),
        Preparer(OneKey(secret)),
    ):
        [reply] = preparer.prepare([parcel(1, STRICT, name="A")], has_8bitmime=True)
        assert isinstance(reply, Reply)
        assert reply.is_transient


def test_a_reply_holds_no_control_and_is_not_long(secret: DkimSecret) -> None:
    class Odd:
        def render(self, orders: Sequence[Order]) -> list[Rendered]:
            return [RenderError("subject", "x\r\n\0\u2028" + "y" * 5_000)] * len(orders)

    [reply] = Preparer(OneKey(secret), Odd()).prepare(
        [parcel(1, STRICT)], has_8bitmime=True
    )
    assert isinstance(reply, Reply)
    assert reply.text.isprintable()
    assert len(reply.text) < 400
