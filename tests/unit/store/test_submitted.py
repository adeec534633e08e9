"""Whether a unit runs or is withdrawn is decided once, whoever asks from where."""

import threading

from mailwright.store.statements import unit
from mailwright.store.submitted import Submitted


def submitted() -> Submitted:
    return Submitted(unit(), lambda _result, _error: None)


def test_what_has_begun_cannot_be_withdrawn_or_begin_again() -> None:
    one = submitted()
    assert one.begin()
    assert not one.begin()
    assert not one.withdraw()


def test_what_is_withdrawn_does_not_begin_and_stays_withdrawn() -> None:
    one = submitted()
    assert one.withdraw()
    assert not one.begin()
    assert one.withdraw()


def test_of_two_threads_that_ask_at_once_exactly_one_gets_each_unit() -> None:
    units = [submitted() for _ in range(20_000)]
    start = threading.Barrier(2)
    begun: list[bool] = []

    def begin() -> None:
        start.wait()
        begun.extend(one.begin() for one in units)

    thread = threading.Thread(target=begin)
    thread.start()
    start.wait()
    withdrawn = [one.withdraw() for one in units]
    thread.join()
    assert all(one != other for one, other in zip(begun, withdrawn, strict=True))
