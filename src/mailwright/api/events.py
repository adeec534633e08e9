"""``GET /v1/events``: what happened, in order, from a cursor on."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential, Scope
from mailwright.api.authorization import require
from mailwright.api.ports import ApiPorts, EventPage
from mailwright.api.problems import FieldError, Problem, invalid
from mailwright.events.position import CursorError
from mailwright.events.types import EventType
from mailwright.ids import Kind, parse_public

PATH: Final = "/v1/events"
MAX_EVENTS: Final = 1000
_PAGE: Final = TypeAdapter(EventPage)


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
    ) -> Response:
        """Read what happened to this tenant's deliveries, in order.

        Ask again with `next` as `after`; an empty page means that there is no more yet.
        Nothing is missed and nothing is told twice.
        """
        ident = None
        if message is not None:
            ident = parse_public(message, Kind.MESSAGE)
            if ident is None:
                raise invalid(FieldError("message", "is not a message's id"))
        try:
            page = await ports.reading.events(
                credential.tenant,
                after=after,
                limit=limit,
                types=frozenset(of_type or ()),
                message=ident,
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
