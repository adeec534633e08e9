"""What is taken, as what, and what is refused, naming the field."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from mailwright.accounts.directory import (
    Credential,
    Directory,
    DkimKey,
    Pool,
    Proof,
    Scope,
    SendingDomain,
    Stream,
    StreamClass,
    Tenant,
)
from mailwright.address import parse_address
from mailwright.envelope import Envelope, Recipient
from mailwright.ids import (
    CredentialId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.mta.admission import (
    Admission,
    AdmissionLimits,
    Offer,
    Refusal,
    strict_octets,
)
from mailwright.mta.control import Choices
from mailwright.reply import Origin, Phase, Reply
from mailwright.submission import Submission

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS, THEIRS = TenantId(1), TenantId(2)
KEY = DkimKey("s1", "rsa-sha256", True, False, False, 1)
NEWS = Stream(StreamId(1), OURS, "news", StreamClass.BULK, PoolId(1))
RECEIPTS = Stream(StreamId(2), OURS, "receipts", StreamClass.TRANSACTIONAL, PoolId(2))
FOREIGN = Stream(StreamId(3), THEIRS, "foreign", StreamClass.BULK, PoolId(1))
ALL = frozenset({Scope.SEND, Scope.CONTROL, Scope.READ})


def sending_domain(number: int, tenant: TenantId, domain: str) -> SendingDomain:
    return SendingDomain(
        SendingDomainId(number),
        tenant,
        domain,
        f"bounce.{domain}",
        Proof.OPERATOR,
        is_proven=True,
        keys=(KEY,),
    )


DOMAINS = {
    domain.domain: domain
    for domain in (
        sending_domain(1, OURS, "example.com"),
        sending_domain(2, THEIRS, "theirs.example"),
        replace(sending_domain(3, OURS, "unproven.example"), is_proven=False),
        replace(sending_domain(4, OURS, "keyless.example"), keys=()),
        replace(
            sending_domain(5, OURS, "revoked.example"),
            keys=(replace(KEY, is_revoked=True),),
        ),
    )
}


def credential(scopes: frozenset[Scope] = ALL, stream: Stream = RECEIPTS) -> Credential:
    return Credential(CredentialId(7), OURS, "crm", None, scopes, stream.id)


def directory(crm: Credential) -> Directory:
    streams = (NEWS, RECEIPTS, FOREIGN)
    pools = (Pool(PoolId(1), "bulk", ()), Pool(PoolId(2), "fast", ()))
    return Directory(
        version=1,
        tenants={OURS: Tenant(OURS, "ours"), THEIRS: Tenant(THEIRS, "theirs")},
        credentials={crm.name: crm},
        credentials_by_id={crm.id: crm},
        sending_domains=DOMAINS,
        sending_domains_by_id={domain.id: domain for domain in DOMAINS.values()},
        streams={stream.id: stream for stream in streams},
        streams_by_name={(stream.tenant, stream.name): stream for stream in streams},
        pools={pool.id: pool for pool in pools},
        pools_by_name={pool.name: pool for pool in pools},
        sources={},
        routes={},
    )


ENVELOPE = Envelope(
    parse_address("bounces@crm.example"), (Recipient(parse_address("bob@example.org")),)
)
HEADER = (
    b"From: Ann <ann@example.com>\r\n"
    b"Date: Sun, 01 Mar 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@crm>\r\n"
    b"Subject: hi\r\n"
)


def judge(
    header: bytes = HEADER,
    body: bytes = b"hello\r\n",
    *,
    by: Credential | None = None,
    choices: Choices | None = None,
    trace: tuple[bytes, ...] = (),
    limits: AdmissionLimits | None = None,
    envelope: Envelope = ENVELOPE,
) -> Submission | Refusal:
    numbers = count(1)
    crm = by or credential()
    shared = directory(crm)
    admission = Admission(lambda: shared, limits or AdmissionLimits())
    offer = Offer(
        crm,
        envelope,
        header + b"\r\n",
        body,
        trace,
        choices or Choices(),
    )
    return admission.judge(offer, now=NOW, fresh_id=lambda: f"fresh.{next(numbers)}")


def admitted(*args: object, **named: object) -> Submission:
    found = judge(*args, **named)  # type: ignore[arg-type]
    assert isinstance(found, Submission), found
    return found


def refused(*args: object, **named: object) -> Refusal:
    found = judge(*args, **named)  # type: ignore[arg-type]
    assert isinstance(found, Refusal), found
    assert found.reply.origin is Origin.LOCAL
    assert found.reply.phase is Phase.DOT
    return found


def test_mail_of_a_proven_domain_is_taken_as_it_is() -> None:
    taken = admitted(trace=(b"Received: by mx\r\n",))
    assert taken.header == b"Received: by mx\r\n" + HEADER + b"\r\n"
    assert taken.body == b"hello\r\n"
    assert (taken.tenant, taken.credential) == (OURS, 7)
    assert (taken.stream, taken.is_bulk, taken.pool) == (RECEIPTS.id, False, 2)
    assert (taken.sending_domain, taken.selector) == (1, "s1")
    assert (taken.message_id, taken.accepted_at) == ("<1@crm>", NOW)
    assert taken.envelope is ENVELOPE
    assert (taken.not_before, taken.expires_at) == (None, None)
    assert taken.edits == ()


def test_missing_date_and_message_id_are_added_with_the_from_domain() -> None:
    taken = admitted(b"From: ann@example.com\r\n")
    assert taken.message_id == "<fresh.1@example.com>"
    assert b"\r\nMessage-ID: <fresh.1@example.com>\r\n" in taken.header
    assert b"Date: Sun, 01 Mar 2026 12:00:00 +0000\r\n" in taken.header


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: no author\r\n",
        b"From: ann@example.com\r\nFrom: ann@example.com\r\n",
        b"From: ann@example.com, bob@example.com\r\n",
        b"From: group: ann@example.com;\r\n",
        b"From: ann@theirs.example\r\n",
        b"From: ann@unproven.example\r\n",
        b"From: ann@sub.example.com\r\n",
        b"From: ann@com\r\n",
        b"From: ann@nobody.example\r\n",
        b"From: \r\n",
    ],
)
def test_an_author_outside_the_tenants_proven_domains_is_refused(header: bytes) -> None:
    refusal = refused(header)
    assert (refusal.reply.code, refusal.reply.enhanced) == (550, "5.7.1")
    assert refusal.field == "from"
    assert refusal.needs is None


def test_another_tenants_domain_reads_like_an_unknown_one() -> None:
    texts = {
        refused(f"From: a@{domain}\r\n".encode()).reply.text.replace(domain, "")
        for domain in ("theirs.example", "nobody.example")
    }
    assert len(texts) == 1


def test_an_unproven_domain_of_ones_own_is_refused_with_the_record_to_publish() -> None:
    refusal = refused(b"From: a@unproven.example\r\n")
    assert (refusal.reply.code, refusal.reply.enhanced) == (550, "5.7.1")
    assert "TXT record s1._domainkey.unproven.example" in refusal.reply.text


@pytest.mark.parametrize("domain", ["keyless.example", "revoked.example"])
@pytest.mark.parametrize("stream", [NEWS, RECEIPTS])
def test_mail_that_nothing_can_sign_is_refused(domain: str, stream: Stream) -> None:
    refusal = refused(f"From: a@{domain}\r\n".encode(), by=credential(stream=stream))
    assert (refusal.reply.code, refusal.reply.enhanced) == (550, "5.7.1")
    is_bulk = stream is NEWS
    assert ("bulk mail must be signed" in refusal.reply.text) is is_bulk
    assert ("no signature of its own" in refusal.reply.text) is not is_bulk


def test_a_credential_that_may_not_send_is_refused() -> None:
    refusal = refused(by=credential(frozenset({Scope.READ})))
    assert (refusal.reply.enhanced, refusal.needs) == ("5.7.1", Scope.SEND)


@pytest.mark.parametrize(
    ("hops", "is_taken"), [(0, True), (49, True), (50, False), (200, False)]
)
def test_fifty_received_fields_are_a_loop(hops: int, is_taken: bool) -> None:
    found = judge(b"Received: by a; b\r\n" * hops + HEADER)
    assert isinstance(found, Submission) is is_taken
    if isinstance(found, Refusal):
        assert (found.reply.code, found.reply.enhanced) == (554, "5.4.6")


def test_sizes_are_limited_at_exactly_their_numbers() -> None:
    header_octets = len(HEADER) + 2
    exact = AdmissionLimits(header_octets + 7, header_octets)
    assert isinstance(judge(limits=exact), Submission)
    for limits in (
        replace(exact, message_octets=header_octets + 6),
        replace(exact, header_octets=header_octets - 1),
    ):
        reply = refused(limits=limits).reply
        assert (reply.code, reply.enhanced) == (552, "5.3.4")


BARE = [b"a\rb", b"a\nb", b"\r", b"\n", b"a\r\r\nb", b"a\r\n\nb", b"\r\n\r", b"a\0b"]


@pytest.mark.parametrize("octets", BARE)
def test_bare_cr_lf_and_nul_are_refused_in_header_and_body(octets: bytes) -> None:
    assert strict_octets(octets) is not None
    assert refused(body=octets).reply.enhanced == "5.6.0"
    assert refused(HEADER + b"X: " + octets + b"\r\n").reply.enhanced == "5.6.0"


@pytest.mark.parametrize("octets", [b"", b"a", b"a\r\nb", b"\r\n\r\n", b"\xff\x80"])
def test_whole_line_ends_pass(octets: bytes) -> None:
    assert strict_octets(octets) is None


def test_eight_bit_headers_are_legacy_that_passes() -> None:
    taken = admitted(HEADER + "X-Имя: ж\r\nX-Name: ж\r\n".encode())
    assert "X-Name: ж\r\n".encode() in taken.header


CONTROLLED = [
    (b"Stream: news", "stream", NEWS.id),
    (b"Pool: bulk", "pool", PoolId(1)),
    (b"Send-At: 2026-03-02T00:00:00Z", "not_before", datetime(2026, 3, 2, tzinfo=UTC)),
    (
        b"Expires-At: 2026-03-02T03:00:00+03:00",
        "expires_at",
        datetime(2026, 3, 2, tzinfo=UTC),
    ),
    (b"Tags: a,  b c ,", "tags", ("a", "b c")),
    (b'Metadata: {"lead": "7",\r\n "\\u0436": "x"}', "", None),
    (b'Metadata: {"lead":\r\n "7"}', "metadata", {"lead": "7"}),
    (b"Campaign: spring", "metadata", {"campaign": "spring"}),
]


@pytest.mark.parametrize(("line", "attribute", "expected"), CONTROLLED)
def test_control_fields_choose_and_are_removed(
    line: bytes, attribute: str, expected: object
) -> None:
    field = b"X-Mailwright-" + line + b"\r\n"
    if not attribute:
        assert refused(HEADER + field).field == "X-Mailwright-Metadata"
        return
    taken = admitted(HEADER + field)
    assert getattr(taken, attribute) == expected
    assert taken.header == HEADER + b"\r\n"
    name = field.partition(b":")[0].decode()
    assert taken.edits == (f"removed {name}",)


@pytest.mark.parametrize(
    "line", [line for line, attribute, _ in CONTROLLED if attribute]
)
def test_only_labels_may_be_set_without_the_scope_control(line: bytes) -> None:
    sender = credential(frozenset({Scope.SEND}))
    found = judge(HEADER + b"X-Mailwright-" + line + b"\r\n", by=sender)
    if line.startswith((b"Tags", b"Metadata")):
        assert isinstance(found, Submission)
        return
    assert isinstance(found, Refusal)
    assert (found.reply.code, found.reply.enhanced) == (550, "5.7.1")
    assert found.needs is Scope.CONTROL
    assert found.field == "X-Mailwright-" + line.partition(b":")[0].decode()
    assert found.field in found.reply.text


def test_naming_the_stream_that_is_the_default_is_no_choice() -> None:
    sender = credential(frozenset({Scope.SEND}))
    header = HEADER + b"X-Mailwright-Stream: receipts\r\n"
    assert admitted(header, by=sender).stream == RECEIPTS.id


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("Stream: foreign", "Stream"),
        ("Stream: nothing", "Stream"),
        ("Stream:", "Stream"),
        ("Stream: " + "s" * 65, "Stream"),
        ("Pool: nothing", "Pool"),
        ("Send-At: tomorrow", "Send-At"),
        ("Send-At: 2026-03-02", "Send-At"),
        ("Send-At: 2026-03-02T00:00:00", "Send-At"),
        ("Send-At: 2026-13-02T00:00:00Z", "Send-At"),
        ("Send-At: 0001-01-01T00:00:00+23:59", "Send-At"),
        ("Send-At: 2026-04-01T00:00:00Z", "Send-At"),
        ("Expires-At: 2026-03-01T12:00:00Z", "Expires-At"),
        ("Expires-At: 2026-05-01T12:00:00Z", "Expires-At"),
        ("Tags: " + ",".join("abcdefghijk"), "Tags"),
        ("Tags: " + "t" * 65, "Tags"),
        ("Metadata: [1]", "Metadata"),
        ('Metadata: {"a": 1}', "Metadata"),
        ('Metadata: {"a b": "1"}', "Metadata"),
        ('Metadata: {"a": "\\u0000"}', "Metadata"),
        ('Metadata: {"a": "\\ud800"}', "Metadata"),
        ("Metadata: " + "[" * 9000, "Metadata"),
        ('Metadata: {"a": "' + "x" * 1025 + '"}', "Metadata"),
    ],
)
def test_a_choice_that_cannot_be_honoured_names_its_field(
    line: str, field: str
) -> None:
    refusal = refused(HEADER + f"X-Mailwright-{line}\r\n".encode())
    assert (refusal.reply.code, refusal.reply.enhanced) == (550, "5.6.0")
    assert refusal.field == f"X-Mailwright-{field}"
    assert refusal.reply.text.startswith(f"X-Mailwright-{field}: ")


def test_a_control_field_given_twice_is_refused() -> None:
    twice = b"X-Mailwright-Stream: news\r\nx-mailwright-stream: receipts\r\n"
    assert refused(HEADER + twice).field == "X-Mailwright-Stream"


def test_unknown_control_fields_are_removed_and_noted() -> None:
    taken = admitted(HEADER + b"X-Mailwright-Wish: x\r\n")
    assert taken.header == HEADER + b"\r\n"
    assert taken.edits == (
        "removed X-Mailwright-Wish",
        "ignored X-Mailwright-Wish: unknown",
    )


def test_choices_beside_the_message_win_and_are_called_by_their_json_names() -> None:
    header = HEADER + b"X-Mailwright-Stream: receipts\r\nX-Mailwright-Tags: b\r\n"
    taken = admitted(header, choices=Choices(stream="news", tags=("a",)))
    assert (taken.stream, taken.tags) == (NEWS.id, ("a",))
    late = Choices(not_before=NOW + timedelta(days=31))
    assert refused(choices=late).field == "send_at"
    assert refused(choices=Choices(pool="x")).field == "pool"
    by = credential(frozenset({Scope.SEND}))
    assert refused(choices=Choices(stream="news"), by=by).field == "stream"


def test_a_time_of_sending_that_has_passed_is_now() -> None:
    assert (
        admitted(choices=Choices(not_before=NOW - timedelta(days=1))).not_before is None
    )
    assert admitted(choices=Choices(not_before=NOW)).not_before is None


def test_expiry_comes_after_the_time_of_sending() -> None:
    sends_at = NOW + timedelta(days=2)
    choices = Choices(not_before=sends_at, expires_at=sends_at)
    assert refused(choices=choices).field == "expires_at"
    later = replace(choices, expires_at=sends_at + timedelta(seconds=1))
    assert admitted(choices=later).expires_at == later.expires_at


def test_a_campaign_that_metadata_contradicts_is_refused() -> None:
    choices = Choices(campaign="spring", metadata={"campaign": "autumn"})
    assert refused(choices=choices).field == "campaign"
    same = Choices(campaign="spring", metadata={"campaign": "spring", "a": "b"})
    assert admitted(choices=same).metadata == {"campaign": "spring", "a": "b"}


def test_admit_gives_the_reply_alone() -> None:
    admission = Admission(lambda: directory(credential()))
    offer = Offer(credential(), ENVELOPE, b"\r\n", b"")
    found = admission.admit(offer, now=NOW, fresh_id=lambda: "x")
    assert isinstance(found, Reply)
    assert found == refused(b"").reply


def test_a_reply_repeats_nothing_of_the_message() -> None:
    odd = "zq\x1b[31m"
    for line in (f"Stream: {odd}", f"Send-At: {odd}", f'Metadata: {{"{odd}": "1"}}'):
        text = refused(HEADER + f"X-Mailwright-{line}\r\n".encode()).reply.text
        assert "zq" not in text
        assert re.fullmatch(r"[ -~]+", text)


def judge_with(live: Sequence[Credential], offered: Credential) -> Submission | Refusal:
    shared = replace(
        directory(credential()), credentials={each.name: each for each in live}
    )
    offer = Offer(offered, ENVELOPE, HEADER + b"\r\n", b"hello\r\n")
    return Admission(lambda: shared).judge(offer, now=NOW, fresh_id=lambda: "1")


def test_a_session_outlives_its_credential_but_submits_nothing_more() -> None:
    old = credential()
    for live in ([], [replace(old, id=CredentialId(8))]):
        found = judge_with(live, old)
        assert isinstance(found, Refusal)
        assert (found.reply.code, found.reply.enhanced) == (550, "5.7.1")


def test_what_a_credential_may_is_what_the_settings_say_now() -> None:
    found = judge_with([credential(frozenset({Scope.READ}))], credential())
    assert isinstance(found, Refusal)
    assert found.needs is Scope.SEND
    moved = judge_with([credential(stream=NEWS)], credential(stream=RECEIPTS))
    assert isinstance(moved, Submission)
    assert moved.stream == NEWS.id


@pytest.mark.parametrize("domain", ["theirs.example", "bounce.theirs.example"])
def test_a_reverse_path_in_another_tenants_domain_is_refused(domain: str) -> None:
    envelope = replace(ENVELOPE, reverse_path=parse_address(f"x@{domain}"))
    refusal = refused(envelope=envelope)
    assert (refusal.reply.code, refusal.reply.enhanced) == (550, "5.7.1")
    assert refusal.field == "mail_from"


@pytest.mark.parametrize(
    "path", [None, "x@example.com", "x@bounce.example.com", "x@crm.example"]
)
def test_any_other_reverse_path_is_the_submitters_affair(path: str | None) -> None:
    address = None if path is None else parse_address(path)
    taken = admitted(envelope=replace(ENVELOPE, reverse_path=address))
    assert taken.envelope.reverse_path == address


def test_a_pool_of_another_tenant_is_the_same_as_none() -> None:
    crm = credential()
    shared = directory(crm)
    theirs = Pool(PoolId(3), "theirs", ())
    foreign = replace(FOREIGN, pool=theirs.id)
    shared = replace(
        shared,
        streams={**shared.streams, foreign.id: foreign},
        streams_by_name={**shared.streams_by_name, (THEIRS, foreign.name): foreign},
        pools={**shared.pools, theirs.id: theirs},
        pools_by_name={**shared.pools_by_name, theirs.name: theirs},
    )
    admission = Admission(lambda: shared)

    def judged(pool: str) -> Submission | Refusal:
        choices = Choices(pool=pool)
        offer = Offer(crm, ENVELOPE, HEADER + b"\r\n", b"hello\r\n", (), choices)
        return admission.judge(offer, now=NOW, fresh_id=lambda: "1")

    assert judged("theirs") == judged("never")
    assert isinstance(judged("theirs"), Refusal)
    assert isinstance(judged("fast"), Submission)
