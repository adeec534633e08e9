"""Metrics: takes the numbers of a node, as plain values, on the event loop.

Nothing is counted per message for them but the :class:`~mailwright.queue.tally.Tally`;
naming and adding up is done in the thread that builds the text
(:mod:`mailwright.daemon.exposition`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mailwright.accounts.directory import Directory
from mailwright.clock import Clock
from mailwright.daemon.eventlog import EventFile
from mailwright.daemon.exposition import DoorState, Measured
from mailwright.daemon.vitals import Readiness, Vitals
from mailwright.daemon.webhooks import Webhooks
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.listener import Listener
from mailwright.queue.book import LineBook
from mailwright.queue.content import Contents
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.settlement import Settlement
from mailwright.queue.tally import Tally
from mailwright.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMetrics:
    """Knows where each number of a node is; call it on the event loop.

    Cost: a copy of the list of lines, about a millisecond for each 100 000 of them.
    """

    clock: Clock
    started_at: datetime
    directory: Callable[[], Directory]
    tally: Tally
    book: LineBook
    scheduler: Scheduler
    settlement: Settlement
    contents: Contents
    store: Store
    listeners: Sequence[Listener]
    budget: ByteBudget
    vitals: Vitals
    readiness: Readiness
    event_file: EventFile | None
    webhooks: Webhooks
    refusals: Mapping[str, int]

    def __call__(self) -> Measured:
        """Return the numbers as they are now."""
        tally, budget, file = self.tally, self.budget, self.event_file
        return Measured(
            now=self.clock.now(),
            started_at=self.started_at,
            events=dict(tally.events),
            accepts=tally.accepts.copy(),
            attempts={name: each.copy() for name, each in tally.attempts.items()},
            lines=list(self.book),
            scheduler=self.scheduler.statistics(),
            unwritten=self.settlement.unwritten,
            store=self.store.statistics(),
            doors=[_door(each) for each in self.listeners],
            bodies=(budget.total - budget.free, budget.total),
            vitals=replace(self.vitals),
            unready=self.readiness.topics(),
            directory=self.directory(),
            event_file=None if file is None else file.statistics(),
            webhooks=self.webhooks.statistics(),
            refusals=dict(self.refusals),
            is_all_held=self.scheduler.is_all_held(),
            damaged=self.contents.damaged,
        )


def _door(listener: Listener) -> DoorState:
    name = " ".join(f"{host}:{port}" for host, port in listener.addresses)
    return DoorState(name, listener.statistics(), listener.open_connections)
