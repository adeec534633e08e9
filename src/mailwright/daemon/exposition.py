"""The numbers of a node at one moment, as families of metrics with names and labels.

Labels are names of the settings (source, pool, listener, provider) and words of closed
lists (event, category, class, state, reason): never a domain or an address.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from mailwright import __version__
from mailwright.accounts.directory import Directory, StreamClass
from mailwright.daemon.eventlog import EventFileState
from mailwright.daemon.vitals import Vitals
from mailwright.daemon.webhook_metrics import webhook_families
from mailwright.daemon.webhooks import WebhooksState
from mailwright.mta.submission.door import DoorCounts
from mailwright.queue.bounds import SchedulerState
from mailwright.queue.line import Line
from mailwright.queue.tally import Counted, Histogram
from mailwright.store.writer import WriterStatistics

#: States of a line with mail, for people: why its deliveries have not left.
LINE_STATES: Final = ("ready", "later", "resting", "held")
_PAGE_OCTETS: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class DoorState:
    """A listener's numbers."""

    name: str
    counts: DoorCounts
    open_connections: int


@dataclass(frozen=True, eq=False)  # a registry keeps it in a dictionary
class Measured(Collector):
    """The numbers of a node at one moment; :meth:`collect` is for a thread.

    Attributes:
        lines: every line with mail. They live on: a number may be a moment younger.
        bodies: octets of content in memory, and how many there may be.
        unready: what keeps the node from being ready.
        event_file: ``None`` without one.
        refusals: how often each limit let nothing more leave, by its label.
        is_all_held: a stop of all mail is in force.
        damaged: how often a content that was to leave was not what was accepted.
    """

    now: datetime
    started_at: datetime
    events: Mapping[Counted, int]
    accepts: Histogram
    attempts: Mapping[str, Histogram]
    lines: Sequence[Line]
    scheduler: SchedulerState
    unwritten: int
    store: WriterStatistics
    doors: Sequence[DoorState]
    bodies: tuple[int, int]
    vitals: Vitals
    unready: Sequence[str]
    directory: Directory
    event_file: EventFileState | None
    refusals: Mapping[str, int]
    is_all_held: bool = False
    damaged: int = 0
    webhooks: WebhooksState | None = None

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from self._events()
        yield from self._times()
        yield from self._queue()
        yield from self._doors()
        yield from self._store()
        yield from self._health()
        if self.webhooks is not None:
            yield from webhook_families(self.webhooks)
        yield from _process(self.started_at)

    def _events(self) -> Iterator[Metric]:
        pools, sources = self.directory.pools, self.directory.sources
        labels = ["event", "provider", "source", "pool", "category"]
        family = CounterMetricFamily(
            "mailwright_events", "Events of deliveries since the start", labels=labels
        )
        named: Counter[tuple[str, ...]] = Counter()
        for counted, number in self.events.items():
            source = None if counted.source is None else sources.get(counted.source)
            pool = None if counted.pool is None else pools.get(counted.pool)
            key = (
                counted.event.value,
                counted.provider,
                "" if source is None else source.name,
                "" if pool is None else pool.name,
                counted.category,
            )
            named[key] += number  # two that were retired may have no name both
        for names, number in named.items():
            family.add_metric(names, number)
        yield family
        refusals = CounterMetricFamily(
            "mailwright_refusals",
            "How often a throttle or allowance let nothing more leave",
            labels=["limit"],
        )
        for limit, number in self.refusals.items():
            refusals.add_metric([limit], number)
        yield refusals

    def _times(self) -> Iterator[Metric]:
        accepts = HistogramMetricFamily(
            "mailwright_accept_seconds", "From a whole submission to its durable commit"
        )
        accepts.add_metric([], _buckets(self.accepts), self.accepts.total)
        yield accepts
        attempts = HistogramMetricFamily(
            "mailwright_attempt_seconds",
            "From a connection's taking a delivery to its outcome",
            labels=["provider"],
        )
        for provider, histogram in self.attempts.items():
            attempts.add_metric([provider], _buckets(histogram), histogram.total)
        yield attempts

    def _queue(self) -> Iterator[Metric]:
        deliveries: Counter[tuple[str, str]] = Counter()
        lines: Counter[tuple[str, str]] = Counter()
        oldest: dict[str, float] = {}
        for each in StreamClass:
            of_class = each.name.lower()
            oldest[of_class] = 0.0
            deliveries[of_class, "sending"] = 0
            for state in LINE_STATES:
                deliveries[of_class, state] = lines[of_class, state] = 0
        for line in self.lines:
            of_class = line.key.stream_class.name.lower()
            deliveries[of_class, "sending"] += line.sending + line.claiming
            if line.available <= 0:
                continue
            state = "held" if self.is_all_held else _state(line, self.now)
            lines[of_class, state] += 1
            deliveries[of_class, state] += line.available
            if state == "ready":
                late_s = (self.now - line.ready_at()).total_seconds()
                oldest[of_class] = max(oldest[of_class], late_s)
        yield _gauges(
            "mailwright_deliveries",
            "Deliveries that are not final, by the state of their line",
            ["class", "state"],
            deliveries.items(),
        )
        yield _gauges(
            "mailwright_lines",
            "Lines with deliveries that wait",
            ["class", "state"],
            lines.items(),
        )
        yield _gauges(
            "mailwright_oldest_due_seconds",
            "How long the oldest line that may leave has been due",
            ["class"],
            (((of_class,), late_s) for of_class, late_s in oldest.items()),
        )
        yield _gauge("mailwright_lanes", "Lanes", self.scheduler.lanes)
        yield _gauge(
            "mailwright_connections",
            "Connections to receivers, open or being opened",
            self.scheduler.connections,
        )
        yield _gauge(
            "mailwright_lookups",
            "Domains that are being looked up",
            self.scheduler.lookups,
        )
        yield _gauge(
            "mailwright_unwritten_outcomes",
            "Outcomes that found no room on the disk; nothing is sent meanwhile",
            self.unwritten,
        )
        yield CounterMetricFamily(
            "mailwright_damaged_contents",
            "Attempts that found a stored content damaged or missing; it waits",
            self.damaged,
        )

    def _doors(self) -> Iterator[Metric]:
        yield _gauges(
            "mailwright_smtp_open_connections",
            "SMTP sessions of clients",
            ["listener"],
            (((door.name,), door.open_connections) for door in self.doors),
        )
        for name, text in _DOOR_COUNTS.items():
            family = CounterMetricFamily(
                f"mailwright_smtp_{name}", text, labels=["listener"]
            )
            for door in self.doors:
                family.add_metric([door.name], getattr(door.counts, name))
            yield family
        used, total = self.bodies
        yield _gauge(
            "mailwright_bodies_used_bytes", "Content of messages in memory", used
        )
        yield _gauge(
            "mailwright_bodies_limit_bytes", "Content that may be in memory", total
        )

    def _store(self) -> Iterator[Metric]:
        store = self.store
        yield CounterMetricFamily(
            "mailwright_store_units", "Units of work that ended", store.units
        )
        yield CounterMetricFamily(
            "mailwright_store_failed_units",
            "Units of work that were rolled back",
            store.failed_units,
        )
        yield SummaryMetricFamily(
            "mailwright_store_turn_seconds",
            "Turns of the store, each with one commit",
            count_value=store.turns,
            sum_value=store.turns_s,
        )
        yield _gauges(
            "mailwright_store_waiting_units",
            "Units of work that wait for the store",
            ["urgency"],
            [
                (("interactive",), store.waiting_interactive),
                (("bulk",), store.waiting_bulk),
            ],
        )

    def _health(self) -> Iterator[Metric]:
        yield _gauge("mailwright_ready", "1: send work here", int(not self.unready))
        yield _gauges(
            "mailwright_unready",
            "What keeps the node from being ready",
            ["reason"],
            (((reason,), 1) for reason in self.unready),
        )
        vitals = self.vitals
        yield _gauge(
            "mailwright_clock_ahead_seconds",
            "How far the system's clock is ahead of the node's",
            vitals.clock_ahead_s,
        )
        yield _gauge(
            "mailwright_clock_suspect",
            "1: wall time is not to be believed; nothing expires",
            int(vitals.is_clock_suspect),
        )
        yield _gauge(
            "mailwright_all_held",
            "1: all mail is stopped until it is released",
            int(self.is_all_held),
        )
        yield _gauge(
            "mailwright_database_checked",
            "1: the quick check after the start has ended",
            int(vitals.is_database_checked),
        )
        yield _gauge(
            "mailwright_database_damaged",
            "1: the quick check found damage; restore a backup",
            int(vitals.is_database_damaged),
        )
        if vitals.disk is not None:
            yield from _disk(*vitals.disk)
        if self.event_file is not None:
            yield CounterMetricFamily(
                "mailwright_events_file_lines",
                "Lines written to the events file",
                self.event_file.lines,
            )
            yield _gauge(
                "mailwright_events_file_failing",
                "1: the events file cannot be written",
                int(self.event_file.is_failing),
            )
        yield _gauges(
            "mailwright_build_info",
            "Always 1",
            ["version"],
            [((__version__,), 1)],
        )


