"""Why has this not left? What stops a line, how fast a lane may be, what was said last.

Values for people, taken from what the scheduler knows at this moment.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select

from mailwright.accounts.directory import (
    Credential,
    Directory,
    Source,
    Stream,
    Tenant,
    ThrottleRule,
)
from mailwright.clock import from_micros
from mailwright.config.limit import parse_limit
from mailwright.config.units import Rate, parse_rate
from mailwright.ids import CredentialId, PoolId, SourceId, StreamId, TenantId
from mailwright.queue.dispatch import Lane
from mailwright.queue.holds import Hold, Holds
from mailwright.queue.line import NOTHING_DUE, Line
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.tables import deliveries
from mailwright.site import Profile, Site
from mailwright.store.statements import Query, Row

_HOUR_S: Final = 3600
#: A rate that is counted by nothing else bounds all mail to a site.
_OF_ALL_MAIL: Final = frozenset({"source", "provider", "site"})

#: How attempts of a line's deliveries ended that wait still.
LAST_REPLIES: Final = Query(
    "last replies",
    select(deliveries.c.last_reply)
    .where(
        deliveries.c.line == bindparam("line_id"),
        deliveries.c.state == 0,
        deliveries.c.last_reply.is_not(None),
    )
    .limit(bindparam("most")),
)


@dataclass(frozen=True, slots=True)
class Block:
    """What stops a line now.

    Attributes:
        by: hold, campaign, rest, time, permit, connections or lookup.
        reason: for people.
        until: when it ends; ``None`` where nobody knows.
    """

    by: str
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on the way.

    Attributes:
        level: what it is counted by.
        limit: how much, as the profile spells it.
    """

    level: str
    limit: str


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane at this moment.

    Attributes:
        lines: that are due and may feed it.
        connections: open or being opened, by source.
        rests: why nothing of it leaves; with the time until when.
        failures: how often in a row its hosts could not be reached.
        ceiling_per_hour: messages that its rates allow; ``None``: no rate limits it.
        connections_most: that its limits allow.
    """

    site: str
    provider: str
    pool: PoolId
    lines: int
    deliveries: int
    connections: dict[SourceId, int]
    rests: Block | None
    failures: int
    ceiling_per_hour: float | None
    connections_most: int


@dataclass(frozen=True, slots=True)
class Said:
    """How an attempt ended."""

    at: datetime
    code: int
    enhanced: str
    text: str
    phase: str
    origin: str
    hop: str


def block_of(
    line: Line,
    *,
    holds: Holds,
    scheduler: Scheduler,
    now: datetime,
    tenant: TenantId | None = None,
) -> Block | None:
    """Return what stops ``line`` now; ``None``: nothing that is known.

    ``tenant`` is who asks; ``None``: an operator, who sees the text of every hold.
    """
    site = scheduler.site_of(line)
    stopping = holds.stopping(line, None if site is None else site.profile.provider)
    if stopping:
        return _held([hold.for_tenant(tenant) for hold in stopping])
    rest = scheduler.rest_of(line)
    if rest is not None:
        return Block("campaign", rest.reason, rest.until)
    if line.wait_until is not None and line.wait_until > now:
        return Block("rest", line.wait_reason, line.wait_until)
    if line.next_due_at == NOTHING_DUE:
        return None
    if line.next_due_at > now:
        return Block("time", "its next delivery is not due yet", line.next_due_at)
    permit = scheduler.why_waiting(line)
    if permit is not None:
        return Block("permit", permit.reason, permit.until)
    if site is None:
        return Block("lookup", "its domain is being looked up")
    return None


def _held(stopping: Sequence[Hold]) -> Block:
    """Return what holds come to: a line waits for the end of all of them."""
    ends = [hold.ends_at for hold in stopping]
    known = [at for at in ends if at is not None]
    until = max(known) if len(known) == len(ends) else None
    return Block("hold", "; ".join(map(_said_of, stopping)), until)


def _said_of(hold: Hold) -> str:
    what = "being cancelled" if hold.cancels else "held"
    why = f": {hold.reason}" if hold.reason else ""
    return f"{what} by {hold.author}{why}"


def lane_state(
    lane: Lane,
    scheduler: Scheduler,
    sources: int,
    rules: Sequence[ThrottleRule],
    now: datetime,
) -> LaneState:
    """Return what ``lane`` does; ``sources`` is how many its pool has."""
    lines = list(lane.lines)
    refused = lane.refused
    rests = None
    if refused is not None and lane.is_refused(now):
        rests = Block("permit", refused.reason, refused.until)
    elif lines and not lane.connections:
        rests = Block("connections", "it waits for a free connection")
    profile = lane.site.profile
    return LaneState(
        lane.site.key,
        profile.provider,
        lane.pool,
        len(lines),
        sum(line.available for line in lines),
        dict(lane.connections),
        rests,
        scheduler.failures(lane),
        ceiling_per_hour(lane.site, sources, rules),
        most_connections(profile, sources),
    )


def ceiling_per_hour(
    site: Site, sources: int, rules: Sequence[ThrottleRule] = ()
) -> float | None:
    """Return the messages per hour that rates allow ``site``.

    Those of its profile, and those of ``rules`` that count all of its mail. ``sources``
    share the pool. ``None``: no rate limits it.
    """
    profile = site.profile
    each = (*profile.throttles, *profile.per_source.throttles)
    rates = [_per_hour(text) * max(sources, 1) for text in each]
    rates += [_per_hour(text) for text in profile.overall.throttles]
    here = {"provider": profile.provider, "site": site.key}
    for rule in rules:
        limit = parse_limit(rule.limit)
        if (
            isinstance(limit, Rate)
            and rule.per <= _OF_ALL_MAIL
            and all(here.get(key) == value for key, value in rule.match)
        ):
            shares = max(sources, 1) if "source" in rule.per else 1
            rates.append(limit.count * _HOUR_S / limit.period_s * shares)
    return min(rates, default=None)


def most_connections(profile: Profile, sources: int) -> int:
    """Return the connections that the limits of ``profile`` allow one site."""
    each = min(
        profile.connections, profile.per_source.connections or profile.connections
    )
    most = each * max(sources, 1)
    return min(most, profile.overall.connections or most)


def limits_of(profile: Profile) -> list[Limit]:
    """Return the limits of ``profile`` with the level at which each is counted."""
    levels = [
        ("source and site", profile.connections, profile.throttles),
        ("source", profile.per_source.connections, profile.per_source.throttles),
        ("all sources", profile.overall.connections, profile.overall.throttles),
    ]
    found = []
    for level, connections, throttles in levels:
        if connections is not None:
            found.append(Limit(level, f"{connections} connections"))
        found += [Limit(level, text) for text in throttles]
    found.append(
        Limit("connection", f"{profile.messages_per_connection} messages, then another")
    )
    return found


def shared_limits_of(directory: Directory, domain: str, site: Site) -> list[Limit]:
    """Return the operators' limits that mail of ``domain`` may count for."""
    here = {"domain": domain, "site": site.key, "provider": site.profile.provider}
    return [
        Limit(
            _scope_of(rule, directory),
            f"{rule.name}: {rule.limit}" if rule.name else rule.limit,
        )
        for rule in directory.throttles
        if all(here.get(key, value) == value for key, value in rule.match)
    ]


