"""The one place that knows all rooms: puts a node together from its settings.

Nothing is started here and no socket is opened; :mod:`mailwright.daemon.lifecycle` runs
what :func:`wire` returns.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from random import Random
from typing import Final

from mailwright.accounts.authentication import Authenticator
from mailwright.accounts.guesses import GuessLimiter
from mailwright.accounts.keyring import KeyRing
from mailwright.accounts.logins import Logins, SmtpLogins
from mailwright.accounts.quotas import Quotas
from mailwright.api.app import create_app
from mailwright.api.ports import ApiLimits, ApiPorts, MetricsDoor, QueueDoor
from mailwright.api.server import ApiServer
from mailwright.bounce import dsn, suppression, verdict
from mailwright.clock import Clock, ClockTrust
from mailwright.config.node import NodeSettings
from mailwright.daemon.campaign_doors import CampaignDoors
from mailwright.daemon.campaigns import Campaigns
from mailwright.daemon.event_reading import EventReading
from mailwright.daemon.eventlog import EventFile, event_file_of
from mailwright.daemon.metrics import NodeMetrics
from mailwright.daemon.operating import Offices, Operating, open_offices
from mailwright.daemon.reading import NodeReading
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
from mailwright.daemon.timekeeping import Timekeeping
from mailwright.daemon.vitals import Readiness, Vitals
from mailwright.daemon.webhooks import Webhooks, webhooks_of
from mailwright.ids import StreamId
from mailwright.mta.admission import Admission
from mailwright.mta.courier import Courier
from mailwright.mta.dialing import Dialer
from mailwright.mta.ourselves import Ourselves
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.routing import Router
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.door import DoorPorts
from mailwright.mta.submission.listener import Listener
from mailwright.mta.submission.spool import Spools
from mailwright.mta.tls import load_contexts
from mailwright.mta.tls_memory import StoredTlsFailures
from mailwright.mta.workers.pool import ProcessWorkers
from mailwright.mta.workers.ready import Workers
from mailwright.mta.workers.threads import ThreadWorkers
from mailwright.outbound_http import OutboundHttp
from mailwright.queue.book import LineBook
from mailwright.queue.campaign.book import CampaignBook
from mailwright.queue.campaign.control import Control, ControlPorts
from mailwright.queue.campaign.staging import StagingArea
from mailwright.queue.campaign.terms import CampaignTerms
from mailwright.queue.claims import Claims
from mailwright.queue.content import Contents
from mailwright.queue.expiry import Expiry
from mailwright.queue.holds import Holds
from mailwright.queue.in_flight import InFlight
from mailwright.queue.intake import QueueIntake
from mailwright.queue.line import Line
from mailwright.queue.operations import Operations
from mailwright.queue.reporting import Reporter
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.settlement import Settlement, SettlementSettings
from mailwright.queue.statements import queue_statements
from mailwright.queue.tally import Tally
from mailwright.queue.terms import Terms
from mailwright.queue.tools import Tools
from mailwright.reputation.limits import LimitBook, SharedLimits
from mailwright.reputation.permits import Permits
from mailwright.reputation.provider import ProfileBook, load_profiles
from mailwright.reputation.stored import StoredLimits
from mailwright.resolver import DnspythonResolver, Resolver, system_nameservers
from mailwright.store.bodies import BodyStore
from mailwright.store.folders import make_folder
from mailwright.store.health import Reserve
from mailwright.store.trusted_time import forget_trusted

#: Without processes for it: signing lets go of the interpreter, so two cores are used.
SIGNING_THREADS: Final = 2


@dataclass(slots=True)
class Node:
    """A node put together, not running."""

    settings: NodeSettings
    state: State
    clock: Clock
    book: LineBook
    intake: QueueIntake
    out: "Outgoing"
    doors: "Doors"
    bodies: BodyStore
    readiness: Readiness
    operating: Operating
    vitals: Vitals
    event_file: EventFile | None
    campaigns: Campaigns
    control: Control


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What carries mail away, and events."""

    scheduler: Scheduler
    courier: Courier
    workers: Workers
    settlement: Settlement
    contents: Contents
    dialer: Dialer
    tls_memory: StoredTlsFailures
    profiles: ProfileBook
    tally: Tally
    trust: ClockTrust
    limits: StoredLimits
    reporter: Reporter
    operations: Operations
    expiry: Expiry
    timekeeping: Timekeeping
    webhooks: Webhooks


