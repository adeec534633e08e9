"""``GET /v1/events``: what happened, in order, from a cursor on."""

from collections.abc import Collection
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential, Scope
from mailwright.address import AddressError, parse_address
from mailwright.api.authorization import require
from mailwright.api.ports import ApiPorts, EventFilter, EventPage
from mailwright.api.problems import FieldError, Problem, invalid
from mailwright.events.position import CursorError
from mailwright.events.types import EventType
from mailwright.ids import Kind, PublicId, parse_public

PATH: Final = "/v1/events"
MAX_EVENTS: Final = 1000
_PAGE: Final = TypeAdapter(EventPage)
_PARAMETERS: Final = frozenset(
    {"after", "limit", "type", "message", "campaign", "tag", "recipient"}
)


def events_router(ports: ApiPorts) -> APIRouter:
    """Return the route of events."""
    router = APIRouter(tags=["events"])
    reader = Depends(require(ports, Scope.READ))

    @router.get(
        PATH,
        summary="Read events",
        responses={
            200: {"model": EventPage, "description": "Events and the next cursor"},
            "4XX": {"model": Problem, "description": "Not with these parameters"},
        },
        response_model=None,
    )
    async def get_events(
        request: Request,
        credential: Annotated[Credential, reader],
        after: Annotated[
            str,
            Query(max_length=1024, description="`next` of the page before"),
        ] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 100,
        of_type: Annotated[
            list[EventType] | None,
            Query(alias="type", description="Only these; repeat it for each"),
        ] = None,
        message: Annotated[
            str | None, Query(max_length=64, description="Only this message's")
        ] = None,
        campaign: Annotated[
            str | None, Query(max_length=64, description="Only this campaign's")
        ] = None,
        tag: Annotated[
            str | None,
            Query(min_length=1, max_length=255, description="Only what has this tag"),
        ] = None,
        recipient: Annotated[
            str | None,
            Query(max_length=1024, description="Only this address's"),
        ] = None,
    ) -> Response:
        """Read what happened to this tenant's deliveries, in order.

        Ask again with `next` as `after`: at once while `more` is true, which it may be
        after a page without events, too; later otherwise. Nothing is missed and nothing
        is told twice. Filters may be changed between pages.
        """
        refuse_unknown(request, _PARAMETERS)
        wanted = EventFilter(
            frozenset(of_type or ()),
            public_id(message, Kind.MESSAGE, "message"),
            public_id(campaign, Kind.CAMPAIGN, "campaign"),
            tag,
            _canonical(recipient),
        )
        try:
            page = await ports.reading.events(
                credential.tenant, wanted, after=after, limit=limit
            )
        except CursorError as error:
            raise invalid(
                FieldError("after", "is not a cursor that we gave out")
            ) from error
        return Response(
            _PAGE.dump_json(page),
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    return router


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Refuse parameters that there are not: a misspelt filter lets everything through.

    Raises:
        ProblemError: it names each of them.
    """
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        raise invalid(*(FieldError(each, "no such parameter") for each in unknown))


def public_id(text: str | None, kind: Kind, field: str) -> PublicId | None:
    """Return what a public id names, ``None`` when none is given.

    Raises:
        ProblemError: it is none of ``kind``.
    """
    if text is None:
        return None
    ident = parse_public(text, kind)
    if ident is None:
        raise invalid(FieldError(field, f"is not a {kind.name.lower()}'s id"))
    return ident


def _canonical(address: str | None) -> str | None:
    if address is None:
        return None
    try:
        return parse_address(address).canonical
    except AddressError as error:
        raise invalid(FieldError("recipient", "is not an address")) from error