def _scope_of(rule: ThrottleRule, directory: Directory) -> str:
    """Return what ``rule`` counts, by name: ``stream news, each source``."""
    scope = [f"{key} {_name_of(key, value, directory)}" for key, value in rule.match]
    matched = {key for key, _ in rule.match}
    scope += [f"each {key}" for key in sorted(rule.per - matched)]
    return ", ".join(scope) or "all mail"


def _name_of(key: str, value: str | int, directory: Directory) -> str:
    found: Source | Tenant | Stream | Credential | None = None
    match key:
        case "source":
            found = directory.sources.get(SourceId(int(value)))
        case "tenant":
            found = directory.tenants.get(TenantId(int(value)))
        case "stream":
            found = directory.streams.get(StreamId(int(value)))
        case "credential":
            found = directory.credentials_by_id.get(CredentialId(int(value)))
    return str(value) if found is None else found.name


def said_of(rows: Sequence[Row]) -> list[Said]:
    """Return the values of rows of :data:`LAST_REPLIES`, the latest first."""
    said = []
    for (text,) in rows:
        code, enhanced, words, phase, origin, hop, at = json.loads(text)
        said.append(Said(from_micros(at), code, enhanced, words, phase, origin, hop))
    return sorted(said, key=lambda each: each.at, reverse=True)


def _per_hour(text: str) -> float:
    rate = parse_rate(text)
    return rate.count * _HOUR_S / rate.period_s
