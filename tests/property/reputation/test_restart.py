"""Under shared limits an orderly restart changes no decision, and a crash adds none.

The parts that a stop keeps are those of ``reputation.stored``: what is not full of the
buckets, and what was committed of the day's ledgers.
"""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mailwright.accounts.directory import Pool, Source, ThrottleRule
from mailwright.ids import LineId, PoolId, SourceId, StreamId, TenantId
from mailwright.permit import PermitKeys
from mailwright.reputation.buckets import Buckets
from mailwright.reputation.growth import Growth
from mailwright.reputation.ledger import Ledgers, Reservation
from mailwright.reputation.limits import LimitBook, SharedLimits
from mailwright.reputation.permits import Permits, State
from mailwright.reputation.throttle import to_ns
from mailwright.site import Pipelining, Profile, TlsDemand

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POOL = PoolId(1)
SOURCES = tuple(SourceId(each) for each in (1, 2))
PROFILE = Profile("google", 10, 100, Pipelining.NONE, TlsDemand.NONE, (60.0,))

RULES = st.lists(
    st.builds(
        lambda limit, per, match: (limit, frozenset(per), tuple(match.items())),
        st.sampled_from(["3/s", "20/min", "90/h burst 30", "40/day", "7/day"]),
        st.sets(st.sampled_from(["source", "provider", "tenant", "domain"])),
        st.fixed_dictionaries({}, optional={"tenant": st.integers(1, 2)}),
    ),
    min_size=1,
    max_size=4,
)
ASKED = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 90), st.integers(0, 4000)),  # seconds
        st.integers(1, 2),  # tenant
        st.sampled_from(["a.example", "b.example"]),
        st.sampled_from(SOURCES),
        st.integers(1, 30),
        st.integers(0, 5),  # given back
    ),
    max_size=25,
)


class Disk:
    """What outlives a start."""

    def __init__(self) -> None:
        self.buckets: dict[str, int] = {}
        self.ledgers: dict[str, int] = {}


class Start:
    """Permits from what is on the disk; reservations are durable at once."""

    def __init__(
        self, disk: Disk, rules: tuple[ThrottleRule, ...], now: datetime
    ) -> None:
        self.disk = disk
        self.ledgers = Ledgers(NOON.date(), self._commit)
        self.ledgers.restore(disk.ledgers.items())
        self.buckets = Buckets()
        self.buckets.restore(disk.buckets.items(), to_ns(now))
        shared = SharedLimits(lambda: rules)
        pool = Pool(
            POOL, "main", tuple((Source(each, "ip", "", "m"), 1) for each in SOURCES)
        )
        self.permits = Permits(
            lambda: {POOL: pool},
            State(self.buckets, self.ledgers, Growth(), Counter()),
            LimitBook(shared.throttles, shared.daily),
        )

    def _commit(self, reservation: Reservation) -> None:
        self.disk.ledgers[reservation.key] = reservation.reserved
        self.ledgers.committed(reservation)

    def drive(self, asked: list, now: datetime) -> tuple[list[int], datetime]:
        """Return what was granted for each question, and when the last one was."""
        granted = []
        for pause, tenant, domain, source, want, back in asked:
            now += timedelta(seconds=pause)
            keys = PermitKeys(
                *("google", "site", POOL, LineId(1), domain, TenantId(tenant), None),
                *(StreamId(1), None, False),
            )
            got, given, owed = 0, [], back
            # A ledger gives its room in blocks: ask until there is no more.
            while got < want:
                permit = self.permits.permit(keys, PROFILE, now, want - got, source)
                if not permit.granted:
                    break
                got += permit.granted
                given.append(permit)
            # How it was cut into blocks changes nothing: so much of all of it goes back.
            for permit in reversed(given):
                returned = min(owed, permit.granted)
                self.permits.give_back(permit, returned)
                got, owed = got - returned, owed - returned
            granted.append(got)
        return granted, now

    def stop(self, now: datetime) -> None:
        """Keep what an orderly stop keeps."""
        self.disk.buckets = dict(self.buckets.unfilled(to_ns(now)))
        for each in self.ledgers.unused():
            self.disk.ledgers[each.key] = each.reserved


def rules_of(drawn: list) -> tuple[ThrottleRule, ...]:
    return tuple(
        ThrottleRule(number, None, *each) for number, each in enumerate(drawn, 1)
    )


@given(RULES, ASKED, ASKED, st.integers(0, 3000))
def test_an_orderly_restart_changes_no_decision(
    drawn: list, before: list, after: list, pause: int
) -> None:
    rules = rules_of(drawn)
    unbroken, disk = Start(Disk(), rules, NOON), Disk()
    stopped = Start(disk, rules, NOON)
    sent, last = unbroken.drive(before, NOON)
    assert stopped.drive(before, NOON)[0] == sent
    stopped.stop(last)
    start = last + timedelta(seconds=pause)
    again = Start(disk, rules, start)
    expected, _ = unbroken.drive(after, start)
    found, _ = again.drive(after, start)
    assert found == expected


@given(RULES, st.lists(ASKED, min_size=1, max_size=4), st.booleans())
def test_no_number_of_restarts_gives_an_allowance_twice(
    drawn: list, runs: list[list], is_orderly: bool
) -> None:
    """A crash finds the ledgers as they were committed, and empty buckets."""
    rules = tuple(replace(each, per=frozenset(), match=()) for each in rules_of(drawn))
    disk, now, total = Disk(), NOON, 0
    for run in runs:
        start = Start(disk, rules, now)
        if not is_orderly:
            start.buckets.start_empty(to_ns(now))
        sent, now = start.drive(run, now)
        if now.date() != NOON.date():
            return  # another day, another allowance
        total += sum(sent)
        if is_orderly:
            start.stop(now)
        else:
            disk.buckets = {}
    for each in rules:
        if each.limit.endswith("day"):
            assert total <= int(each.limit.partition("/")[0])