#: Attributes of ``DoorCounts`` and what they say.
_DOOR_COUNTS: Final = {
    "connections": "Connections of SMTP clients",
    "refused_connections": "Connections refused over a limit",
    "accepted": "Messages taken",
    "refused": "Messages refused after their content",
    "violations": "Sessions ended for broken framing",
    "login_failures": "Refused logins",
    "timeouts": "Sessions ended for being slow or idle",
    "failures": "Answers of 451 for a fault of ours",
}


def _state(line: Line, now: datetime) -> str:
    if line.is_held:
        return "held"
    if line.ready_at() <= now:
        return "ready"
    if line.wait_until is not None and line.wait_until > now:
        return "resting"
    return "later"


def _disk(free: int, reserve: int, inodes: int | None) -> Iterator[Metric]:
    yield _gauge("mailwright_disk_free_bytes", "Room for the state folder", free)
    yield _gauge(
        "mailwright_disk_reserve_bytes",
        "Room below which no mail is accepted",
        reserve,
    )
    if inodes is not None:
        yield _gauge(
            "mailwright_disk_free_inodes", "Files that may still be made", inodes
        )


def _process(started_at: datetime) -> Iterator[Metric]:
    """Yield the usual metrics of a process; the client's own need all of ``/proc``."""
    yield _gauge(
        "process_start_time_seconds", "When the node started", started_at.timestamp()
    )
    yield CounterMetricFamily(
        "process_cpu_seconds", "User and system time", time.process_time()
    )
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        files = len(os.listdir("/proc/self/fd"))
    except (OSError, ValueError, IndexError):
        return  # another system, or one that hides it
    yield _gauge(
        "process_resident_memory_bytes", "Resident memory", pages * _PAGE_OCTETS
    )
    yield _gauge("process_open_fds", "Open file descriptors", files)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _gauges(
    name: str,
    text: str,
    labels: Sequence[str],
    rows: Iterable[tuple[Sequence[str], float]],
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in rows:
        family.add_metric(key, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return cumulative buckets, the last of which is ``+Inf``."""
    found, sum_so_far = [], 0
    names = [*(repr(float(bound)) for bound in histogram.bounds), "+Inf"]
    for name, number in zip(names, histogram.counts, strict=True):
        sum_so_far += number
        found.append((name, float(sum_so_far)))
    return found
