"""The door for campaigns: read, check, store, take rows in, start; once if repeated.

A create is answered with the campaign as it was made, then its inline rows were staged and
it was started, if that was asked for. These follow the commit: where the node ended in
between, the same request with its ``Idempotency-Key`` does what was left.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from fastapi import Request, Response
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential
from mailwright.api.answers import JSON
from mailwright.api.bodies import body_of
from mailwright.api.campaigns.drafts import Asking, campaign_of, parse_body
from mailwright.api.campaigns.ports import CampaignPorts
from mailwright.api.campaigns.records import CampaignOut, campaign_out
from mailwright.api.campaigns.schemas import CampaignIn
from mailwright.api.campaigns.uploads import Upload
from mailwright.api.idempotency import (
    REPLAYED_HEADER,
    Create,
    Kept,
    Repeats,
    hash_request,
    keep,
    key_of,
)
from mailwright.api.problems import FieldError, Kind, ProblemError, invalid
from mailwright.ids import CampaignId, parse_public
from mailwright.ids import Kind as IdKind
from mailwright.queue.campaign.job import CampaignRecord, JobState, NewCampaign
from mailwright.queue.campaign.uploads import RowFormat
from mailwright.store.json_text import to_json
from mailwright.store.ports import StoreConflictError
from mailwright.store.statements import Bound

PATH: Final = "/v1/campaigns"
#: The chunk of rows that came with the create.
INLINE_KEY: Final = "inline"
_CAMPAIGN: Final = TypeAdapter(CampaignIn)
_OUT: Final = TypeAdapter(CampaignOut)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Made:
    """A campaign that is on stable storage."""

    ident: CampaignId
    public: str
    answer: str


class CampaignDoor:
    """Takes campaigns in."""

    def __init__(self, ports: CampaignPorts) -> None:
        self._ports = ports
        self._repeats = Repeats(ports.store)

    async def create(self, request: Request, credential: Credential) -> Response:
        """Return ``201`` when the campaign is stored, staged and started as asked.

        Raises:
            ProblemError: nothing was stored.
        """
        ports = self._ports
        if _media_type(request) != JSON:
            raise ProblemError(Kind.MEDIA, f"use {JSON}")
        key = key_of(request)
        async with body_of(request, ports.budget, ports.limits()) as body:
            work = partial(parse_body, _CAMPAIGN, body)
            given = await self._worked(work, body)
            new = partial(self._checked, given, credential, body)
            if key is None:
                made = await self._stored(await new(), None)
                await self._followed(made, given, credential)
                return _created(made)
            request_hash = await self._worked(
                lambda: hash_request(JSON, request.url.query, body), body
            )
            create = Create(credential.tenant, PATH, key, request_hash)
            with self._repeats.running(create):
                made, is_replayed = await self._once(create, new)
                await self._followed(made, given, credential)
                return _created(made, is_replayed=is_replayed)

    async def _once(
        self, create: Create, new: Callable[[], Awaitable[NewCampaign]]
    ) -> tuple[_Made, bool]:
        """Return the campaign, and whether it was there before."""
        kept = await self._repeats.answer_to(create)
        if kept is None:
            try:
                return await self._stored(await new(), create), False
            except StoreConflictError:
                # The first try's commit came after we had looked.
                kept = await self._repeats.answer_to(create)
                if kept is None:
                    raise
        return _made_of(kept), True

    async def _checked(
        self, given: CampaignIn, credential: Credential, body: bytes
    ) -> NewCampaign:
        """Return the campaign that is asked for."""
        template = None
        if given.template is not None:
            found = await self._ports.templates.get(
                credential.tenant, given.template.name, given.template.version
            )
            if found is None:
                raise invalid(FieldError("template", "no such template or version"))
            template = found.content
        asking = Asking(
            credential,
            self._ports.clock.now(),
            self._ports.directory(),
            self._ports.admission,
            template,
        )
        # Always in a thread: compiling a template may take its whole allowance.
        return await asyncio.to_thread(campaign_of, given, asking)

    async def _stored(self, new: NewCampaign, create: Create | None) -> _Made:
        guards = None if create is None else partial(self._guards, create)
        record = await self._ports.jobs.create(new, guards)
        return self._made(record)

    def _guards(self, create: Create, record: CampaignRecord) -> list[Bound]:
        made = self._made(record)
        return [*keep(create, 201, made.answer, record.created_at)]

    def _made(self, record: CampaignRecord) -> _Made:
        shown = campaign_out(record, self._ports.directory())
        return _Made(record.id, shown.id, _OUT.dump_json(shown).decode())

    async def _followed(
        self, made: _Made, given: CampaignIn, credential: Credential
    ) -> None:
        """Stage the inline rows and start, unless that has been done."""
        if given.recipients is None and not given.start:
            return
        jobs, tenant = self._ports.jobs, credential.tenant
        record = await jobs.get(tenant, made.ident)
        if record is None or record.state is not JobState.DRAFT:
            return
        if given.recipients is not None:
            upload = Upload(INLINE_KEY, RowFormat("ndjson"), False, None)
            await self._ports.uploads.stage(_rows(given), made.ident, upload)
        if given.start and not record.start_wanted:
            await jobs.start(tenant, made.ident, credential.name)

    async def _worked(self, work: Callable[[], _T], body: bytes) -> _T:
        if len(body) > self._ports.limits().inline_octets:
            return await asyncio.to_thread(work)
        return work()


async def _rows(given: CampaignIn) -> AsyncIterator[bytes]:
    """Give the inline rows as an upload would."""
    for row in given.recipients or ():
        yield to_json(row.model_dump(mode="json", exclude_none=True)).encode() + b"\n"


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _made_of(kept: Kept) -> _Made:
    public = json.loads(kept.answer)["id"]
    found = parse_public(public, IdKind.CAMPAIGN)
    # What we kept is an id that we gave out.
    assert found is not None  # noqa: S101
    return _Made(CampaignId(found.number), public, kept.answer)


def _created(made: _Made, *, is_replayed: bool = False) -> Response:
    headers = {"Location": f"{PATH}/{made.public}"}
    if is_replayed:
        headers[REPLAYED_HEADER] = "true"
    return Response(made.answer, 201, headers=headers, media_type=JSON)
