from mailwright.store.checkpoints import CheckpointPace


def due_after(pace: CheckpointPace, changes: int) -> int:
    """How many more changes after ``changes`` make a checkpoint due."""
    return next(n for n in range(1_000_000) if pace.is_due(changes + n))


def test_rows_of_many_pages_make_checkpoints_more_frequent_and_small_ones_rarer() -> (
    None
):
    pace = CheckpointPace()
    first = due_after(pace, 0)
    pace.made(pages=first * 8)
    many = due_after(pace, first)
    assert many < first
    pace.made(pages=many // 4)
    assert due_after(pace, first + many) > first


def test_the_pace_stays_in_bounds_whatever_is_answered() -> None:
    pace = CheckpointPace()
    at = 0
    for pages in (1, 10**9, 0, None, 1):
        step = due_after(pace, at)
        assert 256 <= step <= 8192
        at += step
        pace.made(pages)
