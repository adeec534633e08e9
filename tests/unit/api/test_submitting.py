"""``POST /v1/messages``: what is stored, what is answered, what is refused and named."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import httpx
import pytest

from fakes.api import NEWS, RECEIPTS, START, SUPPRESSED, Rig, drive
from mailwright.api.ports import ApiLimits
from mailwright.reply import Phase, local_reply
from mailwright.submission import (
    NotAcceptedError,
    PatienceOverError,
    Submission,
)

SMALL: dict[str, Any] = {
    "from": "ann@example.com",
    "to": ["bob@example.org"],
    "subject": "Hello",
    "text": "Hi",
}
RAW = (
    b"From: Ann <ann@example.com>\r\nTo: someone@else.example\r\nSubject: raw\r\n"
    b"X-Mailwright-Tags: a, b\r\n\r\nbody\r\n"
)


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem of an answer, which is the one that was expected."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert (found["type"], found["status"]) == (f"/docs#{slug}", status)
    assert found["title"]
    return found


def fields_of(found: dict[str, Any]) -> list[str]:
    return [error["field"] for error in found["errors"]]


def read(submission: Submission) -> EmailMessage:
    octets = submission.header + submission.body
    return message_from_bytes(octets, _class=EmailMessage, policy=SMTP)


def test_a_message_is_stored_and_answered_with_its_ids() -> None:
    async def test(rig: Rig) -> None:
        response = await rig.post(
            {
                "from": {"address": "Ann@Example.com", "name": "Анна"},
                "to": ["bob@example.org", {"address": SUPPRESSED, "name": "Gone"}],
                "cc": ["carol@example.net"],
                "bcc": ["dan@example.net", "BOB@example.org"],
                "reply_to": ["help@example.com"],
                "subject": "Привет 🎉",
                "text": "text",
                "html": '<img src="cid:logo">',
                "attachments": [
                    {
                        "filename": "отчёт.pdf",
                        "content_type": "application/pdf",
                        "content": base64.encodebytes(b"%PDF" * 30).decode(),
                    },
                    {"filename": "l.png", "content": "iVBORw==", "content_id": "logo"},
                ],
                "headers": {"X-Order": "7", "List-Unsubscribe": "<https://e.com/u>"},
                "stream": "news",
                "tags": ["spring", "vip"],
                "metadata": {"lead": "42"},
                "send_at": "2026-03-02T09:00:00+03:00",
                "expires_at": "2026-03-04T00:00:00Z",
            }
        )
        assert response.status_code == 201, response.text
        answer = response.json()
        assert response.headers["Location"] == f"/v1/messages/{answer['id']}"
        assert answer["id"].startswith("msg_20260301_")
        assert answer["message_id"] == "<id1@example.com>"
        # Who is named twice, in whatever spelling, gets one copy.
        assert [(each["address"], each["state"]) for each in answer["recipients"]] == [
            ("bob@example.org", "queued"),
            (SUPPRESSED, "suppressed"),
            ("carol@example.net", "queued"),
            ("dan@example.net", "queued"),
        ]
        assert all(r["delivery"].startswith("dlv_") for r in answer["recipients"])

        [stored] = rig.intake.submissions
        assert stored.stream == NEWS.id
        assert stored.is_bulk
        assert (stored.tags, stored.metadata) == (("spring", "vip"), {"lead": "42"})
        assert stored.not_before is not None
        assert stored.not_before.isoformat() == "2026-03-02T06:00:00+00:00"
        assert stored.expires_at is not None
        assert stored.accepted_at == START
        assert str(stored.envelope.reverse_path) == "ann@example.com"
        assert stored.header.startswith(
            b"Received: by mta.example.com with HTTP id id1;\r\n\t"
        )
        assert b"dan@" not in stored.header
        found = read(stored)
        assert found["From"] == "Анна <ann@example.com>"
        assert found["Subject"] == "Привет 🎉"
        assert found["X-Order"] == "7"
        assert found["Message-ID"] == answer["message_id"]
        names = [part.get_filename() for part in found.walk()]
        assert [name for name in names if name] == ["l.png", "отчёт.pdf"]

    drive(test)


def test_the_least_that_makes_a_message() -> None:
    async def test(rig: Rig) -> None:
        least = {"from": "a@example.com", "bcc": ["b@example.org"], "html": ""}
        response = await rig.post(least, by="sender")
        assert response.status_code == 201, response.text
        [stored] = rig.intake.submissions
        assert stored.stream == RECEIPTS.id
        assert read(stored)["To"] == "undisclosed-recipients:;"

    drive(test)


def with_values(**values: Any) -> dict[str, Any]:
    return SMALL | values


BAD_FIELDS: list[tuple[list[str], dict[str, Any]]] = [
    (["from"], {key: value for key, value in SMALL.items() if key != "from"}),
    (["from.address"], with_values(**{"from": "ann"})),
    (["from.address"], with_values(**{"from": "Ann <ann@example.com>, x"})),
    (["from.address"], with_values(**{"from": "a@example.com\r\nBcc: x@y.org"})),
    (["from"], with_values(**{"from": ["a@example.com"]})),
    (
        ["from.name"],
        with_values(**{"from": {"address": "a@example.com", "name": "\n"}}),
    ),
    (["to[1].address"], with_values(to=["b@example.org", "b@[127.0.0.1]"])),
    (["to[0].address"], with_values(to=["a@x.org,b@x.org"])),
    (["to[0].mail", "to[0].address"], with_values(to=[{"mail": "b@example.org"}])),
    (["to[0].name"], with_values(to=[{"address": "b@x.org", "name": "a\u2028b"}])),
    (["to"], with_values(to="b@example.org")),
    (["to"], with_values(to=[])),
    (["cc[0].address"], with_values(cc=[""])),
    (["bcc[0].address"], with_values(bcc=["b@x"])),
    (["reply_to[0].address"], with_values(reply_to=["b@x..org"])),
    (["subject"], with_values(subject="a\r\nBcc: x@example.org")),
    (["subject"], with_values(subject=7)),
    (["text"], {key: value for key, value in SMALL.items() if key != "text"}),
    (["text"], with_values(text="a\0")),
    (["html"], with_values(html=["<p>"])),
    (["headers.Bcc"], with_values(headers={"Bcc": "x@example.org"})),
    (["headers.X-A"], with_values(headers={"X-A": "1\r\nBcc: x@example.org"})),
    (["headers"], with_values(headers={"X A": "1"})),
    (["headers.X-A"], with_values(headers={"X-A": 1})),
    (
        ["attachments[0].content"],
        with_values(attachments=[{"filename": "a", "content": "a*b="}]),
    ),
    (
        ["attachments[0].filename"],
        with_values(attachments=[{"filename": "../a", "content": ""}]),
    ),
    (
        ["attachments[0].filename", "attachments[0].content"],
        with_values(attachments=[{}]),
    ),
    (["tags"], with_values(tags=["a,b"])),
    (["metadata"], with_values(metadata={"a b": "1"})),
    (["metadata.a"], with_values(metadata={"a": 1})),
    (["send_at"], with_values(send_at="soon")),
    (["send_at"], with_values(send_at="2026-05-01T00:00:00Z")),
    (["expires_at"], with_values(expires_at="2026-02-01T00:00:00Z")),
    (["expires_at"], with_values(expires_at=1)),
    (["sender"], with_values(sender="a@example.com")),
]


def test_each_bad_field_is_named_and_nothing_is_sent() -> None:
    async def test(rig: Rig) -> None:
        for named, body in BAD_FIELDS:
            found = problem(await rig.post(body), 422, "invalid-fields")
            assert sorted(fields_of(found)) == sorted(named), body
            assert all(error["message"] for error in found["errors"])
        assert not rig.intake.submissions

    drive(test)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    async def test(rig: Rig) -> None:
        body = with_values(
            to=["good@example.org", "bad", {"address": "x@y.org", "name": "\x85"}],
            cc=["worse@"],
            subject="\n",
            send_at="never",
            attachments=[{"filename": "", "content": "!"}],
        )
        found = problem(await rig.post(body), 422, "invalid-fields")
        assert sorted(fields_of(found)) == sorted(
            [
                "to[1].address",
                "cc[0].address",
                "attachments[0].content",
                "send_at",
                "to[2].name",
                "subject",
                "attachments[0].filename",
            ]
        )

    drive(test)


def test_problems_repeat_nothing_of_the_values() -> None:
    async def test(rig: Rig) -> None:
        for _, body in BAD_FIELDS:
            secret = json.loads(json.dumps(body).replace("Bcc: x", "Bcc: canary"))
            response = await rig.post(secret)
            assert "canary" not in response.text

    drive(test)


def test_recipients_of_all_kinds_are_counted_together() -> None:
    async def test(rig: Rig) -> None:
        body = with_values(to=["a@x.org", "b@x.org"], cc=["c@x.org"], bcc=["d@x.org"])
        found = problem(await rig.post(body), 422, "invalid-fields")
        assert found["errors"] == [{"field": "to", "message": "more than 3 recipients"}]
        assert (await rig.post(body | {"bcc": []})).status_code == 201

    drive(test, limits=ApiLimits(recipients=3))


REFUSED = [
    (with_values(**{"from": "a@theirs.example"}), "from", "not a proven sending"),
    (with_values(**{"from": "a@sub.example.com"}), "from", "not a proven sending"),
    (with_values(**{"from": "a@keyless.example"}), "from", "no usable DKIM key"),
    (with_values(stream="nothing"), "stream", "no such stream"),
    (with_values(stream="foreign"), "stream", "no such stream"),
]


def test_what_admission_refuses_is_named_too() -> None:
    async def test(rig: Rig) -> None:
        for body, field, text in REFUSED:
            found = problem(await rig.post(body), 422, "message-refused")
            assert fields_of(found) == [field], body
            assert text in found["errors"][0]["message"]
        assert not rig.intake.submissions

    drive(test)


@pytest.mark.parametrize(
    "value",
    [
        {"stream": "news"},
        {"send_at": "2026-03-02T00:00:00Z"},
        {"expires_at": "2026-03-02T00:00:00Z"},
    ],
)
def test_choosing_stream_and_time_needs_the_scope_control(
    value: dict[str, str],
) -> None:
    async def test(rig: Rig) -> None:
        response = await rig.post(SMALL | value, by="sender")
        found = problem(response, 403, "forbidden")
        assert next(iter(value)) in found["detail"]
        assert 'scope="control"' in response.headers["WWW-Authenticate"]
        labels = SMALL | {"tags": ["a"], "metadata": {"b": "c"}, "stream": "receipts"}
        assert (await rig.post(labels, by="sender")).status_code == 201

    drive(test)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"from": }', b"\xff", b'{"subject": "\\ud800"}', b"[" * 100_000],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    async def test(rig: Rig) -> None:
        response = await rig.post_raw(body, media_type="application/json")
        problem(response, 400, "malformed")

    drive(test)


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1"])
def test_json_that_is_no_object_is_invalid(body: bytes) -> None:
    async def test(rig: Rig) -> None:
        response = await rig.post_raw(
            body, media_type="application/json; charset=utf-8"
        )
        problem(response, 422, "invalid-fields")

    drive(test)


@pytest.mark.parametrize("media_type", ["text/plain", "", "multipart/form-data"])
def test_other_media_types_are_not_taken(media_type: str) -> None:
    async def test(rig: Rig) -> None:
        response = await rig.post_raw(b"{}", media_type=media_type)
        problem(response, 415, "unsupported-media-type")

    drive(test)


class TestWholeMessages:
    def test_a_whole_message_keeps_its_octets(self) -> None:
        async def test(rig: Rig) -> None:
            query = "?rcpt=bob%40example.org&rcpt=carol%40example.net"
            response = await rig.post_raw(RAW, query=query)
            assert response.status_code == 201, response.text
            [stored] = rig.intake.submissions
            assert stored.body == b"body\r\n"
            assert b"\r\nTo: someone@else.example\r\nSubject: raw\r\n" in stored.header
            assert b"X-Mailwright" not in stored.header
            assert stored.tags == ("a", "b")
            assert str(stored.envelope.reverse_path) == "ann@example.com"
            recipients = [str(each.address) for each in stored.envelope.recipients]
            assert recipients == ["bob@example.org", "carol@example.net"]

        drive(test)

    def test_the_reverse_path_may_be_given_or_null(self) -> None:
        async def test(rig: Rig) -> None:
            for query, expected in (("x%40crm.example", "x@crm.example"), ("", "None")):
                full = f"?rcpt=bob%40example.org&mail_from={query}"
                assert (await rig.post_raw(RAW, query=full)).status_code == 201
                stored = rig.intake.submissions[-1]
                assert str(stored.envelope.reverse_path) == expected

        drive(test)

    @pytest.mark.parametrize(
        ("query", "named"),
        [
            ("", ["rcpt"]),
            ("?rcpt=bob", ["rcpt[0]"]),
            ("?rcpt=a%40x.org&rcpt=a%0d%0ab%40x.org", ["rcpt[1]"]),
            ("?rcpt=a%40x.org&mail_from=x", ["mail_from"]),
            ("?mail_from=x", ["mail_from", "rcpt"]),
        ],
    )
    def test_recipients_come_from_the_query_alone(
        self, query: str, named: list[str]
    ) -> None:
        async def test(rig: Rig) -> None:
            response = await rig.post_raw(RAW, query=query)
            assert fields_of(problem(response, 422, "invalid-fields")) == named

        drive(test)

    @pytest.mark.parametrize(
        ("octets", "field"),
        [
            (b"Subject: x\r\n\r\nb\r\n", "from"),
            (b"", "from"),
            (b"From: a@theirs.example\r\n\r\n", "from"),
            (RAW.replace(b"-Tags: a, b", b"-Pool: none"), "X-Mailwright-Pool"),
            (RAW + b"bare\nLF\r\n", None),
            (RAW + b"bare\rCR\r\n", None),
            (RAW + b"\n.\r\n", None),
            (RAW + b"\0\r\n", None),
            (RAW.replace(b"\r\n", b"\n"), None),
            (b"Received: by x; y\r\n" * 50 + RAW, None),
        ],
    )
    def test_what_smtp_would_refuse_is_refused(
        self, octets: bytes, field: str | None
    ) -> None:
        async def test(rig: Rig) -> None:
            response = await rig.post_raw(octets, query="?rcpt=bob%40example.org")
            found = problem(response, 422, "message-refused")
            assert (fields_of(found) if "errors" in found else None) == (
                [field] if field else None
            )
            assert not rig.intake.submissions

        drive(test)


class TestSizes:
    def test_a_request_over_the_limit_is_refused_before_it_is_read(
        self,
    ) -> None:
        sent = 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(100):
                sent += 1
                yield b"x" * 1000

        async def test(rig: Rig) -> None:
            headers = {**rig.auth(), "Content-Type": "application/json"}
            response = await rig.client.post(
                "/v1/messages",
                content=pieces(),
                headers=headers | {"Content-Length": "100000"},
            )
            problem(response, 413, "too-large")
            assert sent == 0
            # Without a length it is stopped where it goes over.
            response = await rig.client.post(
                "/v1/messages", content=pieces(), headers=headers
            )
            problem(response, 413, "too-large")
            assert sent == 11

        drive(test, limits=ApiLimits(request_octets=10_000))

    def test_a_message_over_the_limit_is_too_large(self) -> None:
        async def test(rig: Rig) -> None:
            content = base64.b64encode(bytes(800_000)).decode()
            attachment = {"filename": "a", "content": content}
            response = await rig.post(with_values(attachments=[attachment]))
            found = problem(response, 413, "too-large")
            assert "1000000 octets" in found["detail"]

        drive(test)

    def test_bodies_wait_for_memory_and_give_it_back(self) -> None:
        async def test(rig: Rig) -> None:
            assert rig.budget.try_acquire(1000)
            response = await rig.post(SMALL)
            problem(response, 503, "unavailable")
            assert "Retry-After" in response.headers
            rig.budget.release(1000)
            assert (await rig.post(SMALL)).status_code == 201

        drive(test, limits=ApiLimits(budget_s=0.01), budget_octets=1000)

    def test_large_bodies_are_worked_on_away_from_the_loop(
        self,
    ) -> None:
        async def test(rig: Rig) -> None:
            attachment = {
                "filename": "a",
                "content": base64.b64encode(b"x" * 3000).decode(),
            }
            response = await rig.post(with_values(attachments=[attachment]))
            assert response.status_code == 201
            assert rig.admission.were_inline == [False]
            # The same rules hold there, and errors come back as they do inline.
            response = await rig.post(with_values(to=["b"], attachments=[attachment]))
            assert fields_of(problem(response, 422, "invalid-fields")) == [
                "to[0].address"
            ]

        drive(test, limits=ApiLimits(inline_octets=100))


def test_many_recipients_are_worked_on_away_from_the_loop() -> None:
    async def test(rig: Rig) -> None:
        many = [f"user{number}@example.org" for number in range(1000)]
        response = await rig.post(with_values(to=[], bcc=many))
        assert [each["address"] for each in response.json()["recipients"]] == many
        query = "?" + "&".join(f"rcpt={each}" for each in many[:100])
        assert (await rig.post_raw(RAW, query=query)).status_code == 201
        assert len(rig.intake.submissions[-1].envelope.recipients) == 100
        assert (await rig.post(SMALL)).status_code == 201
        assert rig.admission.were_inline == [False, False, True]

    drive(test)


@pytest.mark.parametrize(
    ("error", "status", "slug", "has_retry"),
    [
        (
            lambda: NotAcceptedError(local_reply(452, "4.3.1", "full", Phase.DOT)),
            507,
            "insufficient-storage",
            True,
        ),
        (
            lambda: NotAcceptedError(local_reply(451, "4.3.2", "busy", Phase.DOT)),
            503,
            "unavailable",
            True,
        ),
        (
            lambda: NotAcceptedError(local_reply(550, "5.7.1", "no", Phase.DOT)),
            422,
            "message-refused",
            False,
        ),
        (PatienceOverError, 504, "unknown-outcome", True),
        (lambda: RuntimeError("/secret/path"), 500, "internal", False),
    ],
)
def test_what_the_queue_says_becomes_a_problem(
    error: Callable[[], Exception],
    status: int,
    slug: str,
    has_retry: bool,
) -> None:
    async def test(rig: Rig) -> None:
        rig.intake.error = error()
        response = await rig.post(SMALL)
        problem(response, status, slug)
        assert ("Retry-After" in response.headers) is has_retry
        assert "secret" not in response.text

    drive(test)
