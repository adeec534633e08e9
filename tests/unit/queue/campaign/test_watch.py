"""A campaign that goes badly is held, with evidence, and a person may overrule that."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.campaigns import TENANT
from fakes.controlled import AUTHOR, Controlled, drive, until
from fakes.queueing import OK, ScriptedCourier
from mailwright.attempt import End
from mailwright.queue.campaign.job import JobState
from mailwright.queue.campaign.progress import Progress
from mailwright.queue.campaign.watch import (
    DEFAULTS,
    Breach,
    ThresholdError,
    Watch,
    breach_of,
    parse_thresholds,
)
from mailwright.queue.delivery import State
from mailwright.reply import Phase, Reply

GONE = Reply(550, "5.1.1", "<u1@a.example>: no such user", Phase.RCPT)


def totals(delivered: int, **bounced: int) -> dict[tuple[int, str], int]:
    return {
        (State.QUEUED, ""): 10_000,
        (State.DELIVERED, ""): delivered,
        **{(State.BOUNCED, category): count for category, count in bounced.items()},
    }


def test_a_list_with_too_many_who_are_not_there_is_held() -> None:
    assert breach_of(totals(475, invalid_mailbox=25), DEFAULTS) is None
    found = breach_of(totals(474, invalid_mailbox=20, inactive=6), DEFAULTS)
    assert found == Breach("hard_bounces", 26, 500, 0.052, 0.05)
    assert str(found) == "26 of 500 recipients are not there (5.2%, more than 5.0%)"


def test_a_share_of_few_is_not_believed() -> None:
    assert breach_of(totals(0, invalid_mailbox=499), DEFAULTS) is None
    assert breach_of(totals(0, invalid_mailbox=500), DEFAULTS) is not None


def test_refusals_and_what_cannot_be_rendered_have_their_own_shares() -> None:
    refused = breach_of(totals(440, unknown=60), DEFAULTS)
    assert refused is not None
    assert refused.rule == "refused"
    assert breach_of(totals(460, unknown=40), DEFAULTS) is None
    unrendered = breach_of(totals(494, unrendered=6), DEFAULTS)
    assert unrendered is not None
    assert unrendered.rule == "unrendered"


def test_what_people_took_back_says_nothing_of_the_list() -> None:
    taken = totals(474, invalid_mailbox=26) | {(State.CANCELLED, ""): 10_000}
    assert breach_of(taken, DEFAULTS) is not None


def test_a_rule_may_be_changed_or_turned_off_for_a_campaign() -> None:
    bad = totals(400, invalid_mailbox=100)
    assert breach_of(bad, parse_thresholds({"hard_bounces": None})) is None
    assert breach_of(bad, parse_thresholds({"hard_bounces": 0.3})) is None
    assert breach_of(bad, parse_thresholds({"after": 501})) is None
    few = totals(8, invalid_mailbox=2)
    assert breach_of(few, parse_thresholds({"after": 10})) is not None


@given(
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.floats(0.0, 0.5),
    st.floats(0.001, 0.5),
)
def test_what_was_overridden_holds_again_only_when_it_is_worse_by_as_much(
    delivered: int, bounced: int, overridden: float, share: float
) -> None:
    found = breach_of(
        totals(delivered, invalid_mailbox=bounced),
        parse_thresholds({"hard_bounces": share, "after": 1}),
        {"hard_bounces": overridden},
    )
    finished = delivered + bounced
    is_worse = finished > 0 and bounced / finished > overridden + share
    assert (found is not None) == is_worse


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "thresholds"),
        ({"bounced": 0.1}, "thresholds.bounced"),
        ({"refused": 1.5}, "thresholds.refused"),
        ({"refused": True}, "thresholds.refused"),
        ({"refused": "1"}, "thresholds.refused"),
        ({"after": 0}, "thresholds.after"),
        ({"after": 1.5}, "thresholds.after"),
        ({"after": None}, "thresholds.after"),
    ],
)
def test_what_is_no_threshold_is_refused(given: object, field: str) -> None:
    with pytest.raises(ThresholdError) as caught:
        parse_thresholds(given)
    assert caught.value.field == field


def test_a_campaign_is_held_while_it_runs_and_goes_on_when_a_person_says_so(
    tmp_path: Path,
) -> None:
    bad = ScriptedCourier(
        script=lambda parcel, _source: (
            End.REPLIED,
            GONE if int(parcel.recipient[1:].split("@")[0]) % 10 == 0 else OK,
        )
    )

    async def test(controlled: Controlled) -> None:
        queue, campaigns = controlled.queue, controlled.campaigns
        people = [f"u{number}@d{number % 7}.example" for number in range(300)]
        controlled.has_results = True
        number = await controlled.campaign(
            *people, thresholds={"after": 50}, pace_per_hour=360_000
        )
        progress = Progress(queue.store, campaigns.book, queue.clock, look_s=0.05)
        watch = Watch(
            store=queue.store,
            campaigns=campaigns.book,
            hold=campaigns.jobs.hold,
            clock=queue.clock,
            look_s=0.05,
        )

        def is_held() -> bool:
            known = campaigns.book.get(number)
            return known is not None and known.state is JobState.HELD

        async with asyncio.TaskGroup() as tasks:
            services = [tasks.create_task(each.run()) for each in (progress, watch)]
            await until(is_held)
            known = campaigns.book.get(number)
            assert known is not None
            assert known.reason is not None
            assert known.reason["rule"] == "hard_bounces"
            assert known.reason["finished"] >= 50
            examples = known.reason["examples"]
            assert 0 < len(examples) <= 5
            assert "<<address>>: no such user" in {each["reply"] for each in examples}
            assert "u1@" not in str(known.reason)
            lines = [each for each in queue.book if each.count]
            await until(lambda: all(each.is_held for each in lines))
            rest = controlled.terms.rests(lines[0], queue.clock.now())
            assert rest is not None
            assert "is held by the node since" in rest.reason
            assert "recipients are not there" in rest.reason
            await campaigns.jobs.resume(TENANT, number, AUTHOR)
            # A tenth is gone throughout: no worse than what the person has seen.
            await until(lambda: bad.carried.total() == 300)
            assert not is_held()
            for service in services:
                service.cancel()

    drive(tmp_path, test, courier=bad)
