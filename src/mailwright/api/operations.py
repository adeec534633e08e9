"""``/v1/queue`` and ``/v1/holds``: see what waits, and operate it.

Operators see and operate everything. A key with the scope ``manage`` does so for its own
tenant: whatever it names is taken to be of that tenant, so another's is nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Body, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from mailwright.accounts.directory import Credential, Scope
from mailwright.api.authorization import require
from mailwright.api.hold_view import HoldOut
from mailwright.api.operating import Identify, Operator
from mailwright.api.paths import DELIVERIES, HOLDS, LINES, QUEUE
from mailwright.api.ports import ApiPorts, QueueDoor
from mailwright.api.problems import Kind, Problem, ProblemError
from mailwright.api.queue_records import (
    ExtentOut,
    GroupBy,
    LinesOut,
    ReleasedOut,
    SelectionIn,
    SummaryOut,
    WaitingOut,
)
from mailwright.api.queue_view import Asking, QueueView, extent_out, opened, refusing
from mailwright.ids import HoldId

#: Deliveries of one message that are shown, at most.
_OF_A_MESSAGE_MAX: Final = 10_000
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was done"}
}


#: A name in a question.
Name: TypeAlias = Annotated[str | None, Query(max_length=255)]
#: An id of ours in a question.
Number: TypeAlias = Annotated[str | None, Query(max_length=20, pattern="^[0-9]+$")]
#: A dependency of FastAPI that gives who asks, or refuses.
Asks: TypeAlias = Callable[..., Awaitable[Asking]]


def as_operator(identify: Identify) -> Asks:
    """Return the dependency that lets operators alone in."""
    operator = Depends(identify)

    async def asking(found: Annotated[Operator, operator]) -> Asking:
        return Asking(found.author)

    return asking


def as_manager(ports: ApiPorts) -> Asks:
    """Return the dependency that lets keys with ``operate`` or ``manage`` in."""
    owner = Depends(require(ports, Scope.MANAGE, Scope.OPERATE))

    async def asking(found: Annotated[Credential, owner]) -> Asking:
        is_operator = Scope.OPERATE in found.scopes
        return Asking(f"api:{found.name}", None if is_operator else found.tenant)

    return asking


def selected_by(
    tenant: Name = None,
    stream: Name = None,
    domain: Name = None,
    provider: Name = None,
    pool: Name = None,
    line: Number = None,
    campaign: Number = None,
    ident: Annotated[
        str | None, Query(alias="id", max_length=40, description="`msg_…` or `dlv_…`")
    ] = None,
) -> SelectionIn:
    """Return what the parameters of a question select."""
    return SelectionIn(
        tenant=tenant,
        stream=stream,
        domain=domain,
        provider=provider,
        pool=pool,
        line=line,
        campaign=campaign,
        id=ident,
    )


class OperationIn(BaseModel):
    """An operation on what is selected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    selection: SelectionIn
    dry_run: bool = Field(False, description="Only count")


class StopIn(OperationIn):
    """A hold or a cancellation."""

    reason: str = Field(min_length=1, max_length=500)


class HoldIn(StopIn):
    """A hold."""

    ends_at: AwareDatetime | None = None


