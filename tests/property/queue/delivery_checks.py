"""What must hold in the database after every step of the machine."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date

from fakes.stepped_store import SteppedStore
from mailwright.clock import from_micros, to_micros
from mailwright.queue.book import LineBook
from mailwright.queue.delivery import State
from property.queue.delivery_model import Known

#: Those that have tables.
DAYS = [date(2026, 1, day) for day in range(1, 7)]


def from_all_days(table: str, columns: str) -> str:
    """Return the statement that reads ``columns`` of the tables of all days."""
    return " UNION ALL ".join(
        f"SELECT {columns} FROM {table}_{day:%Y%m%d}" for day in DAYS
    )


def check_deliveries(store: SteppedStore, known: Mapping[int, Known]) -> None:
    """Each delivery is in exactly one place, and as the model says."""
    rows = store.rows(
        "SELECT id, state, attempt, ambiguous, source, recipient, "
        "CASE WHEN state = 0 THEN due_at END, epoch FROM deliveries"
    )
    columns = "id, state, attempt, ambiguous, source, recipient, NULL, NULL"
    rows += store.rows(from_all_days("finished", columns))
    stored = {row[0]: row[1:] for row in rows}
    assert len(rows) == len(stored), "a delivery is in two places"
    assert stored == {
        number: (
            each.state,
            each.attempt,
            each.ambiguous,
            each.source,
            each.recipient,
            to_micros(each.due_at) if each.state is State.QUEUED else None,
            each.epoch if each.state is State.SENDING else None,
        )
        for number, each in known.items()
    }


def check_events(store: SteppedStore, known: Mapping[int, Known]) -> None:
    """Each move wrote its event; the numbers have no gap."""
    rows = store.rows(from_all_days("events", "seq, delivery, type"))
    written: dict[int, list[str]] = defaultdict(list)
    for _, delivery, kind in sorted(rows):
        written[delivery].append(kind)
    assert written == {number: each.events for number, each in known.items()}
    ((last,),) = store.rows("SELECT seq FROM nodes")
    assert sorted(row[0] for row in rows) == list(range(1, last + 1))


def check_lines(store: SteppedStore, book: LineBook) -> None:
    """Each line counts its rows and is due in time, on disk and in memory."""
    lines = store.rows("SELECT id, domain, count, next_due_at FROM lines")
    rows = store.rows("SELECT line, state, due_at, recipient FROM deliveries")
    counts = Counter(line for line, *_ in rows)
    domains = {line: domain for line, domain, *_ in lines}
    assert counts == Counter({line: count for line, _, count, _ in lines if count})
    assert all(row[3].endswith(f"@{domains[row[0]]}") for row in rows)
    for line, _, _, next_due_at in lines:
        queued = [
            due for at, state, due, _ in rows if at == line and state == State.QUEUED
        ]
        assert next_due_at <= min(queued, default=next_due_at)
        picture = book.get(line)
        if picture is None:
            assert not counts[line]
            continue
        assert picture.count == counts[line]
        assert picture.available == len(queued)
        if queued:
            assert picture.next_due_at <= from_micros(min(queued))
    assert not any(line.claiming or line.accepting for line in book)


def check_campaign(store: SteppedStore, known: Mapping[int, Known]) -> None:
    """A campaign's recipients are as their deliveries; its sums are a recount."""
    rows = store.rows("SELECT delivery, state, category FROM recipients")
    assert {number: state for number, state, _ in rows} == {
        number: State.QUEUED if each.state is State.SENDING else each.state
        for number, each in known.items()
        if each.is_of_campaign
    }
    recount = Counter(
        (state, "" if state == State.QUEUED else category)
        for _, state, category in rows
    )
    totals = store.rows("SELECT state, category, count FROM campaign_totals")
    assert recount == Counter(
        {(state, category): count for state, category, count in totals if count}
    )
    final = from_all_days("finished", "id, campaign")
    assert {number for number, campaign in store.rows(final) if campaign} == {
        number for number, state, _ in rows if state != State.QUEUED
    }


def check_messages(store: SteppedStore) -> None:
    """Nothing is half accepted, and no content is left over."""
    assert not store.rows("SELECT id FROM messages WHERE is_complete = 0")
    assert not store.rows(
        "SELECT id FROM contents c "
        "WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.content = c.id)"
    )
