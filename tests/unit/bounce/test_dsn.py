"""DSNs as octets: golden ones, and what an independent reader makes of them.

``tests/golden/dsn/*.eml`` hold what :data:`CASES` must give, octet for octet.
"""

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.bounce.dsn import compose, status_of
from mailwright.message import fields, find
from mailwright.reply import Phase, Reply, local_reply
from mailwright.report import Action, Cause, LastAttempt, Report

GOLDEN = Path(__file__).parents[2] / "golden" / "dsn"
ARRIVED = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRIED = ARRIVED + timedelta(hours=4, seconds=5)
HEADER = (
    b"Received: from crm.example by mta.example.com; Sun, 01 Mar 2026 12:00:00 +0000\r\n"
    b"From: Shop <news@example.com>\r\n"
    b"To: user@there.example\r\n"
    b"Subject: =?utf-8?q?Fr=C3=BChling?=\r\n"
    b"Message-ID: <17@crm.example>\r\n"
    b"X-Queue-Item-Id: 5f3a\r\n"
    b"\r\n"
)
REFUSAL = Reply(
    550,
    "5.1.1",
    "The email account that you tried to reach does not exist. Please try "
    "double-checking the recipient's address, see https://example.net/p=NoSuchUser",
    Phase.RCPT,
)
MX = "mx1.there.example [192.0.2.25]:25"
FAILED = Report(
    Action.FAILED,
    Cause.REFUSED,
    "dlv_20260301_00000g40002p0",
    "bounce+17@crm.example",
    "user@there.example",
    "rfc822;User@there.example",
    "campaign 7/17",
    HEADER,
    None,
    ARRIVED,
    LastAttempt(REFUSAL, MX, TRIED),
)
LATER = LastAttempt(Reply(451, "4.7.1", "greylisted", Phase.RCPT), MX, TRIED)
UTF8_HEADER = HEADER.replace(b"=?utf-8?q?Fr=C3=BChling?=", "Frühling".encode())

CASES = {
    "failed": FAILED,
    "failed-full": replace(FAILED, body=b"Hello\r\n--\r\nThe shop\r\n"),
    "failed-no-domain": replace(
        FAILED,
        orcpt="",
        envid="",
        last=LastAttempt(
            local_reply(550, "5.1.2", "there.example: no such domain", Phase.CONNECT),
            "",
            TRIED,
        ),
    ),
    "expired": replace(FAILED, cause=Cause.EXPIRED, last=LATER),
    "expired-untried": replace(FAILED, cause=Cause.EXPIRED, last=None),
    "lost": replace(
        FAILED,
        cause=Cause.LOST,
        last=LastAttempt(
            local_reply(421, "4.4.2", "connection lost", Phase.DOT), MX, TRIED
        ),
    ),
    "suppressed": replace(FAILED, cause=Cause.SUPPRESSED, last=None),
    "delayed": replace(
        FAILED,
        action=Action.DELAYED,
        cause=None,
        last=LATER,
        retry_until=ARRIVED + timedelta(days=3),
    ),
    "relayed": replace(
        FAILED,
        action=Action.RELAYED,
        cause=None,
        last=LastAttempt(Reply(250, "2.0.0", "queued as 17", Phase.DOT), MX, TRIED),
    ),
    "utf-8": replace(
        FAILED,
        recipient="юзер@xn--e1afmkfd.example",
        orcpt="utf-8;\\x{44E}\\x{437}\\x{435}\\x{440}@пример.example",
        header=UTF8_HEADER,
        last=LastAttempt(Reply(550, "5.1.1", "нет такого", Phase.RCPT), MX, TRIED),
    ),
    "utf-8-full": replace(FAILED, header=UTF8_HEADER, body="Grüße\r\n".encode()),
    "header-gone": replace(FAILED, header=b""),
}


def made(report: Report) -> bytes:
    header, body = compose(
        report,
        reporting_mta="mta.example.com",
        domain="example.com",
        message_id="<msg_20260301_00000g40002p1@example.com>",
        at=TRIED,
    )
    return header + body


def read(report: Report) -> Message:
    return email.message_from_bytes(made(report))


def status_fields(report: Report) -> tuple[Message, Message]:
    _, status, *_ = read(report).get_payload()
    first, second = status.get_payload()
    return first, second


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_octet_for_octet_what_it_was(name: str) -> None:
    assert made(CASES[name]) == (GOLDEN / f"{name}.eml").read_bytes()


