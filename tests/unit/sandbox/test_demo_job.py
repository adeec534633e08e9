"""The demo's campaign: whom it takes over, what its list holds, what its mail says."""

import json

import pytest

from mailwright.address import AddressError, parse_address
from mailwright.sandbox.demo.job import MIN_RECIPIENTS, Member, with_job
from mailwright.sandbox.demo.plan import Person, plan, suppressed


@pytest.mark.parametrize("count", [MIN_RECIPIENTS, 60, 400, 2000])
def test_everyone_gets_mail_once_by_a_message_or_by_the_campaign(count: int) -> None:
    single, job = with_job(plan(count))
    assert job is not None
    singly = [each.canonical for draft in single for each in draft.recipients]
    jointly = [each.person.canonical for each in job.members]
    assert jointly
    assert len(set(singly + jointly)) == len(singly) + len(jointly) == count
    assert set(suppressed(plan(count))).isdisjoint(jointly)
    assert set(job.suppressed).isdisjoint(singly + jointly)


def test_a_small_batch_has_no_campaign() -> None:
    assert with_job(plan(5)) == (plan(5), None)


def test_the_list_holds_what_its_outcomes_say() -> None:
    _, job = with_job(plan(400))
    assert job is not None
    found = dict.fromkeys(job.outcomes, 0)
    seen: set[str] = set()
    for line in job.rows():
        found["uploaded"] += 1
        try:
            address = parse_address(json.loads(line)["email"]).canonical
        except AddressError:
            found["invalid"] += 1
            continue
        if address in seen:
            found["duplicate"] += 1
        elif address in job.suppressed:
            found["suppressed"] += 1
        else:
            found["accepted"] += 1
        seen.add(address)
    assert found == job.outcomes
    assert min(found.values()) > 0


def test_what_a_message_says_is_its_members_own() -> None:
    rich = Member(Person('Ann "A" <b>', "ann@mail.test"), 70).content()
    poor = Member(Person("", "bob@mail.test"), 7).content()
    assert rich.subject.startswith('Ann "A" <b>, ')
    assert "<h1>Dear Ann &quot;A&quot; &lt;b&gt;,</h1>" in rich.html
    assert "70 points count double" in rich.html
    assert "your 70 points are worth 7 €" in rich.text
    assert "Dear friend" in poor.text
    assert "count double" not in poor.html
