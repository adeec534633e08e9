"""``/v1/clock``: whether the node believes its clock, and settling it."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, ConfigDict, Field

from mailwright.api.operating import Identify, Operator
from mailwright.api.paths import CLOCK, SETTLE
from mailwright.api.ports import ClockRecord, TimeDoor
from mailwright.api.problems import Kind, Problem, ProblemError

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was done"}
}


class SettleIn(BaseModel):
    """Why the clock is right as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1, max_length=500)


def clock_router(door: TimeDoor | None, identify: Identify) -> APIRouter:
    """Return the routes of the clock; ``door`` is ``None`` while no node runs."""
    router = APIRouter(tags=["clock"])
    operator = Depends(identify)

    @router.get(CLOCK, summary="Is the clock believed?", responses=_REFUSALS)
    async def get_clock(asking: Annotated[Operator, operator]) -> ClockRecord:
        """The node's time, why it is not believed, and who settled it last."""
        return _opened(door).state()

    @router.post(SETTLE, summary="Believe the clock", responses=_REFUSALS)
    async def post_settle(
        asking: Annotated[Operator, operator], wanted: Annotated[SettleIn, Body()]
    ) -> ClockRecord:
        """Believe the node's time as it is: mail expires again, and days go on.

        Look at the time first. A clock that is believed already stays as it is.
        """
        return await _opened(door).settle(asking.author, wanted.reason)

    return router


def _opened(door: TimeDoor | None) -> TimeDoor:
    if door is None:
        raise ProblemError(Kind.UNAVAILABLE, "the node does not run; start it first")
    return door
