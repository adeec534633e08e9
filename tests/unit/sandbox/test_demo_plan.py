"""The demo's batch: the same every time, for everyone, by every door, of every kind."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from mailwright.address import Address
from mailwright.message import fields, find, from_mailbox, split
from mailwright.sandbox.demo.content import content_of
from mailwright.sandbox.demo.domains import CAST, Treatment, sandbox_domains
from mailwright.sandbox.demo.letters import (
    Composed,
    Reencoded,
    Verbatim,
    alteration_of,
    json_of,
    octets_of,
)
from mailwright.sandbox.demo.plan import Door, Draft, Kind, plan, suppressed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def of_kind(kind: Kind, drafts: list[Draft]) -> Draft:
    return next(draft for draft in drafts if draft.kind is kind)


@pytest.mark.parametrize("count", [1, 2, 14, 15, 16, 20, 60, 400, 2000])
def test_a_plan_has_as_many_recipients_as_asked_for_and_each_once(count: int) -> None:
    everyone = [
        person.canonical for draft in plan(count) for person in draft.recipients
    ]
    assert len(everyone) == count
    assert len(set(everyone)) == count


def test_a_plan_is_the_same_every_time() -> None:
    assert plan(200) == plan(200)
    assert plan(200) != plan(200, seed=2)


def test_a_small_plan_has_every_domain() -> None:
    everyone = [person for draft in plan(20) for person in draft.recipients]
    found = {person.canonical.rpartition("@")[2] for person in everyone}
    assert found == {domain.label for domain in CAST}


def test_half_of_the_mail_goes_by_each_protocol_and_every_kind_by_both() -> None:
    drafts = plan(1000)
    shares: Counter[bool] = Counter()
    for draft in drafts:
        shares[draft.door.is_http] += len(draft.recipients)
    assert abs(shares[True] - shares[False]) < 50
    assert {draft.door for draft in drafts} == set(Door)
    kinds = {(draft.kind, draft.door.is_http) for draft in drafts}
    assert kinds == {(kind, is_http) for kind in Kind for is_http in (True, False)}
    assert any(draft.cc for draft in drafts)
    assert any(draft.bcc for draft in drafts)
    assert any(draft.is_repeated for draft in drafts)


def test_mail_that_expires_goes_first_and_alone() -> None:
    expiring = {each.label for each in CAST if each.treatment is Treatment.EXPIRES}
    drafts = plan(400)
    for draft in drafts:
        labels = {each.canonical.rpartition("@")[2] for each in draft.recipients}
        assert draft.expires_soon == bool(labels & expiring)
        assert not draft.expires_soon or len(draft.recipients) == 1
    flags = [draft.expires_soon for draft in drafts]
    assert flags == sorted(flags, reverse=True)


def test_only_recipients_who_have_left_are_suppressed() -> None:
    found = list(suppressed(plan(400)))
    assert found
    assert {address.rpartition("@")[2] for address in found} == {"left.test"}


def test_the_cast_fits_the_table_and_the_sandbox() -> None:
    assert all(len(domain.name) <= 13 for domain in CAST)
    assert all(len(domain.temper) <= 18 for domain in CAST)
    names = [domain.name for domain in sandbox_domains()]
    assert len(names) == len(set(names)) == len(CAST) - 1


@pytest.mark.parametrize("kind", Kind)
def test_octets_are_strict_and_have_one_author(kind: Kind) -> None:
    draft = of_kind(kind, plan(1000))
    content = content_of(draft)
    octets = octets_of(draft, content, now=NOW)
    submitted = octets.submitted
    assert submitted.count(b"\r\n") == submitted.count(b"\n") == submitted.count(b"\r")
    header, _ = split(submitted)
    author = from_mailbox(fields(header))
    assert isinstance(author, Address)
    assert author.domain == content.author_domain
    named = [field.value.strip() for field in find(fields(header), b"message-id")]
    assert named == ([octets.message_id.encode()] if octets.message_id else [])
    assert submitted == octets_of(draft, content, now=NOW).submitted


@pytest.mark.parametrize("kind", Kind)
def test_kinds_are_what_they_say(kind: Kind) -> None:
    draft = of_kind(kind, plan(1000))
    octets = octets_of(draft, content_of(draft), now=NOW)
    header, body = split(octets.submitted)
    lines = body.split(b"\r\n")
    assert isinstance(octets.expected, Reencoded) == (kind is Kind.LONG_LINES)
    assert (max(map(len, lines)) > 998) == (kind is Kind.LONG_LINES)
    assert body.startswith(b".\r\n") == (kind is Kind.DOTS)
    assert body.isascii() == (kind is not Kind.EIGHT_BIT)
    assert (b"MIME-Version" in header) == (kind is not Kind.BARE)
    assert (len(octets.submitted) > 65_536) == (kind is Kind.BROCHURE)


def relayed(submitted: bytes) -> bytes:
    """Return what a node makes of it: fields removed, fields before."""
    while submitted.startswith((b"Bcc:", b"X-Mailwright-")):
        submitted = submitted.partition(b"\r\n")[2]
    return (
        b"DKIM-Signature: v=1;\r\n d=x\r\nReceived: by x;\r\n\tnow\r\n"
        b"Date: then\r\nMessage-ID: <1@x>\r\n" + submitted
    )


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.LONG_LINES])
def test_a_faithful_copy_has_no_alteration(kind: Kind) -> None:
    for draft in plan(1000):
        if draft.kind is kind:
            octets = octets_of(draft, content_of(draft), now=NOW)
            assert alteration_of(relayed(octets.submitted), octets.expected) == ""


def test_any_changed_octet_is_an_alteration() -> None:
    draft = of_kind(Kind.NEWSLETTER, plan(60))
    octets = octets_of(draft, content_of(draft), now=NOW)
    assert isinstance(octets.expected, Verbatim)
    copy = relayed(octets.submitted)
    kept = len(copy) - octets.expected.octets
    for at in range(kept, len(copy), 37):
        changed = copy[:at] + bytes([copy[at] ^ 1]) + copy[at + 1 :]
        assert alteration_of(changed, octets.expected)
    assert alteration_of(copy + b"\r\n", octets.expected)
    assert alteration_of(b"X-Spam: no\r\n" + copy, octets.expected)
    assert alteration_of(b"Bcc: hidden@x.test\r\n" + copy, octets.expected)


def test_long_lines_may_arrive_as_quoted_printable_and_nothing_else() -> None:
    draft = of_kind(Kind.LONG_LINES, plan(1000))
    octets = octets_of(draft, content_of(draft), now=NOW)
    header, body = split(octets.submitted)
    folded = b"=\r\n".join(body[at : at + 70] for at in range(0, len(body), 70))
    assert alteration_of(header + folded, octets.expected) == ""
    assert alteration_of(header + folded[1:], octets.expected)


@pytest.mark.parametrize(
    "kind",
    [Kind.NEWSLETTER, Kind.INVOICE, Kind.ILLUSTRATED, Kind.REPORT, Kind.REPLY],
)
def test_what_was_composed_is_compared_by_what_it_says(kind: Kind) -> None:
    # Python's own rendering stands for the node's: the comparison must not care.
    draft, other = [draft for draft in plan(1000) if draft.kind is kind][:2]
    content = content_of(draft)
    copy = octets_of(draft, content, now=NOW).submitted
    assert alteration_of(copy, Composed(content)) == ""
    assert alteration_of(copy, Composed(content_of(other)))


def test_json_names_every_recipient_and_carries_every_file() -> None:
    for draft in plan(400):
        content = content_of(draft)
        body = json.loads(json.dumps(json_of(draft, content, now=NOW)))
        named = [each["address"] for part in ("to", "cc", "bcc") for each in body[part]]
        assert named == [person.address for person in draft.recipients]
        assert len(body["attachments"]) == len(content.files)
        assert ("expires_at" in body) == draft.expires_soon