class ReleaseIn(BaseModel):
    """Which holds end: those whose scope names all that is selected, or one by id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    selection: SelectionIn = SelectionIn()
    hold: str | None = Field(None, max_length=20, pattern="^[0-9]+$")
    dry_run: bool = Field(False, description="Only count")


class MoveIn(OperationIn):
    """A move to another pool."""

    to_pool: str = Field(max_length=255)


def queue_router(door: QueueDoor | None, asks: Asks) -> APIRouter:
    """Return the routes of the queue."""
    router = APIRouter(tags=["queue"])
    who = Depends(asks)

    @router.get(QUEUE, summary="Add up what waits", responses=_REFUSALS)
    async def get_summary(
        asking: Annotated[Asking, who],
        selected: Annotated[SelectionIn, Depends(selected_by)],
        by: GroupBy = GroupBy.PROVIDER,
    ) -> SummaryOut:
        """Lines with mail that are selected, by one thing that they have in common.

        All of them when nothing is selected.
        """
        return await QueueView(opened(door), asking).summary(selected, by)

    @router.get(LINES, summary="List lines", responses=_REFUSALS)
    async def get_lines(
        asking: Annotated[Asking, who],
        selected: Annotated[SelectionIn, Depends(selected_by)],
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> LinesOut:
        """Lines with mail that are selected; all of them when nothing is."""
        view = QueueView(opened(door), asking)
        lines = await view.lines(selected)
        page = [each for each in lines if each.id > after][: limit + 1]
        more = str(page[limit - 1].id) if len(page) > limit else None
        return LinesOut([view.line(each) for each in page[:limit]], more)

    @router.get(DELIVERIES, summary="List what waits", responses=_REFUSALS)
    async def get_deliveries(
        asking: Annotated[Asking, who],
        selected: Annotated[SelectionIn, Depends(selected_by)],
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[WaitingOut]:
        """Deliveries that wait, line by line, those that leave next first."""
        return await QueueView(opened(door), asking).waiting(selected, limit)

    @router.get(QUEUE + "/{ident}", summary="Show what waits", responses=_REFUSALS)
    async def get_waiting(
        asking: Annotated[Asking, who], ident: str
    ) -> list[WaitingOut]:
        """The deliveries of a message that are not final, or one delivery."""
        view = QueueView(opened(door), asking)
        found = await view.waiting(SelectionIn(id=ident[:40]), _OF_A_MESSAGE_MAX)
        if not found:
            raise ProblemError(Kind.NOT_FOUND, "nothing of it waits")
        return found

    @router.get(HOLDS, summary="List holds", responses=_REFUSALS)
    async def get_holds(asking: Annotated[Asking, who]) -> list[HoldOut]:
        """The holds in force, and cancellations that are not over."""
        view = QueueView(opened(door), asking)
        return [
            view.hold(each)
            for each in opened(door).operations.holds
            if asking.tenant in {None, each.selection.tenant}
        ]

    _add_operations(router, door, who)
    return router


def _add_operations(router: APIRouter, door: QueueDoor | None, who: Any) -> None:
    @router.post(QUEUE + "/hold", summary="Stop lines", responses=_REFUSALS)
    async def post_hold(
        asking: Annotated[Asking, who], wanted: Annotated[HoldIn, Body()]
    ) -> ExtentOut:
        """Lines that come later are stopped too; what is under way goes on.

        A message or a delivery is put into lines of its own, which are stopped.
        """
        view = QueueView(opened(door), asking)
        with refusing():
            extent = await opened(door).operations.hold(
                view.selection(wanted.selection),
                reason=wanted.reason,
                author=asking.author,
                ends_at=wanted.ends_at,
                owner=asking.tenant,
                dry_run=wanted.dry_run,
            )
        return extent_out(extent, wanted.dry_run)

    @router.post(QUEUE + "/release", summary="End holds", responses=_REFUSALS)
    async def post_release(
        asking: Annotated[Asking, who], wanted: Annotated[ReleaseIn, Body()]
    ) -> ReleasedOut:
        """A line that another hold stops too goes on waiting."""
        view = QueueView(opened(door), asking)
        with refusing():
            ended, extent = await opened(door).operations.release(
                view.selection(wanted.selection, may_be_empty=wanted.hold is not None),
                None if wanted.hold is None else HoldId(int(wanted.hold)),
                owner=asking.tenant,
                dry_run=wanted.dry_run,
            )
        if wanted.hold is not None and not ended:
            raise ProblemError(Kind.NOT_FOUND, "there is no such hold of yours")
        out = [view.hold(each) for each in ended]
        return ReleasedOut(out, extent_out(extent, wanted.dry_run))

    @router.post(QUEUE + "/retry", summary="Make due now", responses=_REFUSALS)
    async def post_retry(
        asking: Annotated[Asking, who], wanted: Annotated[OperationIn, Body()]
    ) -> ExtentOut:
        """What is to leave later keeps its time."""
        view = QueueView(opened(door), asking)
        with refusing():
            extent = await opened(door).operations.retry(
                view.selection(wanted.selection), dry_run=wanted.dry_run
            )
        return extent_out(extent, wanted.dry_run)

    @router.post(QUEUE + "/cancel", summary="Take back", responses=_REFUSALS)
    async def post_cancel(
        asking: Annotated[Asking, who], wanted: Annotated[StopIn, Body()]
    ) -> ExtentOut:
        """Nothing selected leaves from now on; its events follow."""
        view = QueueView(opened(door), asking)
        with refusing():
            extent = await opened(door).operations.cancel(
                view.selection(wanted.selection),
                reason=wanted.reason,
                author=asking.author,
                owner=asking.tenant,
                dry_run=wanted.dry_run,
            )
        return extent_out(extent, wanted.dry_run)

    @router.post(QUEUE + "/move", summary="Change the pool", responses=_REFUSALS)
    async def post_move(
        asking: Annotated[Asking, who], wanted: Annotated[MoveIn, Body()]
    ) -> ExtentOut:
        """For operators: what waits leaves from another pool."""
        if asking.tenant is not None:
            raise ProblemError(Kind.FORBIDDEN, f"needs the scope {Scope.OPERATE}")
        view = QueueView(opened(door), asking)
        with refusing():
            extent = await opened(door).operations.move(
                view.selection(wanted.selection),
                view.pool_named(wanted.to_pool, "to_pool"),
                dry_run=wanted.dry_run,
            )
        return extent_out(extent, wanted.dry_run)