@dataclass(slots=True)
class Doors:
    """What takes mail in."""

    listeners: Sequence[Listener]
    api: ApiServer
    admission: Admission
    api_limits: ApiLimits
    campaigns: CampaignDoors


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
    out = _outgoing(
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

    doors = _doors(
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


def _workers(settings: NodeSettings, keys: KeyRing) -> Workers:
    """Return what renders and signs."""
    if settings.delivery.signing_processes:
        return ProcessWorkers(keys, settings.delivery.signing_processes)
    renderers = Renderers(SIGNING_THREADS)
    preparer = Preparer(keys, renderers)
    return ThreadWorkers(preparer, SIGNING_THREADS, on_end=renderers.close)


def _webhooks(state: State, clock: Clock, resolver: Resolver) -> Webhooks:
    live = state.settings
    return webhooks_of(
        state.store,
        live.sealer,
        EventReading(state.store, live.keys.subject_key.subject, live.directory),
        resolver,
        clock,
        live.directory,
    )


def _outgoing(
    settings: NodeSettings,
    state: State,
    clock: Clock,
    resolver: Resolver,
    bodies: BodyStore,
    budget: ByteBudget,
    book: LineBook,
    vitals: Vitals,
    terms: Terms,
) -> Outgoing:
    store, live = state.store, state.settings
    delivery = settings.delivery
    tls_memory = StoredTlsFailures(store)
    dialer = Dialer(
        resolver,
        load_contexts(),
        tls_memory,
        clock,
        allowed_networks=lambda: live.directory().allowed_networks,
        password=lambda sealed: live.keys.password(sealed).reveal().decode(),
        settings=dial_settings(settings),
    )
    holds = Holds()
    workers = _workers(settings, live.keys)
    courier = Courier(dialer, workers, clock, holds.stops_everything)
    profiles = load_profiles(retry_ladder(settings))
    profiles.override(live.directory().provider_changes)
    shared = SharedLimits(lambda: live.directory().throttles)
    router = Router(
        resolver,
        live.directory,
        profiles,
        clock,
        delivery.smtp_port,
        ourselves=_ourselves(settings, state),
    )
    # Settling tells the scheduler, which is made from settling.
    made: list[Scheduler] = []

    def on_due(line: Line) -> None:
        made[0].on_due(line)

    async def believed() -> None:
        await forget_trusted(store)
        await made[0].reconsider()

    tally, trust = Tally(), ClockTrust()
    limits = StoredLimits(store, clock, trust)
    contents = Contents(store, bodies.read)
    reporter = Reporter(
        store=store,
        next_id=store.ids.take,
        book=book,
        contents=contents,
        directory=live.directory,
        subject_of=live.keys.subject_key.subject,
        composer=dsn,
        settings=report_settings(settings),
        on_queued=on_due,
        tally=tally,
    )
    in_flight = InFlight(clock, lambda: made[0].connections)
    settlement = Settlement(
        store=store,
        clock=clock,
        verdicts=verdict,
        draw=Random().random,  # noqa: S311 - spreads load, guards nothing
        settings=SettlementSettings(delivery.ambiguous_retry),
        on_due=on_due,
        in_flight=in_flight,
        tally=tally,
        trust=trust,
        reporter=reporter,
    )
    tools = Tools(
        clock,
        Claims(
            store,
            queue_statements(suppression),
            clock,
            settlement.release,
            in_flight,
            tally,
            trust,
            reporter=reporter,
            terms=terms,
        ),
        contents,
        settlement,
        Permits(
            lambda: live.directory().pools,
            limits.state,
            LimitBook(shared.throttles, shared.daily),
            is_suspect=lambda: trust.is_suspect,
        ),
        budget,
        in_flight,
        tally,
        terms,
    )
    scheduler = Scheduler(
        tools=tools,
        router=router,
        courier=courier,
        directory=live.directory,
        settings=scheduler_settings(settings),
        stops=holds.stops,
        stops_everything=holds.stops_everything,
    )
    made.append(scheduler)
    operations = Operations(
        store=store,
        book=book,
        scheduler=scheduler,
        holds=holds,
        router=router,
        clock=clock,
        next_id=store.ids.take,
        tally=tally,
        recall=courier.recall,
    )
    return Outgoing(
        scheduler,
        courier,
        workers,
        settlement,
        contents,
        dialer,
        tls_memory,
        profiles,
        tally,
        trust,
        limits,
        reporter,
        operations,
        Expiry(
            store=store,
            book=book,
            clock=clock,
            trust=trust,
            tally=tally,
            reporter=reporter,
            terms=terms,
        ),
        Timekeeping(clock, trust, vitals, believed),
        _webhooks(state, clock, resolver),
    )


def _ourselves(settings: NodeSettings, state: State) -> Ourselves:
    listeners = settings.smtp
    names = {settings.hostname, *map(settings.greeting_name, listeners)}
    live = state.settings
    return Ourselves(
        frozenset(names),
        tuple((each.listen.host, each.listen.port) for each in listeners),
        lambda: {each.address for each in live.directory().sources.values()},
    )


def node_resolver(settings: NodeSettings, clock: Clock) -> Resolver:
    """Return the resolver that the node's file names."""
    dns = settings.dns
    return DnspythonResolver(
        [str(each) for each in dns.nameservers] or system_nameservers(),
        port=dns.port,
        timeout_s=dns.timeout.total_seconds(),
        clock=clock,
        cache_max=dns.cache_max,
    )


def _doors(
    settings: NodeSettings,
    state: State,
    clock: Clock,
    budget: ByteBudget,
    book: LineBook,
    readiness: Readiness,
    offices: Offices,
    metrics: Callable[[Sequence[Listener]], MetricsDoor],
    out: Outgoing,
    campaigns: CampaignDoors,
) -> Doors:
    directory, intake = state.settings.directory, campaigns.ports.intake
    logins = Logins(Authenticator(directory), GuessLimiter())
    ports = DoorPorts(
        SmtpLogins(logins, clock),
        campaigns.admission,
        intake,
        clock,
        budget,
        _spools(settings, budget),
    )
    listeners = [
        Listener(door_settings(settings, listener), ports) for listener in settings.smtp
    ]
    api_ports = ApiPorts(
        keys=logins,
        admission=campaigns.admission,
        intake=intake,
        reading=NodeReading(
            state.store,
            book,
            directory,
            clock,
            EventReading(
                state.store,
                state.settings.keys.subject_key.subject,
                state.settings.directory,
            ),
            out.scheduler.why_waiting,
            out.operations.stopping,
            out.scheduler.rest_of,
        ),
        store=state.store,
        budget=budget,
        clock=clock,
        hostname=settings.hostname,
        fresh_id=campaigns.ports.fresh_id,
        unready=readiness.reasons,
        notices=lambda: [
            *out.operations.public_notices(),
            *out.timekeeping.notices(),
        ],
        metrics=metrics(listeners),
        limits=lambda: doors.api_limits,
        operating=offices.ports,
    )
    listen = settings.http.listen
    app = create_app(api_ports, campaigns.ports, webhooks=out.webhooks.door)
    server = ApiServer(app, listen.host, listen.port)
    doors = Doors(
        listeners, server, campaigns.admission, api_limits(settings), campaigns
    )
    return doors


def _spools(settings: NodeSettings, budget: ByteBudget) -> Spools:
    folder = settings.state_dir / "spool"
    folder.mkdir(mode=0o700, exist_ok=True)
    # The same as makes a node unready: see daemon/maintenance.py.
    reserve = Reserve(settings.limits.max_message * 3 // 2)
    return Spools.in_folder(folder, reserve, budget)


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
