"""``/v1/templates``: contents under a name, in versions that never change."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.params import Depends as DependsParam
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential, Scope
from mailwright.api.answers import JSON, body_document, json_answer
from mailwright.api.bodies import body_of
from mailwright.api.campaigns.asking import Door
from mailwright.api.campaigns.contents import template_content
from mailwright.api.campaigns.drafts import parse_body
from mailwright.api.campaigns.ports import CampaignPorts
from mailwright.api.campaigns.schemas import TemplateIn
from mailwright.api.idempotency import (
    PARAMETER,
    REPLAYED_HEADER,
    Create,
    Repeats,
    hash_request,
    keep,
    key_of,
)
from mailwright.api.problems import Kind, Problem, ProblemError
from mailwright.queue.campaign.templates import TemplateRecord
from mailwright.store.ports import StoreConflictError
from mailwright.store.statements import Bound

PATH: Final = "/v1/templates"
MAX_PAGE: Final = 100
_TEMPLATE: Final = TypeAdapter(TemplateIn)
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was stored"}
}
Name = Annotated[str, PathParam(max_length=100)]
Version = Annotated[int, PathParam(ge=1, le=2**31)]


@dataclass(frozen=True, slots=True)
class TemplateOut:
    """A version of a template.

    Attributes:
        version: from 1; a version never changes.
        author: the credential that stored it.
        content: what it says, as it was sent; null in lists.
    """

    name: str
    version: int
    created_at: datetime
    author: str
    note: str
    content: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class TemplatesOut:
    """Templates by name, each in its newest version; or versions, newest first.

    Attributes:
        next: for `after` of the next question; null at the end.
    """

    templates: Sequence[TemplateOut]
    next: str | None = None


_OUT: Final = TypeAdapter(TemplateOut)
_LIST: Final = TypeAdapter(TemplatesOut)


def templates_router(ports: CampaignPorts, who: Door) -> APIRouter:
    """Return the routes of templates."""
    router = APIRouter(tags=["templates"])
    _add_create(router, ports, Depends(who(Scope.SEND)))
    _add_reading(router, ports, Depends(who(Scope.READ)))
    return router


def _add_create(router: APIRouter, ports: CampaignPorts, sender: DependsParam) -> None:
    repeats = Repeats(ports.store)

    async def stored(
        given: TemplateIn, credential: Credential, create: Create | None
    ) -> str:
        content = await asyncio.to_thread(template_content, given)
        record = await ports.templates.create(
            credential.tenant,
            given.name,
            content,
            author=credential.name,
            note=given.note,
            guards=None if create is None else partial(_guards, create),
        )
        return _answer(record)

    async def created(
        given: TemplateIn, credential: Credential, create: Create
    ) -> tuple[str, bool]:
        """Return the answer, and whether it was given before."""
        with repeats.running(create):
            kept = await repeats.answer_to(create)
            if kept is None:
                try:
                    return await stored(given, credential, create), False
                except StoreConflictError:
                    kept = await repeats.answer_to(create)
                    if kept is None:
                        raise
            return kept.answer, True

    @router.post(
        PATH,
        status_code=201,
        summary="Store a template",
        responses={201: {"model": TemplateOut}, **_REFUSALS},
        openapi_extra=_CREATE_DOCUMENT,
        response_model=None,
    )
    async def post_template(
        request: Request, credential: Annotated[Credential, sender]
    ) -> Response:
        """Store the next version of a template; a broken one is refused.

        Campaigns name a template and a version; what they were created with stays.
        """
        key = key_of(request)
        async with body_of(request, ports.budget, ports.limits()) as body:
            given = await asyncio.to_thread(parse_body, _TEMPLATE, body)
            headers = {}
            if key is None:
                answer = await stored(given, credential, None)
            else:
                request_hash = await asyncio.to_thread(
                    hash_request, JSON, request.url.query, body
                )
                create = Create(credential.tenant, PATH, key, request_hash)
                answer, is_replayed = await created(given, credential, create)
                if is_replayed:
                    headers[REPLAYED_HEADER] = "true"
        headers["Location"] = f"{PATH}/{given.name}/{json.loads(answer)['version']}"
        return Response(answer, 201, headers=headers, media_type=JSON)


def _add_reading(router: APIRouter, ports: CampaignPorts, reader: DependsParam) -> None:
    @router.get(
        PATH,
        summary="List templates",
        responses={200: {"model": TemplatesOut}, **_REFUSALS},
        response_model=None,
    )
    async def get_templates(
        credential: Annotated[Credential, reader],
        after: Annotated[str, Query(max_length=100)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    ) -> Response:
        """The tenant's templates, by name, each in its newest version."""
        page = await ports.templates.list(credential.tenant, after, limit)
        shown = [_shown(record) for record in page.records]
        return json_answer(_LIST.dump_json(TemplatesOut(shown, page.next)))

    @router.get(
        PATH + "/{name}",
        summary="List the versions of a template",
        responses={200: {"model": TemplatesOut}, **_REFUSALS},
        response_model=None,
    )
    async def get_versions(
        name: Name, credential: Annotated[Credential, reader]
    ) -> Response:
        """Newest first."""
        records = await ports.templates.versions(credential.tenant, name)
        if not records:
            raise ProblemError(Kind.NOT_FOUND)
        return json_answer(
            _LIST.dump_json(TemplatesOut([_shown(each) for each in records]))
        )

    @router.get(
        PATH + "/{name}/{version}",
        summary="See a version of a template",
        responses={200: {"model": TemplateOut}, **_REFUSALS},
        response_model=None,
    )
    async def get_version(
        name: Name, version: Version, credential: Annotated[Credential, reader]
    ) -> Response:
        """With its content."""
        record = await ports.templates.get(credential.tenant, name, version)
        if record is None:
            raise ProblemError(Kind.NOT_FOUND)
        return json_answer(await asyncio.to_thread(_with_content, record))


def _guards(create: Create, record: TemplateRecord) -> list[Bound]:
    return [*keep(create, 201, _answer(record), record.created_at)]


def _answer(record: TemplateRecord) -> str:
    return _OUT.dump_json(_shown(record)).decode()


def _shown(record: TemplateRecord) -> TemplateOut:
    return TemplateOut(
        record.name, record.version, record.created_at, record.author, record.note
    )


def _with_content(record: TemplateRecord) -> bytes:
    content = json.loads(record.content)
    # Its author is a stand-in; the name it shows is a member of its own.
    name = content.pop("from", {}).get("name")
    if name:
        content["from_name"] = name
    shown = TemplateOut(
        record.name,
        record.version,
        record.created_at,
        record.author,
        record.note,
        content,
    )
    return _OUT.dump_json(shown)


_CREATE_DOCUMENT: Final[dict[str, Any]] = {
    "parameters": [PARAMETER],
    **body_document("TemplateIn"),
}
