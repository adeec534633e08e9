"""The ledger, and verification by independent code."""

import asyncio
import base64
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typing_extensions import override

from mailwright.sandbox.inbox import Inbox, InboxSettings, Letter, letter_of
from mailwright.sandbox.verification import verify

NAME = "s1._domainkey.b.test"
PLAIN = b"From: a@b.test\r\nMessage-ID: <1@b.test>\r\nSubject: x\r\n\r\nbody\r\n"


@cache
def key() -> tuple[bytes, str]:
    """Return a private key in PEM and its TXT record."""
    private = rsa.generate_private_key(65537, 1024)  # noqa: S505 - quick to make
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def keys() -> Mapping[str, str]:
    return {NAME: key()[1]}


def signed(content: bytes = PLAIN) -> bytes:
    signature: bytes = dkim.sign(content, b"s1", b"b.test", key()[0])
    return signature + content


def letter(content: bytes, *recipients: str) -> Letter:
    return letter_of(
        content,
        recipients=recipients or ("u@d.test",),
        reverse_path="a@b.test",
        source="127.0.0.1",
        is_tls=False,
        is_8bit_declared=False,
    )


def test_a_signature_that_holds_names_its_domain() -> None:
    assert verify(signed(), keys()).domain == "b.test"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PLAIN, "not signed"),
        (signed().replace(b"body", b"bodyx"), "body hash mismatch"),
        (signed().replace(b"Subject: x", b"Subject: y"), "does not hold"),
        (signed().replace(b"s=s1", b"s=s2"), "key is missing"),
        (b"DKIM-Signature: rubbish\r\n" + PLAIN, "Error"),
        (b"DKIM-Signature: v=1; a=x; b=; bh=; d=; h=; s=\r\n" + PLAIN, "Error"),
        (b"no message", "Error"),
        (b"", "not signed"),
    ],
)
def test_what_does_not_hold_has_a_reason(content: bytes, reason: str) -> None:
    verification = verify(content, keys())
    assert not verification.is_valid
    assert reason in verification.reason


def test_the_second_signature_may_hold_instead() -> None:
    broken = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=no; h=from; bh=; b=\r\n"
    assert verify(broken + signed(), keys()).domain == "b.test"


@pytest.mark.parametrize(
    ("header", "message_id"),
    [
        (b"Message-ID: <1@b>\r\n", "<1@b>"),
        (b"MESSAGE-id:\r\n <1@b> \r\nX: y\r\n", "<1@b>"),
        (b"Message-ID:\r\nX: y\r\n", ""),
        (b"X: y\r\n\r\nMessage-ID: <body@b>\r\n", ""),
        (b"X-Message-ID: <1@b>\r\n", ""),
    ],
)
def test_the_message_id_is_read_from_the_header(header: bytes, message_id: str) -> None:
    assert letter(header + b"\r\n").message_id == message_id


def test_copies_are_counted_by_recipient_and_message() -> None:
    async def scene() -> None:
        async with Inbox(dict, InboxSettings(verify_share=0)) as inbox:
            for content in (PLAIN, PLAIN, b"X: no id\r\n\r\n", b"X: another\r\n\r\n"):
                inbox.take(letter(content, "u@d.test", "v@d.test"), content)
            totals = inbox.totals
        assert (totals.copies, totals.distinct, totals.duplicates) == (8, 6, 2)
        assert inbox.copies["u@d.test", "<1@b.test>"] == 2
        assert inbox.letters[0].content is None

    asyncio.run(scene())


def test_letters_are_bounded_and_counts_are_not() -> None:
    async def scene() -> None:
        settings = InboxSettings(verify_share=0, letters_max=3)
        async with Inbox(dict, settings) as inbox:
            for number in range(10):
                content = b"Message-ID: <%d@b>\r\n\r\n" % number
                inbox.take(letter(content), content)
        assert (len(inbox.letters), inbox.totals.copies) == (3, 10)

    asyncio.run(scene())


def test_every_letter_is_verified_and_failures_say_why() -> None:
    async def scene() -> None:
        with ThreadPoolExecutor(1) as pool:
            async with Inbox(keys, executor=pool) as inbox:
                for _ in range(20):
                    inbox.take(letter(signed(), "u@d.test", "v@d.test"), signed())
                inbox.take(letter(PLAIN), PLAIN)
                await inbox.wait_verified()
            totals = inbox.totals
        assert (totals.verified, totals.unverified) == (40, 1)
        assert [reason for _, reason in inbox.failures] == ["not signed"]

    asyncio.run(scene())


def test_a_share_is_verified_when_asked() -> None:
    async def scene() -> int:
        with ThreadPoolExecutor(1) as pool:
            async with Inbox(dict, InboxSettings(verify_share=0.5), pool) as inbox:
                for number in range(200):
                    content = b"Message-ID: <%d@b>\r\n\r\n" % number
                    inbox.take(letter(content), content)
                await inbox.wait_verified()
            return inbox.totals.unverified

    assert 60 < asyncio.run(scene()) < 140


class DeadExecutor(Executor):
    """Its worker was killed: at work on a job, or before."""

    def __init__(self, *, refuses_jobs: bool) -> None:
        self._refuses_jobs = refuses_jobs

    @override
    def submit(self, *args: object, **kwargs: object) -> Future[object]:  # type: ignore[override]
        if self._refuses_jobs:
            raise BrokenExecutor("killed")
        future: Future[object] = Future()
        future.set_exception(BrokenExecutor("killed"))
        return future


@pytest.mark.parametrize("refuses_jobs", [False, True])
def test_a_verifier_that_dies_leaves_letters_unverified(refuses_jobs: bool) -> None:
    async def scene() -> None:
        dead = DeadExecutor(refuses_jobs=refuses_jobs)
        async with asyncio.timeout(120), Inbox(keys, executor=dead) as inbox:
            inbox.take(letter(signed()), signed())
            await inbox.wait_verified()
        assert inbox.totals.unverified == 1
        assert "killed" in inbox.failures[0][1]

    asyncio.run(scene())


def test_workers_are_processes_of_their_own() -> None:
    async def scene() -> None:
        async with asyncio.timeout(120), Inbox(keys) as inbox:
            inbox.take(letter(signed()), signed())
            await inbox.wait_verified()
            assert inbox.totals.verified == 1

    asyncio.run(scene())


def test_waiting_for_copies_ends_with_the_last_one() -> None:
    async def scene() -> None:
        async with (
            asyncio.timeout(120),
            Inbox(dict, InboxSettings(verify_share=0)) as inbox,
            asyncio.TaskGroup() as group,
        ):
            waiting = group.create_task(inbox.wait_copies(2))
            for _ in range(2):
                assert not waiting.done()
                inbox.take(letter(PLAIN), PLAIN)
                await asyncio.sleep(0)

    asyncio.run(scene())
