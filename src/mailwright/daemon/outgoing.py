"""What carries mail away: everything from lines to receivers, put together."""

from dataclasses import dataclass
from random import Random
from typing import Final

from mailwright.accounts.keyring import KeyRing
from mailwright.bounce import dsn, suppression, verdict
from mailwright.clock import Clock, ClockTrust
from mailwright.config.node import NodeSettings
from mailwright.daemon.event_reading import EventReading
from mailwright.daemon.room_settings import (
    dial_settings,
    report_settings,
    retry_ladder,
    scheduler_settings,
)
from mailwright.daemon.state import State
from mailwright.daemon.timekeeping import Timekeeping
from mailwright.daemon.vitals import Vitals
from mailwright.daemon.webhooks import Webhooks, webhooks_of
from mailwright.mta.courier import Courier
from mailwright.mta.dialing import Dialer
from mailwright.mta.ourselves import Ourselves
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.routing import Router
from mailwright.mta.sessions.local import LocalSessions
from mailwright.mta.sessions.pool import SessionProcesses
from mailwright.mta.sessions.session import Sessions
from mailwright.mta.sessions.threads import ThreadWorkers
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.tls import load_contexts
from mailwright.mta.tls_memory import StoredTlsFailures
from mailwright.queue.book import LineBook
from mailwright.queue.claims import Claims
from mailwright.queue.content import Contents
from mailwright.queue.expiry import Expiry
from mailwright.queue.holds import Holds
from mailwright.queue.in_flight import InFlight
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
from mailwright.store.trusted_time import forget_trusted

#: Without processes for it: signing lets go of the interpreter, so two cores are used.
SIGNING_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What carries mail away, and events."""

    scheduler: Scheduler
    courier: Courier
    sessions: Sessions
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


def _sessions(settings: NodeSettings, keys: KeyRing, clock: Clock) -> Sessions:
    """Return what leads sessions.

    Raises:
        OSError, ssl.SSLError: the authorities of certificates cannot be read.
    """
    if settings.delivery.session_processes:
        return SessionProcesses(keys, settings.delivery.session_processes)
    renderers = Renderers(SIGNING_THREADS)
    preparer = Preparer(keys, renderers)
    workers = ThreadWorkers(preparer, SIGNING_THREADS, on_end=renderers.close)
    return LocalSessions(workers, load_contexts(), clock, on_stop=workers.stop)


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


def outgoing(
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
    """Put together what carries mail away.

    Raises:
        OSError, ssl.SSLError: the authorities of certificates cannot be read.
    """
    store, live = state.store, state.settings
    delivery = settings.delivery
    tls_memory = StoredTlsFailures(store)
    sessions = _sessions(settings, live.keys, clock)
    dialer = Dialer(
        resolver,
        sessions,
        tls_memory,
        clock,
        allowed_networks=lambda: live.directory().allowed_networks,
        password=lambda sealed: live.keys.password(sealed).reveal().decode(),
        settings=dial_settings(settings),
    )
    holds = Holds()
    courier = Courier(dialer, clock, holds.stops_everything)
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
        sessions,
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
