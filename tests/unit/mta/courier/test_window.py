from mailwright.mta.window import AHEAD_S, BATCH, LEAST, MOST, Window


def paced(seconds: float, count: int = 50) -> Window:
    window, now = Window(), 100.0
    window.began(now, 0)
    for _ in range(count):
        now += seconds
        window.ended(now)
    return window


def test_a_new_connection_holds_the_least() -> None:
    window = Window()
    assert window.room(0) == LEAST
    assert window.room(LEAST) == 0


def test_a_slow_receiver_is_never_given_more_than_the_next() -> None:
    window = paced(0.5)
    assert window.size == LEAST
    assert window.room(1) == 1


def test_a_fast_receiver_is_kept_busy_in_batches() -> None:
    window = paced(0.001)
    assert window.size == MOST
    assert window.room(0) == BATCH
    assert window.room(MOST // 2) == BATCH
    assert window.room(MOST // 2 + 1) == 0


def test_what_is_held_is_what_leaves_in_the_time_ahead() -> None:
    assert paced(AHEAD_S / 5.5).size == LEAST + 5


def test_many_ends_at_once_are_a_fast_receiver() -> None:
    assert paced(0.0).size == MOST


def test_our_own_idle_time_is_not_the_receivers() -> None:
    window = paced(0.001)
    window.began(1_000.0, 0)
    window.ended(1_000.001)
    assert window.size == MOST


def test_offering_to_a_busy_receiver_does_not_reset_its_time() -> None:
    window = Window()
    window.began(0.0, 0)
    window.began(9.999, 1)
    window.ended(10.0)
    assert window.size == LEAST
