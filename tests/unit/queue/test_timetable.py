"""When to look at what again."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mailwright.queue.timetable import LOOK_S, Timetable

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "earlier", "drop", "take"]),
        st.sampled_from("abcd"),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_says_what_a_table_of_times_would(steps: list[tuple[str, str, int]]) -> None:
    table: Timetable[str] = Timetable()
    model: dict[str, datetime] = {}
    for what, thing, second in steps:
        if what == "put":
            table.put(thing, at(second))
            model[thing] = at(second)
        elif what == "earlier":
            is_sooner = thing not in model or at(second) < model[thing]
            assert table.put_earlier(thing, at(second)) <= is_sooner
            if is_sooner:
                model[thing] = at(second)
        elif what == "drop":
            table.drop(thing)
            model.pop(thing, None)
        else:
            due = sorted(
                (when, each) for each, when in model.items() if when <= at(second)
            )
            taken = list(table.take_due(at(second)))
            assert sorted(taken) == sorted(each for _, each in due)
            assert [model[each] for each in taken] == [when for when, _ in due]
            for each in taken:
                del model[each]
        assert len(table) == len(model)
        assert all(each in table for each in model)
        wait = min((when - START for when in model.values()), default=None)
        assert table.wait_s(START) == (None if wait is None else wait.total_seconds())


def test_it_says_whether_what_was_put_is_the_first_now() -> None:
    table: Timetable[str] = Timetable()
    assert table.put("a", at(10))
    assert not table.put("a", at(10)), "it was so before"
    assert not table.put("b", at(20))
    assert table.put("b", at(5))


def test_nobody_waits_for_longer_than_a_clock_may_be_slewed_in() -> None:
    table: Timetable[str] = Timetable()
    table.put("a", at(86_400))
    assert table.wait_s(START) == LOOK_S
    assert table.wait_s(at(90_000)) == 0.0
