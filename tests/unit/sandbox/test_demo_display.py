"""What people see of the demo: at 80 columns, in a terminal and in a file."""

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from mailwright.events.types import EventType
from mailwright.sandbox.demo.balance import balance
from mailwright.sandbox.demo.display import (
    LiveTable,
    PlainLines,
    Result,
    display_on,
    print_summary,
)
from mailwright.sandbox.demo.domains import CAST
from mailwright.sandbox.demo.examiner import Examined
from mailwright.sandbox.demo.ledger import (
    Copy,
    Delivery,
    Happening,
    Ledger,
    Promise,
)
from mailwright.sandbox.demo.rehearsal import Ending, Snapshot

PROMISE = Promise("<1@news.test>", "news.test")


def ledger_of(recipients: int) -> Ledger:
    """Return a ledger in which everything was delivered once."""
    ledger = Ledger()
    for number in range(recipients):
        label = CAST[number % len(CAST)].label
        delivery = Delivery("msg_1", f"{number}@{label}")
        ledger.acknowledged(delivery.message, [delivery.recipient], PROMISE)
        ledger.happened(Happening(EventType.DEFERRED, delivery))
        ledger.happened(Happening(EventType.DELIVERED, delivery))
        ledger.arrived(Copy(PROMISE.message_id, delivery.recipient), "news.test")
    return ledger


def result_of(ledger: Ledger, ending: Ending = Ending.SETTLED) -> Result:
    return Result(
        ending,
        128.0,
        Snapshot(12.3, 9, 9, 7, ledger),
        balance(ledger, frozenset(ledger.open)),
        Examined(20, 20, [], 15, Counter({"127.1.0.1": 20})),
        (),
        (),
    )


def printed(result: Result, width: int = 80) -> str:
    file = io.StringIO()
    print_summary(Console(file=file, width=width), result)
    return file.getvalue()


def flat(text: str) -> str:
    """Return ``text`` as it was before it was wrapped."""
    return " ".join(text.split())


def test_the_table_fits_80_columns_and_the_largest_batch() -> None:
    for domain in CAST:
        ledger = ledger_of(20)
        ledger.tallies[domain.label].accepted = 100_000
        text = printed(result_of(ledger))
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
        assert all(each.name in text and each.temper in text for each in CAST)


def test_a_good_result_says_so() -> None:
    result = result_of(ledger_of(20))
    assert result.is_good
    text = printed(result)
    assert "✓ Everything is accounted for: 0 lost, 0 duplicates, 0 unverified." in text
    assert "dkimpy verified 20 of 20" in flat(text)


def test_a_bad_result_says_what_is_wrong() -> None:
    ledger = ledger_of(20)
    ledger.arrived(Copy(PROMISE.message_id, "3@beta.test"), "news.test")
    result = result_of(ledger)
    assert not result.is_good
    text = printed(result)
    assert "duplicate: msg_1 to 3@beta.test" in text
    assert "✗ Something is wrong: 0 lost, 1 duplicates, 0 unverified." in text


@pytest.mark.parametrize("what", ["refused", "violations"])
def test_refusals_and_violations_are_faults(what: str) -> None:
    result = replace(result_of(ledger_of(1)), **{what: ("number 7",)})
    assert not result.is_good
    assert "number 7" in printed(result)


def test_an_altered_copy_is_a_fault() -> None:
    result = result_of(ledger_of(1))
    result.examined.altered.append("<1@news.test>: octets differ")
    assert not result.is_good
    assert "octets differ" in printed(result)


def test_a_text_of_a_peer_is_no_markup() -> None:
    result = replace(result_of(ledger_of(1)), refused=("HTTP: [red]500[/red]",))
    assert "HTTP: [red]500[/red]" in printed(result)


def test_when_time_is_over_what_is_queued_is_named() -> None:
    ledger = ledger_of(20)
    waiting = Delivery("msg_2", "a@greylist.test")
    ledger.acknowledged(waiting.message, [waiting.recipient], PROMISE)
    result = result_of(ledger, Ending.TIME_OVER)
    assert not result.is_good
    text = flat(printed(result))
    assert "Not done after 128 s. Messages unsent: 0; deliveries queued: 1" in text
    assert "1 for greylist.test" in text


def test_an_interrupted_demo_is_neither_good_nor_faulty() -> None:
    result = result_of(ledger_of(3), Ending.INTERRUPTED)
    assert not result.is_good
    assert not result.faults
    assert "Stopped before the end" in printed(result)


def test_many_faults_are_counted_not_listed() -> None:
    ledger = ledger_of(0)
    for number in range(30):
        ledger.acknowledged(f"msg_{number}", ["a@mail.test"], PROMISE)
    text = printed(replace(result_of(ledger), balance=balance(ledger, frozenset())))
    assert text.count("acknowledged, but the node has it no more") == 10
    assert "… and 20 more" in text


def test_a_file_gets_a_line_every_two_seconds() -> None:
    file = io.StringIO()
    display = display_on(Console(file=file, width=40))
    assert isinstance(display, PlainLines)
    ledger = ledger_of(20)
    with display:
        for tick in range(17):  # four seconds and the moment of the start
            display.show(Snapshot(tick * 0.25, 9, tick, 0, ledger))
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert "accepted 20" in lines[0]
    assert "delivered 20" in lines[0]


def test_a_terminal_gets_a_table_that_is_taken_away_in_the_end() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, height=24, force_terminal=True)
    display = display_on(console)
    assert isinstance(display, LiveTable)
    with display:
        display.show(Snapshot(1.0, 9, 4, 0, ledger_of(20)))
        shown = file.getvalue()
    assert "4 of 9" in shown
    assert "…" not in shown  # it fits 24 lines
    erased = file.getvalue()[len(shown) :]
    assert erased.count("\x1b[2K") >= len(CAST)
