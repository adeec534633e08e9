"""``/v1/campaigns``: create, list, follow and steer campaigns."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.params import Depends as DependsParam
from pydantic import TypeAdapter

from mailwright.accounts.directory import Credential, Scope
from mailwright.accounts.quota import UNLIMITED, Limits
from mailwright.api.answers import body_document, json_answer
from mailwright.api.bodies import body_of
from mailwright.api.campaigns.asking import Door, campaign_of, wrong_state
from mailwright.api.campaigns.door import PATH, CampaignDoor
from mailwright.api.campaigns.drafts import Asking, change_of, parse_body
from mailwright.api.campaigns.ports import CampaignPorts
from mailwright.api.campaigns.records import CampaignOut, CampaignsOut, campaign_out
from mailwright.api.campaigns.schemas import ChangeIn
from mailwright.api.idempotency import PARAMETER
from mailwright.api.problems import FieldError, Kind, Problem, ProblemError, invalid
from mailwright.ids import CampaignId, TenantId
from mailwright.queue.campaign.job import CampaignRecord, JobState, JobStateError
from mailwright.queue.campaign.results import PageKeyError

MAX_PAGE: Final = 100
_CHANGE: Final = TypeAdapter(ChangeIn)
_OUT: Final = TypeAdapter(CampaignOut)
_LIST: Final = TypeAdapter(CampaignsOut)
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was changed"}
}
Ident = Annotated[str, PathParam(alias="id", max_length=64, description="`cmp_…`")]
After = Annotated[
    str, Query(max_length=64, description="`next` of the page before, or `Next-After`")
]
#: A move of a campaign: of whom, which, by whom.
_Move: TypeAlias = Callable[
    [TenantId, CampaignId, str], Awaitable[CampaignRecord | None]
]
_Handler: TypeAlias = Callable[..., Awaitable[Response]]


def campaigns_router(ports: CampaignPorts, who: Door) -> APIRouter:
    """Return the routes of campaigns as such."""
    router = APIRouter(tags=["campaigns"])
    sender, reader = Depends(who(Scope.SEND)), Depends(who(Scope.READ))
    _add_create(router, CampaignDoor(ports), sender)
    _add_reading(router, ports, reader)
    _add_change(router, ports, sender)
    _add_moves(router, ports, sender)
    return router


def _add_create(router: APIRouter, door: CampaignDoor, sender: DependsParam) -> None:
    @router.post(
        PATH,
        status_code=201,
        summary="Create a campaign",
        responses={
            201: {"model": CampaignOut, "description": "On stable storage"},
            "4XX": {"model": Problem, "description": "Nothing was stored"},
            "5XX": {"model": Problem, "description": "Try again, with the same key"},
        },
        openapi_extra=_CREATE_DOCUMENT,
        response_model=None,
    )
    async def post_campaign(
        request: Request, credential: Annotated[Credential, sender]
    ) -> Response:
        """Create a campaign; its recipients come with it, by upload, or from a URL.

        The answer shows it as it was made, before `recipients` were read and `start`
        acted; ask for it by its id to follow it. Templates are compiled now: a broken
        one is refused with field, line and reason.
        """
        return await door.create(request, credential)


def _add_reading(router: APIRouter, ports: CampaignPorts, reader: DependsParam) -> None:
    @router.get(
        PATH,
        summary="List campaigns",
        responses={200: {"model": CampaignsOut}, **_REFUSALS},
        response_model=None,
    )
    async def get_campaigns(
        credential: Annotated[Credential, reader],
        after: After = "",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        state: JobState | None = None,
    ) -> Response:
        """The tenant's campaigns, newest first."""
        try:
            page = await ports.jobs.list(
                credential.tenant, after=after, limit=limit, state=state
            )
        except PageKeyError as error:
            raise wrong_key() from error
        directory = ports.directory()
        shown = [campaign_out(record, directory) for record in page.records]
        return json_answer(_LIST.dump_json(CampaignsOut(shown, page.next)))

    @router.get(
        PATH + "/{id}",
        summary="Follow a campaign",
        responses={200: {"model": CampaignOut}, **_REFUSALS},
        response_model=None,
    )
    async def get_campaign(
        ident: Ident, credential: Annotated[Credential, reader]
    ) -> Response:
        """Its state, what became of its rows and deliveries, its rate and end."""
        return _shown(ports, await campaign_of(ports.jobs, credential.tenant, ident))


