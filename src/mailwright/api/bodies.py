"""Reading a request's body within limits, before anything looks at it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from mailwright.api.ports import ApiLimits, Budget
from mailwright.api.problems import Kind, ProblemError

#: Taken from the budget at a time when the client does not say how much will come.
_STEP_OCTETS: Final = 262_144


@asynccontextmanager
async def body_of(
    request: Request, budget: Budget, limits: ApiLimits
) -> AsyncIterator[bytes]:
    """Give the body of ``request``; its octets are held in the budget until the end.

    Raises:
        ProblemError: too large (told before it is read, where its length is given), too
            slow, no memory to hold it, or the client has gone.
    """
    hold = _Hold(budget, limits)
    try:
        yield await _read(request, hold, limits)
    finally:
        hold.release()


class _Hold:
    """What one request holds of the budget."""

    def __init__(self, budget: Budget, limits: ApiLimits) -> None:
        self._budget = budget
        self._within_s = limits.budget_s
        self._taken = 0

    async def reach(self, octets: int, ahead: int) -> None:
        """Hold at least ``octets``; take as many as ``ahead`` in one go."""
        if octets <= self._taken:
            return
        more = max(octets, ahead) - self._taken
        if not await self._budget.acquire(more, within_s=self._within_s):
            raise ProblemError(Kind.UNAVAILABLE, retry_after_s=5)
        self._taken += more

    def release(self) -> None:
        """Give everything back."""
        taken, self._taken = self._taken, 0
        if taken:
            self._budget.release(taken)


async def _read(request: Request, hold: _Hold, limits: ApiLimits) -> bytes:
    declared = _declared_octets(request)
    if declared is not None and declared > limits.request_octets:
        raise _too_large(limits)
    # Not a list of pieces: a client may send them as small as it likes, and to join a
    # large body is to have it twice.
    body = BytesIO()
    octets = 0
    try:
        async with asyncio.timeout(limits.read_s):
            async for piece in request.stream():
                octets += len(piece)
                if octets > limits.request_octets:
                    raise _too_large(limits)
                await hold.reach(octets, declared or octets + _STEP_OCTETS)
                body.write(piece)
    except TimeoutError as error:
        raise ProblemError(Kind.SLOW) from error
    except ClientDisconnect as error:
        # Nobody reads the answer; but it is no fault of ours.
        raise ProblemError(Kind.MALFORMED, "the body is incomplete") from error
    return body.getvalue()


def _declared_octets(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _too_large(limits: ApiLimits) -> ProblemError:
    return ProblemError(
        Kind.TOO_LARGE,
        f"a request has at most {limits.request_octets} octets",
        # The rest of the body is not read: this connection is of no more use.
        headers={"Connection": "close"},
    )
