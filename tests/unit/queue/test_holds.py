"""Holds as values: what is kept of one, which lines it stops, who sees what of it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mailwright.accounts.directory import StreamClass
from mailwright.ids import (
    CampaignId,
    CredentialId,
    HoldId,
    LineId,
    MessageId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.queue.holds import OPERATOR, Hold, Holds, hold_of
from mailwright.queue.line import Line, LineKey
from mailwright.queue.selection import EVERYTHING, Selection

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OURS, THEIRS = TenantId(1), TenantId(2)
KEY = LineKey(
    OURS,
    CampaignId(7),
    StreamId(1),
    SendingDomainId(1),
    CredentialId(1),
    StreamClass.BULK,
    "x.example",
    PoolId(1),
)
MESSAGE = Selection(tenant=OURS, message=MessageId(5), accepted_on="2026-01-01")


def make_hold(selection: Selection, **changes: object) -> Hold:
    made = Hold(HoldId(9), selection, "secret reason", "cli:root", NOW)
    return replace(made, **changes)


def make_line(**changes: object) -> Line:
    return Line(LineId(1), replace(KEY, **changes), count=1, next_due_at=NOW)


@pytest.mark.parametrize(
    "hold",
    [
        make_hold(Selection(tenant=OURS), ends_at=NOW, owner=OURS),
        make_hold(Selection(domain="x.example"), cancels=True),
        make_hold(Selection(campaign=CampaignId(7), provider="yahoo")),
        make_hold(MESSAGE),
        make_hold(EVERYTHING),
    ],
    ids=lambda hold: " ".join(hold.selection.to_scope()),
)
def test_a_hold_is_kept_as_it_is(hold: Hold) -> None:
    row = hold.to_row().params
    columns = ("id", "scope", "reason", "author", "created_at", "ends_at", "tenant")
    assert hold_of(tuple(row[name] for name in columns)) == hold


def test_a_hold_of_a_campaign_stops_the_lines_of_it() -> None:
    hold = make_hold(Selection(campaign=CampaignId(7)))
    assert hold.stops(make_line(), None)
    assert not hold.stops(make_line(campaign=None), None)
    assert not hold.stops(make_line(campaign=CampaignId(8)), None)


def test_a_hold_of_a_message_stops_the_lines_that_were_made_for_it() -> None:
    hold = make_hold(MESSAGE)
    line = make_line()
    assert not hold.stops(line, None)
    line.hold = HoldId(8)
    assert not hold.stops(line, None)
    line.hold = HoldId(9)
    assert hold.stops(line, None)


def test_a_stop_of_everything_marks_no_line() -> None:
    holds = Holds()
    holds.add(make_hold(EVERYTHING))
    assert holds.stops_everything()
    assert not holds.stops(make_line(), None)
    assert len(holds.stopping(make_line(), None)) == 1


def test_who_made_a_hold_and_operators_see_all_of_it() -> None:
    hold = make_hold(Selection(tenant=OURS), owner=OURS, author="api:crm")
    assert hold.for_tenant(OURS) == hold
    assert hold.for_tenant(None) == hold


def test_a_tenant_sees_why_an_operator_holds_its_mail_and_not_which_operator() -> None:
    hold = make_hold(Selection(tenant=OURS, domain="x.example"))
    assert hold.for_tenant(OURS) == replace(hold, author=OPERATOR)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(domain="x.example"),
        Selection(pool=PoolId(1)),
        Selection(tenant=THEIRS),
        EVERYTHING,
    ],
    ids=lambda selection: " ".join(selection.to_scope()),
)
def test_a_hold_that_does_not_name_a_tenant_tells_it_nothing_but_its_end(
    selection: Selection,
) -> None:
    hold = make_hold(selection, ends_at=NOW)
    seen = hold.for_tenant(OURS)
    assert (seen.reason, seen.author) == ("", OPERATOR)
    assert seen.selection.is_empty
    assert (seen.id, seen.created_at, seen.ends_at) == (hold.id, NOW, NOW)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Selection(message=MessageId(5)), True),
        (Selection(message=MessageId(6)), False),
        (Selection(tenant=THEIRS, message=MessageId(5)), False),
        (Selection(domain="x.example"), True),
    ],
    ids=["its own", "another", "another's", "of a line"],
)
def test_two_selections_may_share_a_delivery(other: Selection, expected: bool) -> None:
    assert MESSAGE.may_share(other) is expected
    assert other.may_share(MESSAGE) is expected