def _add_change(router: APIRouter, ports: CampaignPorts, sender: DependsParam) -> None:
    @router.patch(
        PATH + "/{id}",
        summary="Change a campaign",
        responses={200: {"model": CampaignOut}, **_REFUSALS},
        openapi_extra=body_document("ChangeIn"),
        response_model=None,
    )
    async def patch_campaign(
        request: Request, ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """Change pace, pool, window, expiry, priority or name, also while it runs.

        Acts within 2 s on everything that is not on the wire. `pool` and `expires_at`
        need the scope `control`.
        """
        record = await campaign_of(ports.jobs, credential.tenant, ident)
        async with body_of(request, ports.budget, ports.limits()) as body:
            given = parse_body(_CHANGE, body)
        needing = given.model_fields_set & {"pool", "expires_at"}
        if needing and Scope.CONTROL not in credential.scopes:
            raise needs_control(*sorted(needing))
        asking = Asking(
            credential, ports.clock.now(), ports.directory(), ports.admission
        )
        change = change_of(given, asking)
        try:
            changed = await ports.jobs.change(credential.tenant, record.id, change)
        except JobStateError as error:
            raise wrong_state(error) from error
        return _shown(ports, changed or record)


def _add_moves(router: APIRouter, ports: CampaignPorts, sender: DependsParam) -> None:
    jobs = ports.jobs

    async def moved(move: _Move, ident: str, credential: Credential) -> Response:
        record = await campaign_of(jobs, credential.tenant, ident)
        try:
            done = await move(credential.tenant, record.id, f"api:{credential.name}")
        except JobStateError as error:
            raise wrong_state(error) from error
        return _shown(ports, done or record)

    async def uploaded(ident: str, credential: Credential) -> None:
        record = await campaign_of(jobs, credential.tenant, ident)
        if record.state in {JobState.DRAFT, JobState.FAILED}:
            rows = await ports.uploads.counted(record.id)
            owner = ports.directory().credentials_by_id.get(record.credential)
            check_room(rows, UNLIMITED if owner is None else owner.limits)

    def route(name: str, summary: str) -> Callable[[_Handler], _Handler]:
        return router.post(
            f"{PATH}/{{id}}/{name}",
            summary=summary,
            responses={200: {"model": CampaignOut}, **_REFUSALS},
            response_model=None,
        )

    @route("seal", "Seal a campaign")
    async def post_seal(
        ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """Take no more rows, and make a delivery of each; `progress` says how far it is.

        Nothing leaves before `start`.
        """
        await uploaded(ident, credential)
        return await moved(jobs.seal, ident, credential)

    @route("start", "Start a campaign")
    async def post_start(
        ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """Let it run, after sealing it if need be; with `send_at`, from then on."""
        await uploaded(ident, credential)
        return await moved(jobs.start, ident, credential)

    @route("pause", "Pause a campaign")
    async def post_pause(
        ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """Let nothing more leave, what is queued included, until `resume`."""
        return await moved(jobs.pause, ident, credential)

    @route("resume", "Resume a campaign")
    async def post_resume(
        ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """Let it go on, paused or held; the rule that held it is overridden."""
        return await moved(jobs.resume, ident, credential)

    @route("cancel", "Cancel a campaign")
    async def post_cancel(
        ident: Ident, credential: Annotated[Credential, sender]
    ) -> Response:
        """Stop it for good: what is queued ends as `cancelled`, each with an event."""
        return await moved(jobs.cancel, ident, credential)


def check_room(rows: int, limits: Limits) -> None:
    """Refuse a campaign that is more than its credential may ever submit.

    Raises:
        ProblemError: over a day's quota, or over the backlog.
    """
    for limit, name in ((limits.daily, "daily quota"), (limits.backlog, "backlog")):
        if limit is not None and rows > limit:
            raise ProblemError(
                Kind.OVER_LIMIT, f"{rows} rows; the {name} of the key is {limit}"
            )


def wrong_key() -> ProblemError:
    """Return the problem of an ``after`` that we did not give out."""
    return invalid(FieldError("after", "is no key that was given out"))


def needs_control(*members: str) -> ProblemError:
    """Return the problem of members that a credential may not set."""
    return ProblemError(
        Kind.FORBIDDEN, f"{', '.join(members)}: needs the scope {Scope.CONTROL}"
    )


def _shown(ports: CampaignPorts, record: CampaignRecord) -> Response:
    return json_answer(_OUT.dump_json(campaign_out(record, ports.directory())))


_CREATE_DOCUMENT: Final[dict[str, Any]] = {
    "parameters": [PARAMETER],
    **body_document("CampaignIn"),
}