def test_every_golden_report_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.eml")} == set(CASES)


def test_an_independent_reader_finds_what_was_said() -> None:
    report = read(FAILED)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert report["From"] == "Mail Delivery System <mailer-daemon@example.com>"
    assert report["To"] == "<bounce+17@crm.example>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["In-Reply-To"] == report["References"] == "<17@crm.example>"
    text, status, returned = report.get_payload()
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    assert returned.get_content_type() == "text/rfc822-headers"
    message, recipient = status.get_payload()
    assert message.items() == [
        ("Original-Envelope-Id", "campaign 7/17"),
        ("Reporting-MTA", "dns; mta.example.com"),
        ("Arrival-Date", "Sun, 01 Mar 2026 12:00:00 +0000"),
    ]
    assert recipient["Original-Recipient"] == "rfc822;User@there.example"
    assert recipient["Final-Recipient"] == "rfc822; user@there.example"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Remote-MTA"] == "dns; mx1.there.example"
    unfolded = recipient["Diagnostic-Code"].replace("\r\n", "")
    assert unfolded == f"smtp; {REFUSAL}"
    assert parsedate_to_datetime(recipient["Last-Attempt-Date"]) == TRIED
    assert recipient["Final-Log-ID"] == FAILED.delivery


@pytest.mark.parametrize("name", [name for name in CASES if name != "header-gone"])
def test_the_original_header_comes_back_octet_for_octet(name: str) -> None:
    report = CASES[name]
    assert report.header.removesuffix(b"\r\n") in made(report)


def test_all_of_the_message_comes_back_if_it_is_given() -> None:
    _, _, returned = read(CASES["failed-full"]).get_payload()
    assert returned.get_content_type() == "message/rfc822"
    (inner,) = returned.get_payload()
    assert inner["X-Queue-Item-Id"] == "5f3a"
    assert inner.get_payload() == "Hello\r\n--\r\nThe shop\r\n"


def test_a_message_without_its_content_is_reported_all_the_same() -> None:
    assert len(read(CASES["header-gone"]).get_payload()) == 2


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("utf-8", ["message/global-delivery-status", "message/global-headers"]),
        ("utf-8-full", ["message/delivery-status", "message/global"]),
    ],
)
def test_beyond_ascii_the_types_say_so(name: str, types: list[str]) -> None:
    report = read(CASES[name])
    assert report["Content-Transfer-Encoding"] == "8bit"
    assert [part.get_content_type() for part in report.get_payload()[1:]] == types


def test_an_address_beyond_ascii_is_written_as_it_is() -> None:
    octets = made(CASES["utf-8"])
    assert "Final-Recipient: utf-8; юзер@xn--e1afmkfd.example\r\n".encode() in octets
    assert "Original-Recipient: utf-8;юзер@пример.example\r\n".encode() in octets
    assert "Diagnostic-Code: smtp; 550 5.1.1 нет такого\r\n".encode() in octets


def test_the_report_on_an_ascii_recipient_is_ascii() -> None:
    reply = Reply(550, "5.1.1", "нет такого", Phase.RCPT)
    orcpt = "utf-8;\\x{44E}@there.example"
    report = replace(FAILED, last=LastAttempt(reply, MX, TRIED), orcpt=orcpt)
    _, recipient = status_fields(report)
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 ??? ??????"
    assert recipient["Original-Recipient"] == orcpt


def test_what_only_we_said_is_not_called_smtp_and_names_no_server() -> None:
    _, recipient = status_fields(CASES["failed-no-domain"])
    assert recipient["Diagnostic-Code"].startswith("x-mailwright; 550 5.1.2 ")
    assert "Remote-MTA" not in recipient


def test_without_envid_and_orcpt_their_fields_are_missing() -> None:
    message, recipient = status_fields(CASES["failed-no-domain"])
    assert "Original-Envelope-Id" not in message
    assert "Original-Recipient" not in recipient


def test_a_delay_says_how_long_it_is_tried() -> None:
    _, recipient = status_fields(CASES["delayed"])
    assert recipient["Action"] == "delayed"
    until = parsedate_to_datetime(recipient["Will-Retry-Until"])
    assert until == ARRIVED + timedelta(days=3)


