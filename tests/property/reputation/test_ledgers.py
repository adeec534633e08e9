"""A day's allowance is never exceeded, and a crash costs at most a block of it."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mailwright.reputation.ledger import BLOCKS, Ledgers, Reservation

DAY = date(2026, 1, 1)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("give back"), st.integers(1, 40)),
        st.tuples(st.just("commit"), st.integers(0, 3)),
        st.tuples(st.just("refuse"), st.integers(0, 3)),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("stop"), st.just(0)),
    ),
    max_size=120,
)


@given(st.integers(1, 400), STEPS)
def test_what_is_used_is_reserved_before_and_never_more_than_allowed(
    allowance: int, steps: list[tuple[str, int]]
) -> None:
    waiting: list[Reservation] = []
    ledgers, durable, sent, lost = Ledgers(DAY, waiting.append), 0, 0, 0
    last = 0  # what the last grant may still give back
    for step, number in steps:
        match step:
            case "take":
                count = min(number, ledgers.room("k", allowance))
                if count:
                    ledgers.take("k", count)
                sent += count
                last = count
                # Committed before use.
                assert sent + lost <= durable
            case "give back":
                count = min(number, last)
                ledgers.give_back(DAY, "k", count)
                sent -= count
                last -= count
            case "commit" if waiting:
                reservation = waiting.pop(0)
                durable = reservation.reserved
                ledgers.committed(reservation)
            case "refuse" if waiting:
                ledgers.not_committed(waiting.pop(0))
            case "crash" | "stop":
                if step == "stop":
                    for unused in ledgers.unused():
                        durable = unused.reserved
                waiting.clear()
                lost, last = durable - sent, 0
                ledgers = Ledgers(DAY, waiting.append)
                ledgers.restore([("k", durable)] if durable else [])
        assert sent <= durable <= allowance


def committing() -> Ledgers:
    """Ledgers whose reservations are durable at once."""
    made: list[Ledgers] = []

    def commit(reservation: Reservation) -> None:
        made[0].committed(reservation)

    made.append(Ledgers(DAY, commit))
    return made[0]


@given(st.integers(1, 5000), st.lists(st.integers(1, 30), max_size=60))
def test_a_crash_costs_a_block_and_a_half_at_most(
    allowance: int, wants: list[int]
) -> None:
    ledgers, used = committing(), 0
    for want in wants:
        count = min(want, ledgers.room("k", allowance))
        if count:
            ledgers.take("k", count)
            used += count
        lost = sum(each.reserved for each in reserved(ledgers)) - used
        assert 0 <= lost <= max(1, allowance // BLOCKS) * 3 / 2


def reserved(ledgers: Ledgers) -> list[Reservation]:
    """What a crash now would leave as used."""
    return [
        Reservation(DAY, key, entry.reserved) for key, entry in ledgers._entries.items()
    ]


@given(
    st.lists(st.tuples(st.integers(-400, 400), st.booleans()), max_size=30),
    st.integers(1, 20),
)
def test_a_clock_that_is_set_to_and_fro_brings_each_day_once(
    moves: list[tuple[int, bool]], allowance: int
) -> None:
    ledgers = committing()
    used: Counter[date] = Counter()
    days, hours = [DAY], 0
    for hour, is_suspect in moves:
        hours += hour
        now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
        before = ledgers.day
        ledgers.advance(now, is_suspect=is_suspect)
        assert ledgers.day >= before
        assert not (is_suspect and ledgers.day != before)
        days.append(ledgers.day)
        while ledgers.room("k", allowance):
            ledgers.take("k", 1)
            used[ledgers.day] += 1
        assert ledgers.is_used_up("k", allowance)
    assert all(count <= allowance for count in used.values())


def test_what_was_taken_yesterday_is_not_given_back_today() -> None:
    ledgers = committing()
    assert ledgers.room("k", 1) == 1
    ledgers.take("k", 1)
    ledgers.advance(datetime(2026, 1, 2, tzinfo=UTC), is_suspect=False)
    assert ledgers.room("k", 1) == 1
    ledgers.take("k", 1)
    ledgers.give_back(DAY, "k", 1)
    assert ledgers.room("k", 1) == 0
