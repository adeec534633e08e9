"""What comes after an attempt: pure rules over an endpoint, a result and ``now``."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from mailwright.api.webhooks.endpoint import Endpoint, EndpointState

#: After the first failure, the second, …; the last is repeated.
LADDER: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 30, 120, 300, 900, 1800, 3600, 7200, 14_400)
)
#: Waits are longer by up to this part, so that endpoints which failed together part.
JITTER: Final = 0.25
#: An endpoint that failed for so long is paused.
PATIENCE: Final = timedelta(days=3)
#: ``Retry-After`` is honoured up to here.
RETRY_AFTER_MAX: Final = timedelta(days=1)
_GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended.

    Attributes:
        status: 0 when there was no answer.
        error: why not, or ``""``.
        retry_after: value of the header field, or ``""``.
    """

    status: int
    error: str = ""
    retry_after: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether the batch arrived; a redirect is a failure."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """What went wrong, for people; ``""`` when nothing did."""
        if self.is_taken:
            return ""
        return self.error or f"answered {self.status}"


def after(
    endpoint: Endpoint, result: Result, *, now: datetime, draw: float
) -> Endpoint:
    """Return ``endpoint`` as it is after an attempt.

    Its position is moved by a batch that arrived, and by nothing else. ``draw`` is from
    [0, 1).
    """
    seen = noted(endpoint, result, now=now)
    if result.is_taken:
        position = endpoint.offered or endpoint.position
        taken = replace(seen.moved_to(position), delivered_at=now)
        return taken.resumed() if endpoint.state.is_live else taken
    since = endpoint.failing_since or now
    failed = replace(seen, failures=endpoint.failures + 1, failing_since=since)
    if not endpoint.state.is_live:  # paused while the attempt was made
        return failed
    if result.status == _GONE:
        return replace(
            failed,
            state=EndpointState.DISABLED,
            reason="it said that it is gone (410)",
            next_attempt_at=None,
        )
    if now - since >= PATIENCE:
        return failed.paused(
            f"failing for {PATIENCE.days} days; the last time: {result.text}"
        )
    wait = delay(failed.failures, result.retry_after, now=now, draw=draw)
    return replace(failed, state=EndpointState.FAILING, next_attempt_at=now + wait)


def noted(endpoint: Endpoint, result: Result, *, now: datetime) -> Endpoint:
    """Return ``endpoint`` with what is shown of an attempt, and nothing else changed."""
    return replace(
        endpoint,
        last_attempt_at=now,
        last_status=result.status,
        last_error=result.text,
    )


def delay(failures: int, retry_after: str, *, now: datetime, draw: float) -> timedelta:
    """Return how long to wait after so many failures in a row (at least one)."""
    step = LADDER[min(failures, len(LADDER)) - 1]
    asked = min(_retry_after(retry_after, now), RETRY_AFTER_MAX)
    return max(step, asked) * (1 + JITTER * draw)


def _retry_after(text: str, now: datetime) -> timedelta:
    """Return what ``Retry-After`` asks for (RFC 9110 §10.2.3); garbage asks for nothing."""
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 10**9))
    try:
        at = parsedate_to_datetime(text)
        return max(at - now, timedelta(0))
    except (TypeError, ValueError, OverflowError):  # no date, or one without a zone
        return timedelta(0)
