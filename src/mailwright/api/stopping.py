"""``/v1/stop-all`` and ``/v1/release-all``: the emergency brake, for operators.

It is for the mail of all tenants, so no tenant's key reaches it; one with the scope
``manage`` holds its own mail at ``/v1/queue/hold``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from mailwright.api.operating import Identify, Operator
from mailwright.api.paths import RELEASE_ALL, STOP_ALL
from mailwright.api.problems import Problem
from mailwright.queue.holds import Hold
from mailwright.queue.stopping import Stopping

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was done"}
}


class StopAllIn(BaseModel):
    """Why all mail is to stop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1, max_length=500)
    ends_at: AwareDatetime | None = None


@dataclass(frozen=True, slots=True)
class StopOut:
    """A stop of all mail."""

    id: str
    reason: str
    author: str
    created_at: datetime
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class StopsOut:
    """Stops of all mail.

    Attributes:
        is_stopped: nothing leaves until each stop in force has ended.
        stops: those in force; in an answer to a release, those that it ended.
    """

    is_stopped: bool
    stops: Sequence[StopOut]


def stopping_router(stopping: Stopping, identify: Identify) -> APIRouter:
    """Return the routes that stop all mail and release it."""
    router = APIRouter(tags=["stops"])
    operator = Depends(identify)

    @router.get(STOP_ALL, summary="Is all mail stopped?", responses=_REFUSALS)
    async def get_stops(asking: Annotated[Operator, operator]) -> StopsOut:
        """The stops in force, with author and reason."""
        return await _in_force(stopping)

    @router.post(STOP_ALL, summary="Stop all mail", responses=_REFUSALS)
    async def post_stop(
        asking: Annotated[Operator, operator], wanted: Annotated[StopAllIn, Body()]
    ) -> StopsOut:
        """What is on the wire ends; mail is accepted as before; it outlives restarts."""
        await stopping.stop_all(
            reason=wanted.reason, author=asking.author, ends_at=wanted.ends_at
        )
        return await _in_force(stopping)

    @router.post(RELEASE_ALL, summary="Release all mail", responses=_REFUSALS)
    async def post_release(asking: Annotated[Operator, operator]) -> StopsOut:
        """Ends every stop of all mail; other holds stay in force."""
        ended = await stopping.release_all()
        left = await stopping.stops()
        return StopsOut(bool(left), [_out(each) for each in ended])

    return router


async def _in_force(stopping: Stopping) -> StopsOut:
    stops = await stopping.stops()
    return StopsOut(bool(stops), [_out(each) for each in stops])


def _out(hold: Hold) -> StopOut:
    return StopOut(
        str(hold.id), hold.reason, hold.author, hold.created_at, hold.ends_at
    )
