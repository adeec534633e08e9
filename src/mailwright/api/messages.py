"""``POST /v1/messages`` and ``GET /v1/messages/{id}``: routes and their documents."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.params import Depends as DependsParam
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential, Scope
from mailwright.api.answers import JSON, json_answer
from mailwright.api.authorization import require
from mailwright.api.door import PATH, RFC822, MessageDoor
from mailwright.api.idempotency import PARAMETER
from mailwright.api.ports import ApiPorts, MessageRecord
from mailwright.api.problems import Kind, Problem, ProblemError
from mailwright.api.schemas import AcceptedOut
from mailwright.ids import Kind as IdKind
from mailwright.ids import parse_public

#: Showing more deliveries than these would hold the loop for too long.
_INLINE_DELIVERIES: Final = 100
_MESSAGE: Final = TypeAdapter(MessageRecord)


def messages_router(ports: ApiPorts) -> APIRouter:
    """Return the routes of messages."""
    router = APIRouter(tags=["messages"])
    door = MessageDoor(ports)
    sender = Depends(require(ports, Scope.SEND))
    reader = Depends(require(ports, Scope.READ))
    _add_post(router, door, sender)
    _add_get(router, ports, reader)
    return router


def _add_post(router: APIRouter, door: MessageDoor, sender: DependsParam) -> None:
    @router.post(
        PATH,
        status_code=201,
        summary="Submit a message",
        responses={
            201: {
                "model": AcceptedOut,
                "description": "On stable storage, with all its deliveries",
            },
            "4XX": {"model": Problem, "description": "Nothing was sent"},
            "5XX": {"model": Problem, "description": "Try again, with the same key"},
        },
        openapi_extra=_POST_DOCUMENT,
        response_model=None,
    )
    async def post_message(
        request: Request,
        credential: Annotated[Credential, sender],
        rcpt: Annotated[
            list[str] | None,
            Query(description=f"A recipient, for `{RFC822}`; repeat it for each"),
        ] = None,
        mail_from: Annotated[
            str | None,
            Query(
                description=f"The reverse-path, for `{RFC822}`; empty for the null"
                " one. Without it, the From mailbox"
            ),
        ] = None,
    ) -> Response:
        """Take one message and deliver it to each of its recipients.

        JSON, or a whole message as `message/rfc822` with its recipients as `rcpt` in the
        query (control fields `X-Mailwright-*` work as they do over SMTP). The answer
        comes when message and deliveries are on stable storage.
        """
        return await door.post(request, credential, rcpt or [], mail_from)


def _add_get(router: APIRouter, ports: ApiPorts, reader: DependsParam) -> None:
    @router.get(
        PATH + "/{id}",
        summary="See a message and its deliveries",
        responses={
            200: {"model": MessageRecord, "description": "The message"},
            "4XX": {"model": Problem, "description": "No such message of this tenant"},
        },
        response_model=None,
    )
    async def get_message(
        ident: Annotated[str, PathParam(alias="id", description="As given by `POST`")],
        credential: Annotated[Credential, reader],
    ) -> Response:
        """Show each delivery with the reply of each attempt."""
        public = parse_public(ident, IdKind.MESSAGE)
        if public is None:
            raise ProblemError(Kind.NOT_FOUND)
        record = await ports.reading.message(credential.tenant, public)
        if record is None:
            raise ProblemError(Kind.NOT_FOUND)
        if len(record.deliveries) <= _INLINE_DELIVERIES:
            content = _MESSAGE.dump_json(record)
        else:
            content = await asyncio.to_thread(_MESSAGE.dump_json, record)
        return json_answer(content)


_POST_DOCUMENT: Final[dict[str, Any]] = {
    "parameters": [PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": "#/components/schemas/MessageIn"}},
            RFC822: {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
