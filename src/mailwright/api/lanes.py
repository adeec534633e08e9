"""``/v1/lanes`` and ``/v1/explain``: what leaves, what does not, and why.

For operators: lanes, sites and limits are shared by all tenants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from mailwright.accounts.directory import ThrottleRule
from mailwright.address import AddressError, canonical_domain, parse_address
from mailwright.api.operating import Identify, Operator
from mailwright.api.paths import EXPLAIN, LANES
from mailwright.api.ports import QueueDoor
from mailwright.api.problems import FieldError, Kind, Problem, ProblemError, invalid
from mailwright.api.queue_records import BlockOut, LineOut, SelectionIn
from mailwright.api.queue_view import Asking, QueueView, opened
from mailwright.queue.choosing import lines_of
from mailwright.queue.explain import (
    LAST_REPLIES,
    LaneState,
    Limit,
    Said,
    ceiling_per_hour,
    lane_state,
    limits_of,
    said_of,
    shared_limits_of,
)
from mailwright.queue.line import Line
from mailwright.reply import Reply
from mailwright.site import Site

#: Lines that an explanation shows, and replies of each.
_LINES_MAX: Final = 20
_REPLIES_MAX: Final = 5
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was found out"}
}


@dataclass(frozen=True, slots=True)
class LaneOut:
    """The lines of one site and pool that are due, and their connections.

    Attributes:
        lines: that may feed it now.
        connections: open or being opened, by source.
        connections_most: that its limits allow.
        rests: why nothing of it leaves; null when it does.
        failures: how often in a row its hosts could not be reached.
        ceiling_per_hour: messages that its rates allow; null when none limits it.
    """

    site: str
    provider: str
    pool: str
    lines: int
    deliveries: int
    connections: Mapping[str, int]
    connections_most: int
    rests: BlockOut | None
    failures: int
    ceiling_per_hour: float | None


@dataclass(frozen=True, slots=True)
class PathOut:
    """Where mail of a domain goes.

    Attributes:
        via: ``route`` of the settings, or ``mx``.
        refused: why there is no way; null when there is one.
        hosts: in the order to try them, with their ports.
    """

    domain: str
    via: str
    refused: str | None
    site: str | None = None
    provider: str | None = None
    hosts: Sequence[str] = ()
    tls: str | None = None
    retry_s: Sequence[float] = ()
    ceiling_per_source_per_hour: float | None = None
    limits: Sequence[Limit] = ()


@dataclass(frozen=True, slots=True)
class ExplainedLineOut:
    """A line with mail for it, and how its last attempts ended."""

    line: LineOut
    last_replies: Sequence[Said]


@dataclass(frozen=True, slots=True)
class ExplanationOut:
    """Why mail leaves or does not.

    Attributes:
        path: null for a provider, which has many.
        lines_left_out: more lines than are shown.
        clock: why the clock is not believed and nothing expires; null while it is.
    """

    path: PathOut | None
    lines: Sequence[ExplainedLineOut]
    lines_left_out: int
    lanes: Sequence[LaneOut]
    clock: str | None = None


def lanes_router(door: QueueDoor | None, identify: Identify) -> APIRouter:
    """Return the routes of lanes and explanations."""
    router = APIRouter(tags=["queue"])
    operator = Depends(identify)

    @router.get(LANES, summary="List lanes", responses=_REFUSALS)
    async def get_lanes(asking: Annotated[Operator, operator]) -> list[LaneOut]:
        """Every lane there is now: those with mail that is due."""
        queue = opened(door)
        return [_lane(queue, each) for each in _lanes(queue)]

    @router.get(EXPLAIN, summary="Why has it not left?", responses=_REFUSALS)
    async def get_explanation(
        asking: Annotated[Operator, operator],
        what: Annotated[
            str,
            Query(
                min_length=1,
                max_length=320,
                description="An address, a domain, a provider, `msg_…` or `dlv_…`",
            ),
        ],
    ) -> ExplanationOut:
        """The way, the limits, what stops it now and until when, the last replies."""
        queue = opened(door)
        view = QueueView(queue, Asking(asking.author))
        if what.startswith(("msg_", "dlv_")):
            return await _of_id(queue, view, what)
        domain = _domain_of(what)
        if domain is None:
            return await _of_provider(queue, view, what)
        lines = await view.lines(SelectionIn(domain=domain))
        return await _explain(queue, view, await _path(queue, domain), lines)

    return router


async def _of_id(queue: QueueDoor, view: QueueView, text: str) -> ExplanationOut:
    selection = view.selection(SelectionIn(id=text[:40]))
    found = await queue.operations.choosing.named(selection)
    if not found:
        raise ProblemError(Kind.NOT_FOUND, "nothing of it waits")
    lines = lines_of(each.claimed for each in found)
    path = await _path(queue, lines[0].key.domain)
    return await _explain(queue, view, path, lines)


async def _of_provider(queue: QueueDoor, view: QueueView, name: str) -> ExplanationOut:
    lines = await view.lines(SelectionIn(provider=name[:255]))
    return await _explain(queue, view, None, lines)


async def _explain(
    queue: QueueDoor, view: QueueView, path: PathOut | None, lines: Sequence[Line]
) -> ExplanationOut:
    shown = lines[:_LINES_MAX]
    replies = await queue.store.read(
        *(LAST_REPLIES(line_id=line.id, most=_REPLIES_MAX) for line in shown)
    )
    sites = {
        site.key
        for line in shown
        if (site := queue.operations.scheduler.site_of(line)) is not None
    }
    return ExplanationOut(
        path,
        [
            ExplainedLineOut(view.line(line), said_of(rows))
            for line, rows in zip(shown, replies, strict=True)
        ],
        len(lines) - len(shown),
        [_lane(queue, each) for each in _lanes(queue) if each.site in sites],
        queue.suspicion() or None,
    )


async def _path(queue: QueueDoor, domain: str) -> PathOut:
    via = "mx" if queue.directory().route_for(domain) is None else "route"
    answer = await queue.operations.router.site_of(domain)
    if isinstance(answer, Reply):
        return PathOut(domain, via, str(answer))
    shared = shared_limits_of(queue.directory(), domain, answer)
    return _way(domain, via, answer, shared, queue.directory().throttles)


def _way(
    domain: str,
    via: str,
    site: Site,
    shared: Sequence[Limit],
    rules: Sequence[ThrottleRule],
) -> PathOut:
    profile = site.profile
    return PathOut(
        domain,
        via,
        None,
        site.key,
        profile.provider,
        [f"{hop.host}:{hop.port}" for hop in site.hops],
        profile.tls.value,
        profile.retry,
        ceiling_per_hour(site, 1, rules),
        [*limits_of(profile), *shared],
    )


def _lanes(queue: QueueDoor) -> list[LaneState]:
    directory, scheduler = queue.directory(), queue.operations.scheduler
    pools, rules = directory.pools, directory.throttles
    now = queue.clock.now()
    return [
        lane_state(
            lane,
            scheduler,
            len(pools[lane.pool].sources) if lane.pool in pools else 0,
            rules,
            now,
        )
        for lane in scheduler.lanes()
    ]


def _lane(queue: QueueDoor, state: LaneState) -> LaneOut:
    directory = queue.directory()
    pool = directory.pools.get(state.pool)
    rests = state.rests
    return LaneOut(
        state.site,
        state.provider,
        "" if pool is None else pool.name,
        state.lines,
        state.deliveries,
        {
            directory.sources[source].name: count
            for source, count in state.connections.items()
            if source in directory.sources
        },
        state.connections_most,
        None if rests is None else BlockOut(rests.by, rests.reason, rests.until),
        state.failures,
        state.ceiling_per_hour,
    )


def _domain_of(what: str) -> str | None:
    """Return the domain of an address, or the one named; ``None``: a provider's name.

    A name without a dot is a provider's.
    """
    try:
        if "@" in what:
            return parse_address(what).domain
        return canonical_domain(what) if "." in what else None
    except AddressError as error:
        raise invalid(FieldError("what", "is no address and no domain")) from error
