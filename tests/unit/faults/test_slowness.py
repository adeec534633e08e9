"""The measure of proportion, and budgets that grow with the machine's slowness."""

from fakes.slowness import allowed, allowed_cpu, is_in_proportion


def test_what_reads_everything_once_is_in_proportion() -> None:
    assert is_in_proportion(lambda size: sum(range(size)), 2_000_000)


def test_what_reads_everything_for_each_part_is_not() -> None:
    def square(size: int) -> None:
        for part in range(size):
            sum(range(part))

    assert not is_in_proportion(square, 4_000)


def test_no_budget_is_smaller_than_it_was() -> None:
    assert allowed(3.0) >= 3.0
    assert allowed_cpu(3.0) >= 3.0


def test_a_machine_that_takes_longer_may(monkeypatch) -> None:
    monkeypatch.setattr("fakes.slowness._REFERENCE_S", 0.000_01)
    assert allowed(3.0) > 30.0
    assert allowed_cpu(3.0) > 30.0
