"""The book of lines, as a start reads it."""

from datetime import UTC, datetime

from mailwright.clock import to_micros
from mailwright.queue.book import Alike, LineBook
from mailwright.store.statements import Row

DUE_AT = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int, campaign: int | None, domain: str) -> Row:
    """Return a row as the database gives it: every value an object of its own."""
    numbers = (int(text) for text in ("1000", "2000", "3000", "4000", "5000"))
    tenant, stream, sending_domain, credential, pool = numbers
    due, name = int(str(to_micros(DUE_AT))), "".join(list(domain))
    return (
        *(number, tenant, campaign, stream, sending_domain, credential, 1, name),
        *(pool, 1, due, None, "".join(list("Europe/Paris"))),
    )


def test_lines_of_one_reading_share_the_values_they_have_in_common() -> None:
    book, alike = LineBook(iter(range(9)).__next__), Alike()
    assert book.load([row(11, None, "d1.example")], alike) == 11
    assert book.load([row(12, int("6000"), "d1.example")], alike) == 12
    assert book.load([row(13, int("6000"), "d2.example")], alike) == 13
    first, second, third = book
    assert (first.key.campaign, second.key.campaign) == (None, 6000)
    assert second.key.campaign is third.key.campaign
    assert first.key.domain is second.key.domain == "d1.example"
    assert third.key.domain == "d2.example"
    assert first.next_due_at == DUE_AT
    assert first.next_due_at is third.next_due_at
    for name in ("tenant", "stream", "sending_domain", "credential", "pool"):
        assert getattr(first.key, name) is getattr(third.key, name), name
    assert first.key.timezone is third.key.timezone == "Europe/Paris"


def test_values_of_another_kind_are_not_taken_for_each_other() -> None:
    alike = Alike()
    micros = to_micros(DUE_AT)
    assert alike.number(micros) == micros
    assert alike.time(micros) == DUE_AT
    assert alike.text(str(micros)) == str(micros)
