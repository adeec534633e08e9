"""``/v1/webhooks``: endpoints that events are sent to."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as PathParam
from pydantic import BaseModel, TypeAdapter, ValidationError

from mailwright.accounts.directory import Credential, Scope
from mailwright.api.answers import body_document, json_answer
from mailwright.api.authorization import require
from mailwright.api.bodies import body_of
from mailwright.api.ports import ApiPorts
from mailwright.api.problems import Problem, ProblemError, field_errors, invalid
from mailwright.api.webhooks.book import Entry
from mailwright.api.webhooks.door import WebhookDoor
from mailwright.api.webhooks.schemas import (
    WebhookChangeIn,
    WebhookIn,
    WebhookMadeOut,
    WebhookOut,
    WebhookReplayIn,
    WebhookSecretIn,
    WebhookSecretOut,
    WebhooksOut,
    WebhookTestOut,
)

PATH: Final = "/v1/webhooks"
_REQUEST_OCTETS: Final = 16_384
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was changed"}
}
_MADE: Final = TypeAdapter(WebhookMadeOut)
_SECRET: Final = TypeAdapter(WebhookSecretOut)
#: Bodies that are read here: their schemas are added to the document.
WEBHOOK_BODIES: Final = (WebhookIn, WebhookChangeIn, WebhookReplayIn, WebhookSecretIn)
Id = Annotated[str, PathParam(alias="id", max_length=64)]
Sent = TypeVar("Sent", bound=BaseModel)


def webhooks_router(ports: ApiPorts, door: WebhookDoor) -> APIRouter:
    """Return the routes of webhooks.

    Creating one takes no ``Idempotency-Key``: a kept answer would keep the secret. A
    repeated request is told that the endpoint exists.
    """
    router = APIRouter(tags=["webhooks"])
    manager = Depends(require(ports, Scope.MANAGE))
    named = Depends(_finding(ports, door))

    @router.get(PATH, summary="List webhooks", responses=_REFUSALS)
    async def get_webhooks(credential: Annotated[Credential, manager]) -> WebhooksOut:
        """Show the tenant's endpoints; no secrets."""
        return WebhooksOut(door.list(credential.tenant))

    @router.post(
        PATH,
        status_code=201,
        summary="Create a webhook",
        responses={**_REFUSALS, 201: {"model": WebhookMadeOut}},
        response_model=None,
        openapi_extra=body_document("WebhookIn"),
    )
    async def post_webhook(
        request: Request, credential: Annotated[Credential, manager]
    ) -> Response:
        """Send events to a URL from now on, in signed batches; shows the secret, once.

        The page about webhooks says what is sent and how to verify it.
        """
        sent = await _read(request, ports, WebhookIn)
        webhook, secret = await door.create(credential.tenant, sent)
        return json_answer(_MADE.dump_json(WebhookMadeOut(webhook, secret)), 201)

    @router.get(PATH + "/{id}", summary="Show a webhook", responses=_REFUSALS)
    async def get_webhook(entry: Annotated[Entry, named]) -> WebhookOut:
        """Show one endpoint: how far it is, and how its last attempt ended."""
        return await door.show(entry)

    @router.patch(
        PATH + "/{id}",
        summary="Change a webhook",
        responses=_REFUSALS,
        openapi_extra=body_document("WebhookChangeIn"),
    )
    async def patch_webhook(
        entry: Annotated[Entry, named], request: Request
    ) -> WebhookOut:
        """Change URL, name or types; it goes on from where it is."""
        await door.change(entry, await _read(request, ports, WebhookChangeIn))
        return await door.show(entry)

    @router.delete(
        PATH + "/{id}",
        status_code=204,
        summary="Delete a webhook",
        responses=_REFUSALS,
        response_model=None,
    )
    async def delete_webhook(entry: Annotated[Entry, named]) -> Response:
        """Send nothing more to an endpoint and forget it, with its secret."""
        await door.book.remove(entry)
        return Response(status_code=204)

    _add_controls(router, ports, door)
    return router


def _finding(ports: ApiPorts, door: WebhookDoor) -> Callable[..., Awaitable[Entry]]:
    """Return what finds the endpoint that a path names, of the tenant that asks."""
    manager = Depends(require(ports, Scope.MANAGE))

    # Not awaited for anything, but run on the loop: the book is not for threads.
    async def named(ident: Id, credential: Annotated[Credential, manager]) -> Entry:
        return door.entry(credential.tenant, ident)

    return named


def _add_controls(router: APIRouter, ports: ApiPorts, door: WebhookDoor) -> None:
    named = Depends(_finding(ports, door))

    @router.post(PATH + "/{id}/pause", summary="Pause a webhook", responses=_REFUSALS)
    async def post_pause(entry: Annotated[Entry, named]) -> WebhookOut:
        """Send nothing more for now; what happens meanwhile is sent afterwards."""
        await door.pause(entry)
        return await door.show(entry)

    @router.post(PATH + "/{id}/resume", summary="Resume a webhook", responses=_REFUSALS)
    async def post_resume(entry: Annotated[Entry, named]) -> WebhookOut:
        """Go on where it stopped, at once, also one that is failing or disabled."""
        await door.resume(entry)
        return await door.show(entry)

    @router.post(
        PATH + "/{id}/replay",
        summary="Replay events",
        responses=_REFUSALS,
        openapi_extra=body_document("WebhookReplayIn"),
    )
    async def post_replay(
        entry: Annotated[Entry, named], request: Request
    ) -> WebhookOut:
        """Send the events after a cursor or an instant, again or instead of others.

        A later cursor leaves out what lies between. Events keep their ids.
        """
        await door.replay(entry, await _read(request, ports, WebhookReplayIn))
        return await door.show(entry)

    @router.post(
        PATH + "/{id}/secret",
        summary="Replace the secret of a webhook",
        responses={**_REFUSALS, 200: {"model": WebhookSecretOut}},
        response_model=None,
        openapi_extra=body_document("WebhookSecretIn", required=False),
    )
    async def post_secret(entry: Annotated[Entry, named], request: Request) -> Response:
        """Sign with a new secret and show it, once; for a time the old one signs, too."""
        sent = await _read(request, ports, WebhookSecretIn)
        secret = await door.replace_secret(entry, sent.keep_old_hours)
        until = entry.endpoint.old_secret_until
        return json_answer(_SECRET.dump_json(WebhookSecretOut(secret, until)))

    @router.post(PATH + "/{id}/test", summary="Test a webhook", responses=_REFUSALS)
    async def post_test(entry: Annotated[Entry, named]) -> WebhookTestOut:
        """Send one event `webhook.test` now and say how it was answered.

        It may be done while the endpoint is paused, and changes nothing.
        """
        result = await door.test(entry)
        return WebhookTestOut(result.is_taken, result.status, result.text)


async def _read(request: Request, ports: ApiPorts, model: type[Sent]) -> Sent:
    """Return the body of ``request``; none is an empty object."""
    limits = replace(ports.limits(), request_octets=_REQUEST_OCTETS)
    async with body_of(request, ports.budget, limits) as body:
        try:
            return model.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise _refused(error) from error


def _refused(error: ValidationError) -> ProblemError:
    return invalid(*field_errors(error))
