"""What each room is told, taken from the node's settings. Pure but for certificates."""

import ssl
from typing import Final

from mailwright.api.ports import ApiLimits
from mailwright.config.listener import ListenerTls, SmtpListener
from mailwright.config.node import NodeSettings
from mailwright.mta.admission import AdmissionLimits
from mailwright.mta.dialing import DialSettings
from mailwright.mta.smtp.client import Timeouts
from mailwright.mta.submission.settings import DoorSettings
from mailwright.queue.bounds import SchedulerSettings
from mailwright.queue.intake import IntakeSettings
from mailwright.queue.reporting import ReportSettings

#: Lanes at once, 4 KB each, or twice as many as connections if these are more; lines
#: beyond wait for one to go away.
LANES_MAX: Final = 5_000


def retry_ladder(settings: NodeSettings) -> tuple[float, ...]:
    """Return the seconds between attempts."""
    return tuple(each.total_seconds() for each in settings.delivery.retry)


def scheduler_settings(settings: NodeSettings) -> SchedulerSettings:
    """Return the bounds of the scheduler."""
    delivery = settings.delivery
    return SchedulerSettings(
        delivery.connections,
        max(LANES_MAX, 2 * delivery.connections),
        retry_ladder(settings),
        delivery.idle_connection.total_seconds(),
    )


def intake_settings(settings: NodeSettings) -> IntakeSettings:
    """Return the times of acceptance."""
    return IntakeSettings(
        settings.limits.patience,
        settings.delivery.expires_after_transactional,
        settings.delivery.expires_after_bulk,
    )


def report_settings(settings: NodeSettings) -> ReportSettings:
    """Return what DSNs are made with."""
    delivery = settings.delivery
    return ReportSettings(
        settings.hostname,
        max(delivery.expires_after_transactional, delivery.expires_after_bulk),
    )


def dial_settings(settings: NodeSettings) -> DialSettings:
    """Return the bounds of dialling."""
    limits = settings.delivery.timeouts
    return DialSettings(
        connect_s=limits.connect.total_seconds(),
        tls_s=limits.tls.total_seconds(),
        smtp=Timeouts(
            banner_s=limits.banner.total_seconds(),
            hello_s=limits.ehlo.total_seconds(),
            mail_s=limits.mail.total_seconds(),
            rcpt_s=limits.rcpt.total_seconds(),
            data_s=limits.data.total_seconds(),
            block_s=limits.block.total_seconds(),
            dot_s=limits.dot.total_seconds(),
        ),
    )


def admission_limits(settings: NodeSettings) -> AdmissionLimits:
    """Return what a message may be."""
    limits = settings.limits
    return AdmissionLimits(limits.max_message, limits.max_header)


def api_limits(settings: NodeSettings) -> ApiLimits:
    """Return how much the API takes."""
    # JSON carries attachments in base64, as the message does, and names beside them.
    limits = settings.limits
    return ApiLimits(limits.max_message * 3 // 2, limits.max_recipients)


def door_settings(settings: NodeSettings, listener: SmtpListener) -> DoorSettings:
    """Return how one listener behaves; reads its certificate.

    Raises:
        OSError, ssl.SSLError: the certificate cannot be read.
    """
    limits = settings.limits
    return DoorSettings(
        host=listener.listen.host,
        port=listener.listen.port,
        hostname=settings.greeting_name(listener),
        tls=load_server_context(listener),
        is_implicit_tls=listener.tls is ListenerTls.IMPLICIT,
        allows_clear_auth=listener.tls is ListenerTls.NONE and listener.has_auth,
        networks=tuple(listener.networks),
        network_credential=listener.credential or "",
        max_message_octets=limits.max_message,
        max_header_octets=limits.max_header,
        max_recipients=limits.max_recipients,
        max_connections=limits.connections,
        max_connections_per_ip=limits.connections_per_ip,
        max_errors=limits.errors,
        max_commands=limits.commands,
    )


def load_server_context(listener: SmtpListener) -> ssl.SSLContext | None:
    """Return the TLS of a listener from its files, or ``None`` where it has none."""
    if listener.tls is ListenerTls.NONE or listener.certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(listener.certificate_file, listener.key_file)
    return context
