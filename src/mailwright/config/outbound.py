"""How mail leaves a node: ports, connections, retries, timeouts."""

from datetime import timedelta
from typing import Final, Self

from pydantic import model_validator

from mailwright.config.problems import Complaint
from mailwright.config.section import Count, Section, refuse, setting
from mailwright.config.units import Duration

_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class DeliveryTimeouts(Section):
    """How long a receiver may take for each step (RFC 5321 §4.5.3.2)."""

    connect: Duration = setting(
        30 * _SECOND,
        text="Until the TCP connection stands.",
        example="30s",
        live=True,
        ge=_SECOND,
    )
    banner: Duration = setting(
        5 * _MINUTE,
        text="Until the greeting.",
        example="5m",
        live=True,
        ge=_SECOND,
    )
    ehlo: Duration = setting(
        5 * _MINUTE,
        text="Until the reply to EHLO.",
        example="5m",
        live=True,
        ge=_SECOND,
    )
    tls: Duration = setting(
        _MINUTE,
        text="Until the TLS handshake is done.",
        example="1m",
        live=True,
        ge=_SECOND,
    )
    auth: Duration = setting(
        _MINUTE,
        text="Until a smarthost's reply to AUTH.",
        example="1m",
        live=True,
        ge=_SECOND,
    )
    mail: Duration = setting(
        5 * _MINUTE,
        text="Until the reply to MAIL.",
        example="5m",
        live=True,
        ge=_SECOND,
    )
    rcpt: Duration = setting(
        5 * _MINUTE,
        text="Until the reply to RCPT.",
        example="5m",
        live=True,
        ge=_SECOND,
    )
    data: Duration = setting(
        2 * _MINUTE,
        text="Until the reply to DATA.",
        example="2m",
        live=True,
        ge=_SECOND,
    )
    block: Duration = setting(
        3 * _MINUTE,
        text="Until the receiver takes the next block of the content.",
        example="3m",
        live=True,
        ge=_SECOND,
    )
    dot: Duration = setting(
        10 * _MINUTE,
        text="Until the reply to the final dot. Too short a time makes copies: the "
        "receiver may have the message already.",
        example="10m",
        live=True,
        ge=_SECOND,
    )


class DeliverySettings(Section):
    """How mail leaves."""

    smtp_port: Count = setting(
        25,
        text="Port of the receivers' MX hosts; another only to rehearse.",
        example=25,
        ge=1,
        le=65535,
    )
    connections: Count = setting(
        100,
        text="Outgoing connections at once, to all receivers together. Those whose receiver "
        "has said nothing for 10 s are counted apart, up to as many again.",
        example=100,
        unit="connections",
        live=True,
        ge=1,
        le=10_000,
    )
    idle_connection: Duration = setting(
        5 * _SECOND,
        text="How long a connection without mail is kept for the next message.",
        example="5s",
        live=True,
        le=5 * _MINUTE,
    )
    retry: tuple[Duration, ...] = setting(
        (
            5 * _MINUTE,
            15 * _MINUTE,
            30 * _MINUTE,
            _HOUR,
            2 * _HOUR,
            4 * _HOUR,
        ),
        text="Waits between the attempts of a delivery; the last one repeats until it "
        "expires. Each is spread by chance so that retries do not come in waves.",
        example=["5m", "15m", "30m", "1h", "2h", "4h"],
        live=True,
        min_length=1,
        max_length=50,
    )
    ambiguous_retry: Duration = setting(
        15 * _MINUTE,
        text="When to try again after a connection or node died while a message might "
        "already have been taken.",
        example="15m",
        live=True,
        ge=_SECOND,
    )
    expires_after_transactional: Duration = setting(
        3 * _DAY,
        text="Mail of transactional streams is given up after this, unless the message "
        "says when.",
        example="3d",
        live=True,
        ge=_MINUTE,
    )
    expires_after_bulk: Duration = setting(
        2 * _DAY,
        text="Mail of bulk streams is given up after this, unless the message says when.",
        example="2d",
        live=True,
        ge=_MINUTE,
    )
    session_processes: Count = setting(
        1,
        text="Processes that lead the sessions with receivers, and render and sign what "
        "they send, beside the node's own; each takes some 50 MB. 0: the node does it "
        "itself, at half the speed.",
        example=1,
        unit="processes",
        ge=0,
        le=64,
    )
    timeouts: DeliveryTimeouts = setting(
        DeliveryTimeouts(),
        text="How long a receiver may take for each step (RFC 5321 §4.5.3.2).",
        example={},
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse(
            [
                Complaint(
                    ("retry", index),
                    "a retry after less than a second hammers the receiver",
                    'name at least "1s"',
                )
                for index, wait in enumerate(self.retry)
                if wait < _SECOND
            ],
            "delivery",
        )
        return self
