"""What each credential has used, in memory and in the database.

The memory decides; what it grants is written with the mail that was granted it, in one
commit, by adding. So the table says exactly what was stored, in whatever order commits
end, and a restart that reads it decides as before.

Cost: nothing for a credential without limits; with them, one or two small statements a
message.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite speaks it too

from mailwright.accounts.directory import Directory
from mailwright.accounts.quota import (
    DAY,
    HOUR,
    UNLIMITED,
    Excess,
    Limits,
    Usage,
    day_of,
    grant,
    hour_of,
    leaves_at,
    start_of,
)
from mailwright.accounts.tables import quota_used
from mailwright.clock import from_micros, to_micros
from mailwright.ids import CredentialId
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Bound, Query, Step, Unit, Urgency

_HOUR_PERIOD: Final = 0
_DAY_PERIOD: Final = 1
#: Rows deleted in one unit: well under its 5 ms.
PURGE_ROWS: Final = 500
#: Lines looked at before other work gets its turn.
_LINES_AT_ONCE: Final = 2_000

_columns = quota_used.c
_ident = (_columns.credential, _columns.period, _columns.starts_at)
_row = upsert(quota_used)
_ADD: Final = Query(
    "use quota",
    _row.on_conflict_do_update(
        index_elements=list(_ident),
        set_={"recipients": _columns.recipients + _row.excluded.recipients},
    ),
)
_LOAD: Final = Query(
    "quotas used",
    select(*_ident, _columns.recipients).where(
        _columns.period == bindparam("period"),
        _columns.starts_at >= bindparam("since"),
    ),
)
_PURGE: Final = Query(
    "purge quotas",
    delete(quota_used)
    .where(
        tuple_(*_ident).in_(
            select(*_ident)
            .where(_columns.period.in_([_HOUR_PERIOD, _DAY_PERIOD]))
            .where(_columns.starts_at < bindparam("before"))
            .limit(bindparam("rows"))
        )
    )
    .returning(_columns.credential),
)


@dataclass(slots=True)
class _Account:
    """What one credential has used.

    Attributes:
        hours: recipients by number of the hour, granted.
        day: the day that ``today`` is of.
        queued: deliveries at the last count.
        since: accepted after it.
        pending: granted, not yet known to be stored.
        full_until: hours from now on and before this one have no room.
        limits: those by which ``full_until`` was found.
        hour: hours before this one are forgotten.
    """

    hours: dict[int, int] = field(default_factory=dict)
    limits: Limits = UNLIMITED
    hour: int = 0
    day: int = 0
    today: int = 0
    queued: int = 0
    since: int = 0
    pending: int = 0
    full_until: int = 0

    @property
    def backlog(self) -> int:
        """Deliveries queued, or about to be; rather too many than too few."""
        return self.queued + self.since + self.pending


@dataclass(frozen=True, slots=True)
class Booking:
    """Recipients that were granted; ends with :meth:`Quotas.end`.

    Attributes:
        starts: when each may leave; empty: at once.
        statements: what commits with the mail.
        hours: how many were granted in which hour.
    """

    credential: CredentialId
    count: int
    day: int
    starts: Sequence[datetime] = ()
    statements: tuple[Bound, ...] = ()
    hours: tuple[tuple[int, int], ...] = ()


class Quotas:
    """The limits of all credentials. Used on the event loop only."""

    def __init__(self, directory: Callable[[], Directory]) -> None:
        """Ask ``directory`` anew each time, so that a changed limit acts at once."""
        self._directory = directory
        self._accounts: defaultdict[CredentialId, _Account] = defaultdict(_Account)

    async def load(self, store: UnitStore, now: datetime) -> None:
        """Take over what was stored; before the doors open."""
        hour = to_micros(start_of(hour_of(now)))
        today = to_micros(now) // _micros(DAY) * _micros(DAY)
        hours, days = await store.read(
            _LOAD(period=_HOUR_PERIOD, since=hour),
            _LOAD(period=_DAY_PERIOD, since=today),
        )
        for credential, _, starts_at, recipients in hours:
            account = self._accounts[CredentialId(credential)]
            account.hours[hour_of(from_micros(starts_at))] = recipients
        for credential, _, starts_at, recipients in days:
            account = self._accounts[CredentialId(credential)]
            account.day, account.today = day_of(from_micros(starts_at)), recipients

    def book(
        self,
        credential: CredentialId,
        count: int,
        *,
        now: datetime,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Booking | Excess | None:
        """Grant ``count`` recipients, or say why not; ``None``: it has no limits.

        Args:
            credential: whose.
            count: recipients of one submission.
            now: the instant of acceptance.
            start: none leaves before; ``None``: now.
            end: what has not left by then is given up.
        """
        limits = self._limits(credential)
        if limits.is_none:
            return None
        account = self._accounts[credential]
        self._turn(account, limits, now)
        usage = Usage(account.hours, account.today, account.backlog, account.full_until)
        begin = now if start is None else max(now, start)
        found = grant(limits, usage, count, now=now, start=begin, end=end)
        if isinstance(found, Excess):
            return found
        starts: list[datetime] = []
        if limits.hourly is not None and any(
            each.hour > hour_of(begin) for each in found.slots
        ):
            starts = [
                leaves_at(slot, number, limits.hourly, begin)
                for slot in found.slots
                for number in range(slot.count)
            ]
        hours = tuple((each.hour, each.count) for each in found.slots)
        booking = Booking(
            credential,
            count,
            account.day,
            starts,
            _statements(credential, count, hours, account.day, limits),
            hours,
        )
        account.pending += count
        account.today += count
        for hour, number in hours:
            account.hours[hour] = account.hours.get(hour, 0) + number
        if limits.hourly is not None and begin == now and len(hours) > 0:
            # What leaves as soon as it can fills the hours in their order.
            account.full_until = hours[-1][0]
        return booking

    def end(self, booking: Booking, *, is_stored: bool) -> None:
        """Note what became of the mail of a booking; once for each."""
        account = self._accounts[booking.credential]
        account.pending -= booking.count
        if is_stored:
            account.since += booking.count
            return
        if account.day == booking.day:
            account.today -= booking.count
        for hour, number in booking.hours:
            account.hours[hour] -= number
        account.full_until = 0

    async def count_backlogs(
        self, lines: Callable[[], Iterable[tuple[CredentialId, int]]]
    ) -> None:
        """Count what is queued, if any credential has a limit on it.

        ``lines`` gives the credential and the deliveries of every line. Costs some
        10 ms for 100 000 lines, in slices.
        """
        directory = self._directory()
        if all(each.limits.backlog is None for each in directory.credentials.values()):
            return
        before = {ident: each.since for ident, each in self._accounts.items()}
        queued: Counter[CredentialId] = Counter()
        for number, (credential, count) in enumerate(lines(), 1):
            queued[credential] += count
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # there are others to serve
        for ident in {*queued, *before}:
            account = self._accounts[ident]
            account.queued = queued[ident]
            # What was accepted while we counted may have been counted or not.
            account.since -= before.get(ident, 0)

    def _limits(self, credential: CredentialId) -> Limits:
        found = self._directory().credentials_by_id.get(credential)
        return UNLIMITED if found is None else found.limits

    def _turn(self, account: _Account, limits: Limits, now: datetime) -> None:
        """Forget the day and the hours that are over, and what other limits meant."""
        day, hour = day_of(now), hour_of(now)
        if account.limits != limits:
            account.limits, account.full_until = limits, 0
        if account.day != day:
            account.day, account.today = day, 0
        if account.hour != hour:
            account.hour = hour
            account.hours = {
                each: count for each, count in account.hours.items() if each >= hour
            }


def purge_unit(now: datetime) -> Unit:
    """Return the unit that forgets up to :data:`PURGE_ROWS` counts that are over.

    Its first step gives one row for each that it deleted.
    """
    before = to_micros(now - 2 * DAY)
    return Unit((Step(_PURGE(before=before, rows=PURGE_ROWS)),), Urgency.BULK)


def _statements(
    credential: CredentialId,
    count: int,
    hours: Iterable[tuple[int, int]],
    day: int,
    limits: Limits,
) -> tuple[Bound, ...]:
    bounds = [
        _ADD(
            credential=credential,
            period=_HOUR_PERIOD,
            starts_at=hour * _micros(HOUR),
            recipients=number,
        )
        for hour, number in hours
    ]
    if limits.daily is not None:
        bounds.append(
            _ADD(
                credential=credential,
                period=_DAY_PERIOD,
                starts_at=day * _micros(DAY),
                recipients=count,
            )
        )
    return tuple(bounds)


def _micros(length: timedelta) -> int:
    return length // timedelta(microseconds=1)
