"""Previews, test copies, and what went out: ``…/preview``, ``…/test``, ``…/rendered``."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.params import Depends as DependsParam
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential, Scope
from mailwright.address import Address, AddressError, parse_address
from mailwright.api.answers import JSON, NO_STORE, body_document, json_answer
from mailwright.api.bodies import body_of
from mailwright.api.campaigns.asking import Door, campaign_of
from mailwright.api.campaigns.door import PATH
from mailwright.api.campaigns.drafts import parse_body
from mailwright.api.campaigns.ports import CampaignPorts, Unrendered, Wanted
from mailwright.api.campaigns.records import PreviewOut, TestedOut
from mailwright.api.campaigns.routes import Ident
from mailwright.api.campaigns.schemas import PreviewIn, TestIn
from mailwright.api.door import (
    RFC822,
    accepted_out,
    not_accepted,
    refused,
    unknown_outcome,
)
from mailwright.api.idempotency import Create, Repeats, hash_request, keep, key_of
from mailwright.api.problems import FieldError, Kind, Problem, ProblemError, invalid
from mailwright.api.schemas import AcceptedOut
from mailwright.api.templates import PATH as TEMPLATES
from mailwright.envelope import Envelope, Recipient
from mailwright.ids import Kind as IdKind
from mailwright.ids import parse_public
from mailwright.mta.admission import Offer, Refusal
from mailwright.mta.control import Choices
from mailwright.queue.campaign.job import CampaignRecord
from mailwright.store.ports import StoreConflictError
from mailwright.store.statements import Bound
from mailwright.submission import (
    Accepted,
    NotAcceptedError,
    PatienceOverError,
    Submission,
)

RENDERED: Final = "/v1/messages/{id}/rendered"
SELECTOR_HEADER: Final = "Signing-Selector"
TEST_TAG: Final = "test"
_PREVIEW: Final = TypeAdapter(PreviewIn)
_TEST: Final = TypeAdapter(TestIn)
_SHOWN: Final = TypeAdapter(PreviewOut)
_TESTED: Final = TypeAdapter(TestedOut)
_ACCEPTED: Final = TypeAdapter(AcceptedOut)
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was sent"}
}


def rendering_router(ports: CampaignPorts, who: Door) -> APIRouter:
    """Return the routes that render."""
    router = APIRouter(tags=["campaigns"])
    sender, reader = Depends(who(Scope.SEND)), Depends(who(Scope.READ))
    _add_previews(router, ports, reader)
    _add_test(router, ports, sender)
    _add_rendered(router, ports, reader)
    return router


def _add_previews(
    router: APIRouter, ports: CampaignPorts, reader: DependsParam
) -> None:
    async def shown(request: Request, content: bytes | None) -> Response:
        if content is None:
            raise ProblemError(Kind.NOT_FOUND, "its content is not kept any more")
        async with body_of(request, ports.budget, ports.limits()) as body:
            given = parse_body(_PREVIEW, body)
        preview = await ports.rendering.preview(
            content, _wanted(given, _address(given.email, "email"), ports)
        )
        if isinstance(preview, Unrendered):
            raise invalid(FieldError(preview.field, preview.reason))
        return json_answer(_SHOWN.dump_json(preview))

    document: dict[str, Any] = {
        "responses": {200: {"model": PreviewOut}, **_REFUSALS},
        "openapi_extra": body_document("PreviewIn"),
        "response_model": None,
    }

    @router.post(PATH + "/{id}/preview", summary="Preview a campaign", **document)
    async def post_preview(
        request: Request, ident: Ident, credential: Annotated[Credential, reader]
    ) -> Response:
        """Render it for a recipient, and say what a careful sender would look at.

        Fields that are missing, links that lead nowhere, html that is clipped, images
        without a text, no way to unsubscribe.
        """
        record = await campaign_of(ports.jobs, credential.tenant, ident)
        return await shown(
            request, await ports.jobs.content(credential.tenant, record.id)
        )

    @router.post(
        TEMPLATES + "/{name}/preview", summary="Preview a template", **document
    )
    async def post_template_preview(
        request: Request,
        name: Annotated[str, PathParam(max_length=100)],
        credential: Annotated[Credential, reader],
        version: Annotated[int | None, Query(ge=1, le=2**31)] = None,
    ) -> Response:
        """Render its newest version, or the one that is named, for a recipient."""
        found = await ports.templates.get(credential.tenant, name, version)
        if found is None:
            raise ProblemError(Kind.NOT_FOUND)
        return await shown(request, found.content)


def _add_test(router: APIRouter, ports: CampaignPorts, sender: DependsParam) -> None:
    repeats = Repeats(ports.store)

    @router.post(
        PATH + "/{id}/test",
        status_code=201,
        summary="Send test copies",
        responses={201: {"model": TestedOut}, **_REFUSALS},
        openapi_extra=body_document("TestIn"),
        response_model=None,
    )
    async def post_test(
        request: Request, ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """Send rendered copies now, as messages of their own with the tag `test`.

        They count in no figure of the campaign. With an `Idempotency-Key` a repeat
        sends what had not been sent.
        """
        key = key_of(request)
        record = await campaign_of(ports.jobs, credential.tenant, ident)
        content = await ports.jobs.content(credential.tenant, record.id)
        if content is None:
            raise ProblemError(Kind.NOT_FOUND, "its content is not kept any more")
        async with body_of(request, ports.budget, ports.limits()) as body:
            given = parse_body(_TEST, body)
            request_hash = hash_request(JSON, request.url.query, body)
        copies = _Copies(ports, credential, record, content, given)
        addresses = [
            _address(text, f"to[{place}]") for place, text in enumerate(given.to)
        ]
        done: list[AcceptedOut] = []
        for place, address in enumerate(addresses):
            if key is None:
                done.append(await copies.send(address, None))
                continue
            path = f"{PATH}/{ident}/test/{place}"
            create = Create(credential.tenant, path, key, request_hash)
            with repeats.running(create):
                kept = await repeats.answer_to(create)
                if kept is None:
                    done.append(await copies.send(address, create))
                else:
                    done.append(_ACCEPTED.validate_json(kept.answer))
        return json_answer(_TESTED.dump_json(TestedOut(done)), 201)


class _Copies:
    """Sends test copies of one campaign."""

    def __init__(
        self,
        ports: CampaignPorts,
        credential: Credential,
        record: CampaignRecord,
        content: bytes,
        given: TestIn,
    ) -> None:
        self._ports = ports
        self._credential = credential
        self._record = record
        self._content = content
        self._given = given

    async def send(self, address: Address, create: Create | None) -> AcceptedOut:
        """Return what was accepted.

        Raises:
            ProblemError: it cannot be rendered, or is refused.
        """
        submission = await self._submission(address)
        guards = None if create is None else partial(_guards, create, submission)
        try:
            accepted = await self._ports.intake.accept(submission, guards)
        except NotAcceptedError as error:
            raise not_accepted(error) from error
        except PatienceOverError as error:
            raise unknown_outcome() from error
        except StoreConflictError as error:
            raise ProblemError(Kind.IN_PROGRESS, retry_after_s=1) from error
        return accepted_out(submission, accepted)

    async def _submission(self, address: Address) -> Submission:
        ports = self._ports
        now = ports.clock.now()
        wanted = _wanted(self._given, address, ports)
        rendered = await ports.rendering.render(self._content, wanted)
        if isinstance(rendered, Unrendered):
            raise invalid(FieldError(rendered.field, rendered.reason))
        directory = ports.directory()
        stream = directory.streams[self._record.stream]
        default = directory.streams[self._credential.stream]
        header, body = rendered
        author = _author_of(self._record)
        offer = Offer(
            self._credential,
            Envelope(author, (Recipient(address),), has_utf8=address.needs_utf8),
            header,
            body,
            choices=Choices(
                stream=None if stream.id == default.id else stream.name,
                tags=(TEST_TAG,),
            ),
        )
        judged = ports.admission.judge(
            offer, now=now, fresh_id=lambda: wanted.message_ident
        )
        if isinstance(judged, Refusal):
            raise refused(judged)
        return judged


def _add_rendered(
    router: APIRouter, ports: CampaignPorts, reader: DependsParam
) -> None:
    @router.get(
        RENDERED,
        summary="See a message as it goes out",
        responses={
            200: {
                "content": {RFC822: {"schema": {"type": "string", "format": "binary"}}},
                "description": "The octets, signed",
            },
            **_REFUSALS,
        },
        response_model=None,
    )
    async def get_rendered(
        ident: Ident, credential: Annotated[Credential, reader]
    ) -> Response:
        """The same octets that its receivers get, as long as its content is kept.

        For a receiver that takes no 8-bit octets some parts may be encoded otherwise.
        """
        public = parse_public(ident, IdKind.MESSAGE)
        if public is None:
            raise ProblemError(Kind.NOT_FOUND)
        found = await ports.rendering.rendered(credential.tenant, public)
        if found is None:
            raise ProblemError(Kind.NOT_FOUND)
        if isinstance(found, str):
            raise ProblemError(Kind.STATE, found)
        return Response(found, media_type=RFC822, headers=NO_STORE)


def _wanted(
    given: PreviewIn | TestIn, address: Address, ports: CampaignPorts
) -> Wanted:
    at: datetime = ports.clock.now()
    return Wanted(
        address.canonical, given.fields, given.variant or "", at, ports.fresh_id()
    )


def _author_of(record: CampaignRecord) -> Address:
    asked = record.spec["from"]
    # Checked when the campaign was created.
    assert isinstance(asked, dict)  # noqa: S101
    return parse_address(asked["address"])


def _address(text: str, path: str) -> Address:
    try:
        return parse_address(text)
    except AddressError as error:
        raise invalid(FieldError(path, error.reason)) from error


def _guards(
    create: Create, submission: Submission, accepted: Accepted
) -> Sequence[Bound]:
    answer = accepted_out(submission, accepted).model_dump_json()
    return keep(create, 201, answer, submission.accepted_at)
