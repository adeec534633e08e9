"""The one place that knows all rooms: puts a node together from its settings.

Nothing is started here and no socket is opened; :mod:`mailwright.daemon.lifecycle` runs
what :func:`wire` returns.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from mailwright.accounts.quotas import Quotas
from mailwright.api.ports import MetricsDoor, QueueDoor
from mailwright.bounce import suppression
from mailwright.clock import Clock
from mailwright.config.node import NodeSettings
from mailwright.daemon.campaign_doors import CampaignDoors
from mailwright.daemon.campaigns import Campaigns
from mailwright.daemon.doors import Doors, doors_of
from mailwright.daemon.eventlog import EventFile, event_file_of
from mailwright.daemon.metrics import NodeMetrics
from mailwright.daemon.operating import Operating, open_offices
from mailwright.daemon.outgoing import Outgoing, node_resolver, outgoing
from mailwright.daemon.redirection import Redirection
from mailwright.daemon.room_settings import (
    admission_limits,
    api_limits,
    dial_settings,
    door_settings,
    intake_settings,
    report_settings,
    retry_ladder,
    scheduler_settings,
)
from mailwright.daemon.state import State
from mailwright.daemon.vitals import Readiness, Vitals
from mailwright.ids import StreamId
from mailwright.mta.admission import Admission
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.listener import Listener
from mailwright.outbound_http import OutboundHttp
from mailwright.queue.book import LineBook
from mailwright.queue.campaign.book import CampaignBook
from mailwright.queue.campaign.control import Control, ControlPorts
from mailwright.queue.campaign.staging import StagingArea
from mailwright.queue.campaign.terms import CampaignTerms
from mailwright.queue.intake import QueueIntake
from mailwright.queue.settlement import SettlementSettings
from mailwright.queue.statements import queue_statements
from mailwright.resolver import Resolver
from mailwright.store.bodies import BodyStore
from mailwright.store.folders import make_folder


@dataclass(slots=True)
class Node:
    """A node put together, not running."""

    settings: NodeSettings
    state: State
    clock: Clock
    book: LineBook
    intake: QueueIntake
    out: Outgoing
    doors: Doors
    bodies: BodyStore
    readiness: Readiness
    operating: Operating
    vitals: Vitals
    event_file: EventFile | None
    campaigns: Campaigns
    control: Control


def wire(
    settings: NodeSettings,
    state: State,
    clock: Clock,
    *,
    resolver: Resolver | None = None,
) -> Node:
    """Put a node together on its open state.

    ``resolver`` is another one than the settings name (the sandbox's).

    Raises:
        OSError, ssl.SSLError: a certificate cannot be read.
    """
    store = state.store
    given = resolver

    def fresh_resolver() -> Resolver:
        return given or node_resolver(settings, clock)

    resolver = fresh_resolver()
    budget = ByteBudget(settings.limits.bodies_in_memory)
    bodies_folder = settings.state_dir / "bodies"
    make_folder(bodies_folder)
    bodies = BodyStore(bodies_folder)
    book = LineBook(store.ids.take)
    vitals = Vitals()
    campaign_book = CampaignBook()

    def lifetime_of(stream: StreamId) -> timedelta:
        return campaigns.lifetime_of(stream)  # which are made from what asks

    terms = CampaignTerms(campaign_book, lifetime_of)
    out = outgoing(
        settings, state, clock, resolver, bodies, budget, book, vitals, terms
    )
    quotas = Quotas(state.settings.directory)
    intake = QueueIntake(
        store=store,
        next_id=store.ids.take,
        statements=queue_statements(suppression),
        book=book,
        contents=out.contents,
        subject_of=state.settings.keys.subject_key.subject,
        write_file=lambda day, number, body: bodies.write(day, number, [body]),
        settings=intake_settings(settings),
        on_queued=out.scheduler.on_due,
        tally=out.tally,
        quotas=quotas,
        reporter=out.reporter,
    )
    campaigns = Campaigns(
        store=store,
        clock=clock,
        lines=book,
        bodies=bodies,
        book=campaign_book,
        staging=StagingArea(settings.state_dir / "staging", clock),
        subject_of=state.settings.keys.subject_key.subject,
        directory=state.settings.directory,
        settings=intake_settings(settings),
        tally=out.tally,
    )
    control = Control(
        ControlPorts(
            store,
            campaign_book,
            terms,
            out.operations,
            out.expiry,
            clock,
            campaigns.pool_of,
            out.settlement.recall,
            out.courier.recall_of,
        )
    )
    campaign_book.on_change = control.changed
    admission = Admission(state.settings.directory, admission_limits(settings))
    prefix, numbers = secrets.token_hex(8), count(1)
    campaign_doors = CampaignDoors(
        campaigns=campaigns,
        keys=state.settings.keys,
        store=store,
        directory=state.settings.directory,
        admission=admission,
        intake=intake,
        budget=budget,
        clock=clock,
        hostname=settings.hostname,
        fresh_id=lambda: f"{prefix}.{next(numbers)}",
        limits=lambda: doors.api_limits,
        http=OutboundHttp(
            resolver, lambda: state.settings.directory().allowed_networks
        ),
    )
    queue = QueueDoor(
        out.operations,
        state.settings.directory,
        store,
        clock,
        lambda: out.trust.suspicion,
    )
    offices = open_offices(
        state,
        clock,
        fresh_resolver,
        budget,
        lambda: api_limits(settings),
        queue=queue,
        time=out.timekeeping,
    )
    redirection = Redirection(
        state.settings.directory, book, out.scheduler, out.profiles
    )
    operating = Operating(
        offices, settings.state_dir, quotas, book, redirection, campaign_doors.ports
    )
    readiness = Readiness(
        lambda: [*out.operations.notices(), *out.timekeeping.notices()]
    )
    event_file = event_file_of(settings.log, store, clock, state.settings.directory)

    def metrics(listeners: Sequence[Listener]) -> MetricsDoor:
        collector = NodeMetrics(
            clock=clock,
            started_at=clock.now(),
            directory=state.settings.directory,
            tally=out.tally,
            book=book,
            scheduler=out.scheduler,
            settlement=out.settlement,
            contents=out.contents,
            store=store,
            listeners=listeners,
            budget=budget,
            vitals=vitals,
            readiness=readiness,
            event_file=event_file,
            webhooks=out.webhooks,
            refusals=out.limits.state.refusals,
        )
        return MetricsDoor(collector, settings.http.metrics_networks)

    doors = doors_of(
        settings,
        state,
        clock,
        budget,
        book,
        readiness,
        offices,
        metrics,
        out,
        campaign_doors,
    )
    return Node(
        settings,
        state,
        clock,
        book,
        intake,
        out,
        doors,
        bodies,
        readiness,
        operating,
        vitals,
        event_file,
        campaigns,
        control,
    )


def apply(node: Node, settings: NodeSettings) -> None:
    """Let a running node take over the live keys of ``settings``.

    What is under way goes on under the old ones. Certificates are read here.

    Raises:
        OSError, ssl.SSLError: a certificate cannot be read; nothing is taken over.
    """
    listening = [door_settings(settings, each) for each in settings.smtp]
    node.settings = settings
    doors, out = node.doors, node.out
    for listener, door in zip(doors.listeners, listening, strict=True):
        listener.apply(door)
    doors.admission.apply(admission_limits(settings))
    doors.api_limits = api_limits(settings)
    out.dialer.apply(dial_settings(settings))
    out.profiles.apply(retry_ladder(settings))
    out.scheduler.apply(scheduler_settings(settings))
    out.settlement.apply(SettlementSettings(settings.delivery.ambiguous_retry))
    out.reporter.apply(report_settings(settings))
    node.intake.apply(intake_settings(settings))
    node.campaigns.apply(intake_settings(settings))