@pytest.mark.parametrize(
    ("action", "cause", "code", "enhanced", "status"),
    [
        (Action.FAILED, Cause.REFUSED, 550, "5.1.1", "5.1.1"),
        (Action.FAILED, Cause.REFUSED, 550, "", "5.0.0"),
        (Action.FAILED, Cause.REFUSED, 552, "4.2.2", "4.2.2"),
        (Action.FAILED, Cause.REFUSED, 550, "2.0.0", "5.0.0"),
        (Action.FAILED, Cause.REFUSED, 550, "5.1.1\r\nX: y", "5.0.0"),
        (Action.FAILED, Cause.EXPIRED, 451, "4.7.1", "4.4.7"),
        (Action.FAILED, Cause.LOST, 421, "4.4.2", "4.4.2"),
        (Action.FAILED, Cause.SUPPRESSED, 250, "", "5.7.1"),
        (Action.DELAYED, None, 451, "4.7.1", "4.7.1"),
        (Action.DELAYED, None, 550, "5.7.1", "4.0.0"),  # about us: it is tried again
        (Action.RELAYED, None, 250, "2.1.5", "2.1.5"),
        (Action.RELAYED, None, 250, "", "2.0.0"),
    ],
)
def test_the_status_is_the_receivers_if_it_fits_the_action(
    action: Action, cause: Cause | None, code: int, enhanced: str, status: str
) -> None:
    last = LastAttempt(Reply(code, enhanced, "", Phase.RCPT), MX, TRIED)
    report = replace(FAILED, action=action, cause=cause, last=last)
    assert status_of(report) == status


def test_a_part_that_holds_the_boundary_gets_another_one() -> None:
    first = read(FAILED).get_boundary()
    body = f"--{first}\r\nContent-Type: text/html\r\n\r\n".encode()
    report = read(replace(FAILED, body=body))
    assert report.get_boundary() != first
    assert len(report.get_payload()) == 3


def test_a_message_id_that_is_none_is_not_taken_over() -> None:
    header = HEADER.replace(b"<17@crm.example>", b"<17@crm.example> <18@crm.example>")
    assert "References" not in read(replace(FAILED, header=header))


texts = st.text(max_size=400)
replies = st.builds(
    Reply,
    st.integers(200, 599),
    st.one_of(st.just(""), st.just("5.1.1"), texts),
    st.one_of(texts, st.text("x", min_size=900, max_size=2000), st.just(" " * 2000)),
    st.sampled_from(Phase),
)
reports = st.builds(
    Report,
    st.sampled_from(Action),
    st.one_of(st.none(), st.sampled_from(Cause)),
    st.just("dlv_20260301_00000g40002p0"),
    st.sampled_from(["b@crm.example", "ящик@xn--e1afmkfd.example"]),
    st.sampled_from(["u@there.example", "юзер@there.example", '"a b"@x.example']),
    texts.map(lambda text: f"utf-8;{text}"),
    texts,
    st.one_of(
        st.just(HEADER),
        st.binary(max_size=300).map(
            lambda octets: (
                octets.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n\r\n"
            )
        ),
    ),
    st.one_of(st.none(), st.just(b""), st.just(b"no line end")),
    st.just(ARRIVED),
    st.one_of(st.none(), st.builds(LastAttempt, replies, texts, st.just(TRIED))),
    st.one_of(st.none(), st.just(TRIED)),
)


@given(reports)
def test_whatever_others_wrote_gives_a_report_that_can_be_read(report: Report) -> None:
    octets = made(report)
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    header, _, body = octets.partition(b"\r\n\r\n")
    names = [field.key for field in fields(header + b"\r\n\r\n")]
    assert len(names) == len(set(names))
    assert find(fields(header + b"\r\n\r\n"), b"auto-submitted")
    ours = body.replace(report.header, b"").split(b"\r\n")
    assert max(map(len, ours)) <= 998
    _, status, *_ = email.message_from_bytes(octets).get_payload()
    status_octets = status.as_bytes(policy=email.policy.SMTP)
    assert status_octets.count(b"\r\nAction: ") == 1
    assert status_octets.count(b"\r\nStatus: ") == 1
    assert status_octets.count(b"\r\nFinal-Recipient: ") == 1
