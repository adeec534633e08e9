"""What takes mail in: listeners and the API, put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailwright.accounts.authentication import Authenticator
from mailwright.accounts.guesses import GuessLimiter
from mailwright.accounts.logins import Logins, SmtpLogins
from mailwright.api.app import create_app
from mailwright.api.ports import ApiLimits, ApiPorts, MetricsDoor
from mailwright.api.server import ApiServer
from mailwright.clock import Clock
from mailwright.config.node import NodeSettings
from mailwright.daemon.campaign_doors import CampaignDoors
from mailwright.daemon.event_reading import EventReading
from mailwright.daemon.operating import Offices
from mailwright.daemon.outgoing import Outgoing
from mailwright.daemon.reading import NodeReading
from mailwright.daemon.room_settings import (
    api_limits,
    door_settings,
)
from mailwright.daemon.state import State
from mailwright.daemon.vitals import Readiness
from mailwright.mta.admission import Admission
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.door import DoorPorts
from mailwright.mta.submission.listener import Listener
from mailwright.mta.submission.spool import Spools
from mailwright.queue.book import LineBook
from mailwright.store.health import Reserve


@dataclass(slots=True)
class Doors:
    """What takes mail in."""

    listeners: Sequence[Listener]
    api: ApiServer
    admission: Admission
    api_limits: ApiLimits
    campaigns: CampaignDoors


def doors_of(
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
    """Put together what takes mail in.

    Raises:
        OSError, ssl.SSLError: a certificate cannot be read.
    """
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
