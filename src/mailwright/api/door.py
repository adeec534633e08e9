"""The door for messages over HTTP: read, draft, admit, store, answer; once if repeated."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from fastapi import Request, Response

from mailwright.accounts.directory import Credential
from mailwright.api.answers import JSON
from mailwright.api.authorization import forbidden
from mailwright.api.bodies import body_of
from mailwright.api.drafts import (
    Occasion,
    message_of_json,
    offer_of_message,
    offer_of_octets,
)
from mailwright.api.idempotency import (
    HEADER,
    REPLAYED_HEADER,
    Create,
    Kept,
    Repeats,
    hash_request,
    keep,
    key_of,
)
from mailwright.api.ports import ApiPorts
from mailwright.api.problems import FieldError, Kind, ProblemError
from mailwright.api.schemas import AcceptedOut, RecipientOut
from mailwright.mta.admission import Offer, Refusal
from mailwright.store.ports import StoreConflictError
from mailwright.store.statements import Bound
from mailwright.submission import (
    Accepted,
    NotAcceptedError,
    PatienceOverError,
    Submission,
)

PATH: Final = "/v1/messages"
RFC822: Final = "message/rfc822"
_RETRY_AFTER_S: Final = 10
_INLINE_ADDRESSES: Final = 64
_T = TypeVar("_T")


class MessageDoor:
    """Takes messages in; one of the doors beside SMTP."""

    def __init__(self, ports: ApiPorts) -> None:
        self._ports = ports
        self._repeats = Repeats(ports.store)

    async def post(
        self,
        request: Request,
        credential: Credential,
        rcpt: list[str],
        mail_from: str | None,
    ) -> Response:
        """Return ``201`` when the request's message is on stable storage.

        Raises:
            ProblemError: nothing was stored, or (``unknown-outcome``) it cannot be told.
        """
        ports = self._ports
        media_type = _media_type(request)
        key = key_of(request)
        async with body_of(request, ports.budget, ports.limits()) as body:
            occasion = Occasion(
                credential,
                ports.clock.now(),
                ports.fresh_id(),
                ports.hostname,
                ports.limits().recipients,
            )

            def work() -> Submission:
                # Once: nothing of a large body is kept beside what is made of it.
                nonlocal body
                octets, body = body, b""
                if media_type == RFC822:
                    offer = offer_of_octets(octets, rcpt, mail_from, occasion)
                else:
                    given = message_of_json(octets)
                    octets = b""
                    offer = offer_of_message(given, occasion)
                octets = b""
                return self._admitted(offer, occasion)

            # An address costs as much as a kilobyte of text.
            addresses = len(rcpt) + body.count(b"@")
            is_large = (
                len(body) > ports.limits().inline_octets
                or addresses > _INLINE_ADDRESSES
            )
            admitted = partial(_worked, work, is_large=is_large)
            if key is None:
                return _created(*await self._accepted(admitted, None))
            query = request.url.query
            request_hash = await _worked(
                lambda: hash_request(media_type, query, body), is_large=is_large
            )
            create = Create(credential.tenant, PATH, key, request_hash)
            return await self._once(create, admitted)

    async def _once(
        self, create: Create, admitted: Callable[[], Awaitable[Submission]]
    ) -> Response:
        with self._repeats.running(create):
            kept = await self._repeats.answer_to(create)
            if kept is not None:
                return _replayed(kept)
            try:
                return _created(*await self._accepted(admitted, create))
            except StoreConflictError:
                # The first try's commit came after we had looked.
                kept = await self._repeats.answer_to(create)
                if kept is None:
                    raise
                return _replayed(kept)

    async def _accepted(
        self, admitted: Callable[[], Awaitable[Submission]], create: Create | None
    ) -> tuple[str, str]:
        """Return the public id and the answer of what is now on stable storage."""
        submission = await admitted()
        guards = None if create is None else partial(_guards, create, submission)
        try:
            accepted = await self._ports.intake.accept(submission, guards)
        except NotAcceptedError as error:
            raise not_accepted(error) from error
        except PatienceOverError as error:
            raise unknown_outcome() from error
        return accepted.message, _answer(submission, accepted)

    def _admitted(self, offer: Offer, occasion: Occasion) -> Submission:
        judged = self._ports.admission.judge(
            offer, now=occasion.now, fresh_id=lambda: occasion.ident
        )
        if isinstance(judged, Refusal):
            raise refused(judged)
        return judged


async def _worked(work: Callable[[], _T], *, is_large: bool) -> _T:
    """Run ``work``; in a thread if it would hold the event loop for too long."""
    return await asyncio.to_thread(work) if is_large else work()


def _guards(
    create: Create, submission: Submission, accepted: Accepted
) -> Sequence[Bound]:
    """Return what commits with the message: the answer under its key."""
    return keep(create, 201, _answer(submission, accepted), submission.accepted_at)


def _created(ident: str, answer: str) -> Response:
    return Response(
        answer, 201, headers={"Location": f"{PATH}/{ident}"}, media_type=JSON
    )


def _replayed(kept: Kept) -> Response:
    response = _created(json.loads(kept.answer)["id"], kept.answer)
    response.status_code = kept.status
    response.headers[REPLAYED_HEADER] = "true"
    return response


def accepted_out(submission: Submission, accepted: Accepted) -> AcceptedOut:
    """Return how an answer shows what was taken."""
    return AcceptedOut(
        id=accepted.message,
        message_id=submission.message_id,
        recipients=[
            RecipientOut(
                delivery=each.delivery,
                address=each.address,
                state="suppressed" if each.is_suppressed else "queued",
            )
            for each in accepted.recipients
        ],
    )


def _answer(submission: Submission, accepted: Accepted) -> str:
    return accepted_out(submission, accepted).model_dump_json()


def _media_type(request: Request) -> str:
    text = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if text not in (JSON, RFC822):
        raise ProblemError(Kind.MEDIA, f"use {JSON} or {RFC822}")
    return text


def unknown_outcome() -> ProblemError:
    """Return the problem of a commit that did not end in time."""
    return ProblemError(
        Kind.UNKNOWN_OUTCOME,
        f"repeat the request with the same {HEADER} to learn it",
        retry_after_s=_RETRY_AFTER_S,
    )


def refused(refusal: Refusal) -> ProblemError:
    """Return the problem of an offer that admission does not take."""
    text = refusal.reply.text
    if refusal.needs is not None:
        return forbidden(refusal.needs, text)
    if refusal.reply.code == 552:
        return ProblemError(Kind.TOO_LARGE, text)
    errors = []
    if refusal.field:
        message = text.removeprefix(f"{refusal.field}: ")
        errors.append(FieldError(refusal.field, message))
    return ProblemError(Kind.REFUSED, text, errors=errors)


def not_accepted(error: NotAcceptedError) -> ProblemError:
    """Return the problem of a submission that the queue does not take."""
    reply = error.reply
    if reply.is_permanent:
        return ProblemError(Kind.REFUSED, reply.text)
    # RFC 3463: X.3.1 is a full mail system, X.7.1 a limit; others pass by themselves.
    kinds = {"4.3.1": Kind.FULL, "4.7.1": Kind.TOO_MANY}
    kind = kinds.get(reply.enhanced, Kind.UNAVAILABLE)
    after_s = _RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
    return ProblemError(kind, reply.text, retry_after_s=after_s)
