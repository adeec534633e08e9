"""The states of a campaign: every pair of a state and a doing is decided here."""

from itertools import pairwise

import pytest

from mailwright.queue.campaign.job import (
    CHANGEABLE,
    MOVES,
    TAKES_UPLOADS,
    Doing,
    JobState,
    JobStateError,
    Seed,
    move,
)

#: doing: the states that it leads from, and where to.
ALLOWED = {
    "seal": "draft>sealing failed>sealing",
    "start": "draft>sealing failed>sealing sealing>sealing ready>running",
    "sealed": "sealing>ready",
    "pause": "running>paused",
    "resume": "paused>running held>running",
    "hold": "running>held",
    "cancel": "draft>cancelled sealing>cancelled ready>cancelled running>cancelled "
    "paused>cancelled held>cancelled failed>cancelled",
    "fail": "draft>failed sealing>failed",
    "finish": "running>done paused>done held>done",
}
PAIRS = [(doing, state) for doing in Doing for state in JobState]


def allowed(doing: str) -> dict[str, str]:
    return dict(each.split(">") for each in ALLOWED[doing].split())


def test_every_doing_is_decided() -> None:
    assert set(ALLOWED) == {each.value for each in Doing} == {*map(str, MOVES)}


@pytest.mark.parametrize(("doing", "state"), PAIRS)
def test_a_move_leads_where_the_table_says_or_is_refused(
    doing: Doing, state: JobState
) -> None:
    to = allowed(doing.value).get(state.value)
    if to is not None:
        assert move(state, doing).value == to
        return
    with pytest.raises(JobStateError) as caught:
        move(state, doing)
    assert (caught.value.state, caught.value.doing) == (state, doing.value)


def test_nothing_leads_out_of_done_or_cancelled() -> None:
    over = {JobState.DONE, JobState.CANCELLED}
    assert not any(over & {*leads} for leads in MOVES.values())
    assert over & CHANGEABLE == set()
    assert {JobState.DRAFT, JobState.FAILED} == TAKES_UPLOADS


@pytest.mark.parametrize("slices", [(10,), (3, 4, 10), (1, 2, 5, 9, 10)])
def test_a_seed_is_inserted_as_often_however_the_job_is_sliced(
    slices: tuple[int, ...],
) -> None:
    every, at = Seed("a@x.example", every=3), Seed("b@x.example", positions=(1, 10, 99))
    edges = [0, *slices]
    pairs = list(pairwise(edges))
    assert sum(every.times(after, to, 10) for after, to in pairs) == 3
    assert sum(at.times(after, to, 10) for after, to in pairs) == 3


def test_a_seed_stands_behind_its_position() -> None:
    seed = Seed("a@x.example", every=100, positions=(7,))
    assert seed.times(0, 6, 1000) == 0
    assert seed.times(6, 7, 1000) == 1
    assert seed.times(7, 100, 1000) == 1
