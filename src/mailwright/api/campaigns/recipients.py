"""A campaign's recipients: uploads of rows, and streams of what became of them."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.params import Depends as DependsParam
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential, Scope
from mailwright.api.answers import JSON
from mailwright.api.campaigns.asking import Door, campaign_of
from mailwright.api.campaigns.door import PATH
from mailwright.api.campaigns.exports import (
    MAX_LIMIT,
    PAGE_ROWS,
    ListFormat,
    format_of,
    listed,
    recipients_listing,
    rejects_listing,
)
from mailwright.api.campaigns.ports import CampaignPorts
from mailwright.api.campaigns.records import ChunkOut, ChunksOut, DeliveryState
from mailwright.api.campaigns.routes import After, Ident
from mailwright.api.campaigns.uploads import ROWS_DONE_HEADER, upload_of
from mailwright.api.problems import Kind, Problem, ProblemError
from mailwright.queue.campaign.chunk_file import Chunk
from mailwright.queue.campaign.job import CampaignRecord, JobState
from mailwright.queue.campaign.results import Page

RECIPIENTS: Final = PATH + "/{id}/recipients"
REJECTS: Final = PATH + "/{id}/rejects"
CHUNKS: Final = PATH + "/{id}/chunks"
_TAKES: Final = frozenset({JobState.DRAFT, JobState.FAILED})
_KEY: Final = r"^[A-Za-z0-9_.-]{1,100}$"

#: The body is not read: this connection is of no more use.
_CLOSE: Final = {"Connection": "close"}
_CHUNK: Final = TypeAdapter(ChunkOut)
_CHUNKS: Final = TypeAdapter(ChunksOut)
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "With what was durable before"}
}
_DONE: Final = {
    ROWS_DONE_HEADER: {
        "description": "Rows of this chunk that are on stable storage",
        "schema": {"type": "integer"},
    }
}
Key = Annotated[
    str, Query(pattern=_KEY, description="Of this chunk; a repeat counts once")
]
ChunkKey = Annotated[str, PathParam(alias="key", pattern=_KEY)]
Limit = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_LIMIT,
        description="One page of so many, its `Next-After` in the header; without it"
        " the whole list",
    ),
]
Form = Annotated[
    ListFormat | None, Query(alias="format", description="Otherwise by `Accept`")
]


def recipients_router(ports: CampaignPorts, who: Door) -> APIRouter:
    """Return the routes of recipients."""
    router = APIRouter(tags=["campaigns"])
    sender, reader = Depends(who(Scope.SEND)), Depends(who(Scope.READ))
    _add_upload(router, ports, sender)
    _add_chunks(router, ports, sender)
    _add_lists(router, ports, reader)
    return router


def _add_upload(router: APIRouter, ports: CampaignPorts, sender: DependsParam) -> None:
    @router.put(
        RECIPIENTS,
        summary="Upload recipients",
        responses={
            200: {"model": ChunkOut, "headers": _DONE, "description": "All durable"},
            **_REFUSALS,
        },
        openapi_extra=_UPLOAD_DOCUMENT,
        response_model=None,
    )
    async def put_recipients(
        request: Request,
        ident: Ident,
        key: Key,
        credential: Annotated[Credential, sender],
    ) -> Response:
        """Add rows: NDJSON (one object a line) or CSV (a header line, then rows).

        Each row has an `email`, and may have `fields`, `metadata`, `engaged_at`,
        `timezone` and `variant`; in CSV every other column is a field. Send as many
        chunks as you like, each with a key of its own: a repeat of a finished one
        answers the same again and counts once. One that broke off goes on where
        `Upload-Rows-Done` says: send the whole chunk again, or the rest of it with
        `Upload-Rows-Done` in the request (CSV: below the header line). A bad row
        spoils no other; a malformed file is refused with line and column.
        """
        upload = upload_of(request, key)
        record = await campaign_of(ports.jobs, credential.tenant, ident)
        if record.list_url is not None:
            raise ProblemError(
                Kind.STATE, "its recipients come from its list_url", headers=_CLOSE
            )
        if record.state not in _TAKES:
            known = await ports.uploads.chunk(record.id, key)
            if known is None or not known.is_finished:
                raise ProblemError(
                    Kind.STATE,
                    f"it is {record.state.value}: rows are taken while it is a draft",
                    headers=_CLOSE,
                )
        chunk = await ports.uploads.receive(request, record.id, upload)
        return _chunk(chunk)


def _add_chunks(router: APIRouter, ports: CampaignPorts, sender: DependsParam) -> None:
    async def found(ident: str, key: str, credential: Credential) -> Chunk:
        record = await campaign_of(ports.jobs, credential.tenant, ident)
        chunk = await ports.uploads.chunk(record.id, key)
        if chunk is None:
            raise ProblemError(Kind.NOT_FOUND)
        return chunk

    responses: dict[int | str, dict[str, Any]] = {
        200: {"model": ChunkOut, "headers": _DONE},
        **_REFUSALS,
    }

    @router.get(
        CHUNKS,
        summary="List the chunks of a campaign",
        responses={200: {"model": ChunksOut}, **_REFUSALS},
        response_model=None,
    )
    async def get_chunks(
        ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """What was uploaded so far, in the order they came."""
        record = await campaign_of(ports.jobs, credential.tenant, ident)
        chunks = await ports.uploads.chunks(record.id)
        shown = ChunksOut([chunk_out(each) for each in chunks])
        return Response(_CHUNKS.dump_json(shown), media_type=JSON)

    @router.get(
        CHUNKS + "/{key}",
        summary="See a chunk",
        responses=responses,
        response_model=None,
    )
    async def get_chunk(
        ident: Ident, key: ChunkKey, credential: Annotated[Credential, sender]
    ) -> Response:
        """How many of its rows are durable, and whether it was read to its end."""
        return _chunk(await found(ident, key, credential))

    @router.head(
        CHUNKS + "/{key}",
        summary="See how far a chunk is",
        responses={200: {"headers": _DONE, "description": "No body"}, **_REFUSALS},
        response_model=None,
    )
    async def head_chunk(
        ident: Ident, key: ChunkKey, credential: Annotated[Credential, sender]
    ) -> Response:
        """`Upload-Rows-Done` says where to go on."""
        return _chunk(await found(ident, key, credential))


def _add_lists(router: APIRouter, ports: CampaignPorts, reader: DependsParam) -> None:
    jobs = ports.jobs

    @router.get(
        RECIPIENTS,
        summary="Read what became of the recipients",
        responses={200: _LIST_DOCUMENT, **_REFUSALS},
        response_model=None,
    )
    async def get_recipients(
        request: Request,
        ident: Ident,
        credential: Annotated[Credential, reader],
        state: Annotated[
            DeliveryState | None, Query(description="Only those in this state")
        ] = None,
        category: Annotated[str, Query(max_length=64)] = "",
        after: After = "",
        limit: Limit = None,
        form: Form = None,
    ) -> Response:
        """Each recipient with its state and last reply, as NDJSON or CSV.

        In CSV a cell that a spreadsheet could take for a formula has an apostrophe in
        front.
        """
        record = await campaign_of(jobs, credential.tenant, ident)

        async def read(key: str) -> Page[Any]:
            page = await jobs.recipients(
                credential.tenant,
                record.id,
                state=None if state is None else state.value,
                category=category,
                after=key,
                limit=limit or PAGE_ROWS,
            )
            return _page(page)

        listing = recipients_listing(read, _accepted_at(record))
        return await listed(
            listing, format_of(request, form), after=after, is_whole=limit is None
        )

    @router.get(
        REJECTS,
        summary="Read which rows got no delivery",
        responses={200: _LIST_DOCUMENT, **_REFUSALS},
        response_model=None,
    )
    async def get_rejects(
        request: Request,
        ident: Ident,
        credential: Annotated[Credential, reader],
        after: After = "",
        limit: Limit = None,
        form: Form = None,
    ) -> Response:
        """Each row that is a duplicate, invalid or suppressed, with the reason."""
        record = await campaign_of(jobs, credential.tenant, ident)

        async def read(key: str) -> Page[Any]:
            page = await jobs.rejects(
                credential.tenant, record.id, after=key, limit=limit or PAGE_ROWS
            )
            return _page(page)

        return await listed(
            rejects_listing(read),
            format_of(request, form),
            after=after,
            is_whole=limit is None,
        )


def chunk_out(chunk: Chunk) -> ChunkOut:
    """Return what is shown of a chunk."""
    return ChunkOut(
        chunk.key, chunk.rows_done, chunk.staged, chunk.invalid, chunk.is_finished
    )


def _chunk(chunk: Chunk) -> Response:
    headers = {ROWS_DONE_HEADER: str(chunk.rows_done), "Cache-Control": "no-store"}
    content = _CHUNK.dump_json(chunk_out(chunk))
    return Response(content, media_type=JSON, headers=headers)


def _accepted_at(record: CampaignRecord) -> datetime:
    """Return when its deliveries were accepted, all of them at once."""
    return record.sealed_at or record.created_at


def _page(page: Page[Any] | None) -> Page[Any]:
    """Return ``page``; a campaign that is gone meanwhile has no more."""
    return Page((), None) if page is None else page


_LIST_DOCUMENT: Final[dict[str, Any]] = {
    "description": "One row a line",
    "content": {
        "application/x-ndjson": {"schema": {"type": "string"}},
        "text/csv": {"schema": {"type": "string"}},
    },
    "headers": {
        "Next-After": {
            "description": "`after` of the next page, where `limit` was given and there"
            " is more",
            "schema": {"type": "string"},
        }
    },
}
_UPLOAD_DOCUMENT: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": ROWS_DONE_HEADER,
            "in": "header",
            "description": "The body begins with the row after so many; without it, it"
            " is the whole chunk",
            "schema": {"type": "integer"},
        },
        {
            "name": "Content-Encoding",
            "in": "header",
            "schema": {"type": "string", "enum": ["gzip", "identity"]},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"email": "ada@example.org", "fields": {"name": "Ada"}}\n',
            },
            "text/csv": {
                "schema": {"type": "string"},
                "example": "email,name\r\nada@example.org,Ada\r\n",
            },
        },
    },
}
