"""A node's metrics: they say what the log says, have bounded labels, and are documented."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from fakes.running_node import DOMAIN, RunningNode, message, running_node
from fakes.scripted_receiver import Behaviour
from mailwright.accounts.directory import StreamClass
from mailwright.daemon.exposition import Measured
from mailwright.daemon.vitals import Disk, Vitals
from mailwright.ids import (
    CredentialId,
    LineId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.mta.submission.door import DoorCounts
from mailwright.queue.bounds import SchedulerState
from mailwright.queue.line import Line, LineKey
from mailwright.queue.tally import Counted, Histogram
from mailwright.store.writer import WriterStatistics

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = LineKey(
    TenantId(1),
    None,
    StreamId(1),
    SendingDomainId(1),
    CredentialId(1),
    StreamClass.BULK,
    "there.example",
    PoolId(1),
)


def parsed(text: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return every sample by name and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def total(samples: dict[frozenset[tuple[str, str]], float], **labels: str) -> float:
    return sum(
        value for have, value in samples.items() if frozenset(labels.items()) <= have
    )


async def send(node: RunningNode, *recipients: str) -> None:
    answer = await node.http.post("/v1/messages", json=message(*recipients))
    assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Counter[str]]:
    """Return the text of a node that has delivered, deferred and bounced, and its log."""
    log: Counter[str] = Counter()
    texts = []
    refusing = Behaviour(replies={"RCPT": b"550 5.1.1 <x@there.example> who?\r\n"})
    later = Behaviour(replies={"MAIL": b"450 4.7.1 greylisted\r\n"})

    async def main() -> None:
        folder = tmp_path_factory.mktemp("node")
        more = f'[log]\nevents_file = "{folder}/events.jsonl"\n'
        delivery = 'idle_connection = "1s"'
        async with running_node(
            folder, refusing, later, Behaviour(), more=more, delivery=delivery
        ) as node:
            client = await node.smtp()
            await send(node, f"secret.local.part@{DOMAIN}")
            await node.wait_events("bounced")
            while node.node.out.scheduler.statistics().connections:
                await asyncio.sleep(0.01)
            await send(node, f"another.local.part@{DOMAIN}")
            log.update(each.type.value for each in await node.wait_events("delivered"))
            texts.append(await node.metrics())
            await client.close()

    asyncio.run(main())
    return texts[0], log


def test_counters_say_what_the_event_log_says(
    scraped: tuple[str, Counter[str]],
) -> None:
    text, log = scraped
    events = parsed(text)["mailwright_events_total"]
    assert {"received", "bounced", "deferred", "delivered"} == set(log)
    for kind, number in log.items():
        assert total(events, event=kind) == number
    assert total(events, event="delivered", source="main", pool="main") == 1
    assert total(events, event="bounced", category="invalid_mailbox") == 1


def test_accepts_and_attempts_are_timed(scraped: tuple[str, Counter[str]]) -> None:
    text, log = scraped
    samples = parsed(text)
    assert total(samples["mailwright_accept_seconds_count"]) == log["received"]
    attempts = log["bounced"] + log["deferred"] + log["delivered"]
    assert total(samples["mailwright_attempt_seconds_count"]) == attempts


def test_gauges_show_the_doors_the_store_and_the_health(
    scraped: tuple[str, Counter[str]],
) -> None:
    samples = parsed(scraped[0])
    [(labels, number)] = samples["mailwright_smtp_open_connections"].items()
    assert re.fullmatch(r"127\.0\.0\.1:\d+", dict(labels)["listener"])
    assert number == 1
    assert total(samples["mailwright_ready"]) == 1
    assert total(samples["mailwright_disk_free_bytes"]) > 0
    assert total(samples["mailwright_store_turn_seconds_sum"]) > 0
    assert total(samples["mailwright_store_units_total"]) > 4
    assert total(samples["process_resident_memory_bytes"]) > 1e7
    assert total(samples["mailwright_deliveries"]) == 0


def test_no_label_holds_a_domain_or_an_address(
    scraped: tuple[str, Counter[str]],
) -> None:
    for text in (DOMAIN, "local.part", "@", "example.com"):
        assert text not in scraped[0]


def metrics_of(text: str) -> set[str]:
    return set(re.findall(r"\bmailwright_[a-z_]+[a-z]\b", text))


def test_the_page_names_every_metric_and_no_other(
    scraped: tuple[str, Counter[str]],
) -> None:
    page = (ROOT / "docs/monitoring.md").read_text("utf-8")
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(scraped[0])
        if family.name.startswith("mailwright_")
    }
    # Shown only while there is a reason, and where inodes are limited.
    sometimes = {"mailwright_unready", "mailwright_disk_free_inodes"}
    assert metrics_of(page) | sometimes == families | sometimes


@pytest.mark.parametrize(
    "name",
    ["prometheus-rules.yml", "grafana-dashboard.json", "prometheus-rules.test.yml"],
)
def test_rules_and_dashboard_ask_for_metrics_that_there_are(
    name: str, scraped: tuple[str, Counter[str]]
) -> None:
    asked = metrics_of((ROOT / "monitoring" / name).read_text("utf-8"))
    known = set(parsed(scraped[0])) | {"mailwright_unready"}
    assert asked
    assert asked - known == set()


def make_line(number: int, **changes: object) -> Line:
    values: dict[str, object] = {"count": 10, "next_due_at": NOW} | changes
    return Line(LineId(number), KEY, **values)


def measured(**changes: object) -> Measured:
    values: dict[str, object] = {
        "now": NOW,
        "started_at": NOW,
        "events": {},
        "accepts": Histogram((1.0,)),
        "attempts": {},
        "lines": [],
        "scheduler": SchedulerState(0, 0, 0, 0),
        "unwritten": 0,
        "store": WriterStatistics(0, 0, 0, 0, 0),
        "doors": [],
        "bodies": (0, 1),
        "vitals": Vitals(),
        "unready": [],
        "directory": _Names(),
        "event_file": None,
        "refusals": {},
    }
    return Measured(**(values | changes))


class _Names:
    """A directory in which everything was retired."""

    def __init__(self) -> None:
        self.pools: dict[int, object] = {}
        self.sources: dict[int, object] = {}


def samples_of(measured: Measured) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in measured.collect():
        assert isinstance(family, Metric)
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def value_of(measured: Measured, name: str, **labels: str) -> float:
    [found] = [
        value
        for each, have, value in samples_of(measured)
        if each == name and have == labels
    ]
    return found


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "ready"),
        ({"next_due_at": NOW + timedelta(seconds=1)}, "later"),
        ({"wait_until": NOW + timedelta(seconds=1)}, "resting"),
        ({"wait_until": NOW - timedelta(seconds=1)}, "ready"),
        ({"is_held": True}, "held"),
        ({"is_held": True, "wait_until": NOW + timedelta(seconds=1)}, "held"),
    ],
)
def test_a_line_is_in_one_state_and_its_claimed_deliveries_are_sending(
    changes: dict[str, object], state: str
) -> None:
    taken = measured(lines=[make_line(1, sending=2, claiming=1, **changes)])
    labels = {"class": "bulk"}
    assert value_of(taken, "mailwright_lines", **labels, state=state) == 1
    assert value_of(taken, "mailwright_deliveries", **labels, state=state) == 7
    assert value_of(taken, "mailwright_deliveries", **labels, state="sending") == 3
    all_lines = [v for name, _, v in samples_of(taken) if name == "mailwright_lines"]
    assert sum(all_lines) == 1


def test_lateness_is_that_of_the_latest_line_that_may_leave() -> None:
    lines = [
        make_line(1, next_due_at=NOW - timedelta(seconds=30)),
        make_line(2, next_due_at=NOW - timedelta(seconds=90)),
        # Not late: held, resting, and rested until a moment ago.
        make_line(3, next_due_at=NOW - timedelta(days=1), is_held=True),
        make_line(
            4,
            next_due_at=NOW - timedelta(days=1),
            wait_until=NOW + timedelta(seconds=1),
        ),
        make_line(
            5,
            next_due_at=NOW - timedelta(days=1),
            wait_until=NOW - timedelta(seconds=5),
        ),
    ]
    name = "mailwright_oldest_due_seconds"
    taken = measured(lines=lines)
    assert value_of(taken, name, **{"class": "bulk"}) == 90
    assert value_of(taken, name, **{"class": "transactional"}) == 0


def test_counts_of_retired_names_are_added_up() -> None:
    from mailwright.events.types import EventType

    events = {
        Counted(EventType.DELIVERED, PoolId(number), "google", None, ""): number
        for number in (1, 2)
    }
    assert [
        value
        for name, _, value in samples_of(measured(events=events))
        if name == "mailwright_events_total"
    ] == [3]


def test_trouble_shows() -> None:
    taken = measured(
        unready=["disk"],
        vitals=Vitals(-400.0, True, Disk(5, 10, None)),
        doors=[],
        unwritten=4,
        damaged=2,
    )
    assert value_of(taken, "mailwright_ready") == 0
    assert value_of(taken, "mailwright_unready", reason="disk") == 1
    assert value_of(taken, "mailwright_clock_suspect") == 1
    assert value_of(taken, "mailwright_clock_ahead_seconds") == -400
    assert value_of(taken, "mailwright_disk_free_bytes") == 5
    assert value_of(taken, "mailwright_disk_reserve_bytes") == 10
    assert value_of(taken, "mailwright_unwritten_outcomes") == 4
    assert value_of(taken, "mailwright_damaged_contents_total") == 2


def test_every_count_of_a_door_is_shown() -> None:
    from dataclasses import fields

    from mailwright.daemon.exposition import DoorState

    counts = DoorCounts(*range(1, 9))
    taken = measured(doors=[DoorState("here", counts, 0)])
    for field in fields(DoorCounts):
        shown = value_of(taken, f"mailwright_smtp_{field.name}_total", listener="here")
        assert shown == getattr(counts, field.name)


def test_buckets_are_cumulative() -> None:
    accepts = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.5, 0.6, 7):
        accepts.observe(seconds)
    taken = measured(accepts=accepts)
    name = "mailwright_accept_seconds"
    assert [value_of(taken, f"{name}_bucket", le=le) for le in ("0.1", "1.0", "+Inf")] == [
        1, 3, 4,
    ]  # fmt: skip
    assert value_of(taken, f"{name}_sum") == pytest.approx(8.15)


def test_refusals_are_counted_by_limit() -> None:
    limit = "throttle 20/min per provider"
    (family,) = (
        each
        for each in measured(refusals={limit: 3}).collect()
        if each.name == "mailwright_refusals"
    )
    assert [(each.labels, each.value) for each in family.samples] == [
        ({"limit": limit}, 3)
    ]
