"""The demo's balance: whatever one book says alone is found."""

import pytest

from mailwright.events.types import EventType
from mailwright.sandbox.demo.balance import Balance, balance
from mailwright.sandbox.demo.ledger import (
    ENDS,
    Copy,
    Delivery,
    Happening,
    Ledger,
    Promise,
)

ANN = Delivery("msg_1", "ann@one.test")
BOB = Delivery("msg_1", "bob@two.test")
PROMISE = Promise("<1@news.test>", "news.test")
ANNS_COPY = Copy(PROMISE.message_id, ANN.recipient)
BOBS_COPY = Copy(PROMISE.message_id, BOB.recipient)
NOTHING_QUEUED: frozenset[Delivery] = frozenset()


def promised(*deliveries: Delivery) -> Ledger:
    ledger = Ledger()
    for delivery in deliveries:
        ledger.acknowledged(delivery.message, [delivery.recipient], PROMISE)
        ledger.happened(Happening(EventType.RECEIVED, delivery))
    return ledger


def end(ledger: Ledger, delivery: Delivery, kind: EventType) -> None:
    ledger.happened(Happening(kind, delivery))


def deliver(ledger: Ledger, delivery: Delivery) -> None:
    end(ledger, delivery, EventType.DELIVERED)
    copy = Copy(PROMISE.message_id, delivery.recipient)
    ledger.arrived(copy, PROMISE.author_domain)


def sum_of_ends(found: Balance) -> int:
    return (
        found.delivered
        + found.bounced
        + found.expired
        + found.suppressed
        + found.cancelled
        + found.queued
    )


def test_books_that_agree_give_a_clean_balance() -> None:
    ledger = promised(ANN, BOB)
    deliver(ledger, ANN)
    end(ledger, BOB, EventType.BOUNCED)
    found = balance(ledger, NOTHING_QUEUED)
    assert found.is_clean
    assert (found.accepted, found.delivered, found.bounced) == (2, 1, 1)
    assert (found.lost, found.duplicates, found.unverified) == (0, 0, 0)
    assert found.dkim_verified == 1
    assert sum_of_ends(found) == found.accepted


@pytest.mark.parametrize("kind", ENDS)
def test_every_end_is_counted_under_its_name(kind: EventType) -> None:
    ledger = promised(ANN)
    if kind is EventType.DELIVERED:
        deliver(ledger, ANN)
    else:
        end(ledger, ANN, kind)
    found = balance(ledger, NOTHING_QUEUED)
    assert getattr(found, kind.value) == 1
    assert sum_of_ends(found) == found.accepted == 1
    assert found.is_clean


def test_what_is_still_queued_is_no_fault() -> None:
    found = balance(promised(ANN), {ANN})
    assert (found.accepted, found.queued) == (1, 1)
    assert found.is_clean


def test_what_the_node_has_forgotten_is_lost() -> None:
    found = balance(promised(ANN), NOTHING_QUEUED)
    assert found.lost == 1
    assert found.findings == (
        "lost: msg_1 to ann@one.test: acknowledged, but the node has it no more",
    )


def test_what_the_node_says_is_delivered_and_nobody_has_is_lost() -> None:
    ledger = promised(ANN)
    end(ledger, ANN, EventType.DELIVERED)
    found = balance(ledger, NOTHING_QUEUED)
    assert (found.delivered, found.lost, found.dkim_verified) == (1, 1, 0)
    assert not found.is_clean


def test_a_second_copy_is_a_duplicate() -> None:
    ledger = promised(ANN, BOB)
    deliver(ledger, ANN)
    deliver(ledger, BOB)
    ledger.arrived(ANNS_COPY, PROMISE.author_domain)
    ledger.arrived(ANNS_COPY, PROMISE.author_domain)
    found = balance(ledger, NOTHING_QUEUED)
    assert (found.duplicates, found.explained_copies) == (2, 0)
    assert not found.is_clean


def test_a_second_copy_that_the_node_announced_is_explained() -> None:
    ledger = promised(ANN)
    ledger.happened(Happening(EventType.DEFERRED, ANN, may_be_copied=True))
    deliver(ledger, ANN)
    ledger.arrived(ANNS_COPY, PROMISE.author_domain)
    found = balance(ledger, NOTHING_QUEUED)
    assert (found.duplicates, found.explained_copies) == (0, 1)
    assert found.is_clean


@pytest.mark.parametrize(
    "kind", [EventType.BOUNCED, EventType.EXPIRED, EventType.SUPPRESSED]
)
def test_a_copy_of_what_was_not_delivered_is_one_too_many(kind: EventType) -> None:
    ledger = promised(ANN)
    end(ledger, ANN, kind)
    ledger.arrived(ANNS_COPY, PROMISE.author_domain)
    found = balance(ledger, NOTHING_QUEUED)
    assert found.duplicates == 1
    assert not found.is_clean


def test_a_copy_of_what_is_still_queued_is_one_too_many() -> None:
    ledger = promised(ANN)
    ledger.arrived(ANNS_COPY, PROMISE.author_domain)
    found = balance(ledger, {ANN})
    assert (found.queued, found.duplicates) == (1, 1)


@pytest.mark.parametrize("signer", ["", "other.test", "sub.news.test"])
def test_a_copy_without_a_signature_of_its_author_is_unverified(signer: str) -> None:
    ledger = promised(ANN)
    end(ledger, ANN, EventType.DELIVERED)
    ledger.arrived(ANNS_COPY, signer)
    found = balance(ledger, NOTHING_QUEUED)
    assert (found.dkim_verified, found.unverified) == (0, 1)
    assert not found.is_clean


def test_one_unverified_copy_of_two_is_enough() -> None:
    ledger = promised(ANN)
    ledger.happened(Happening(EventType.DEFERRED, ANN, may_be_copied=True))
    deliver(ledger, ANN)
    ledger.arrived(ANNS_COPY, "")
    assert balance(ledger, NOTHING_QUEUED).unverified == 1


def test_two_ends_contradict_each_other() -> None:
    ledger = promised(ANN)
    deliver(ledger, ANN)
    end(ledger, ANN, EventType.EXPIRED)
    found = balance(ledger, NOTHING_QUEUED)
    assert found.delivered == 1
    assert found.expired == 0
    assert "ended twice: delivered and expired" in found.findings[0]


def test_mail_that_no_client_was_told_of_is_found() -> None:
    ledger = promised(ANN)
    deliver(ledger, ANN)
    ledger.happened(Happening(EventType.RECEIVED, BOB))
    ledger.arrived(BOBS_COPY, PROMISE.author_domain)
    findings = balance(ledger, NOTHING_QUEUED).findings
    assert [each.partition(":")[0] for each in findings] == ["orphan", "orphan"]


def test_an_event_may_come_before_the_acknowledgement() -> None:
    ledger = Ledger()
    deliver(ledger, ANN)
    ledger.acknowledged(ANN.message, [ANN.recipient], PROMISE)
    assert not ledger.open
    assert balance(ledger, NOTHING_QUEUED).is_clean


def test_open_deliveries_are_those_without_an_end() -> None:
    ledger = promised(ANN, BOB)
    deliver(ledger, ANN)
    assert ledger.open == {BOB}
    assert ledger.tallies["one.test"].queued == 0
    assert ledger.tallies["two.test"].queued == 1


def test_findings_are_bounded_and_counts_are_not() -> None:
    ledger = promised(*(Delivery(f"msg_{number}", "a@b.test") for number in range(300)))
    found = balance(ledger, NOTHING_QUEUED)
    assert found.lost == 300
    assert len(found.findings) == 100
