"""The node's settings file: what is true of this node only.

Everything shared by nodes (tenants, credentials, streams, pools, routes) is in the
database; :mod:`mailwright.config.setup` is how it first gets there.
"""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydantic import model_validator

from mailwright.config.listener import HttpSettings, SmtpListener
from mailwright.config.outbound import DeliverySettings
from mailwright.config.problems import Complaint, KeyPath
from mailwright.config.section import (
    Count,
    FilePath,
    Flag,
    HostName,
    Ip,
    Name,
    Section,
    refuse,
    setting,
)
from mailwright.config.units import Duration, HostPort, Octets

_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)


class LogLevel(StrEnum):
    """The least severe records that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a record is written."""

    TEXT = "text"  # for people
    JSON = "json"  # one object a line, for collectors


class LimitSettings(Section):
    """How much the doors take before they refuse."""

    max_message: Octets = setting(
        25_000_000,
        text="Largest message, as offered by SIZE (RFC 1870); more is 552 or 413.",
        example="25MB",
        live=True,
        ge=64_000,  # RFC 5321 §4.5.3.1.7
        le=1_000_000_000,
    )
    max_header: Octets = setting(
        100_000,
        text="Largest header of a message; more is 552 or 413.",
        example="100KB",
        live=True,
        ge=4_000,
        le=10_000_000,
    )
    max_recipients: Count = setting(
        1000,
        text="Recipients of one message; more get 452 (RFC 5321 §4.5.3.1.10).",
        example=1000,
        unit="recipients",
        live=True,
        ge=100,
        le=100_000,
    )
    connections: Count = setting(
        500,
        text="Incoming SMTP connections at once; more get 421.",
        example=500,
        unit="connections",
        live=True,
        ge=1,
        le=100_000,
    )
    connections_per_ip: Count = setting(
        50,
        text="Incoming SMTP connections at once from one address (IPv6: one /64).",
        example=50,
        unit="connections",
        live=True,
        ge=1,
        le=100_000,
    )
    commands: Count = setting(
        100_000,
        text="Commands in one SMTP session, then 421; a client just connects again.",
        example=100_000,
        unit="commands",
        live=True,
        ge=100,
        le=1_000_000_000,
    )
    errors: Count = setting(
        10,
        text="Refused commands in one SMTP session, then 421.",
        example=10,
        unit="errors",
        live=True,
        ge=1,
        le=1000,
    )
    patience: Duration = setting(
        _MINUTE,
        text="How long a client waits for its mail to be on disk before it gets 451.",
        example="60s",
        live=True,
        ge=_SECOND,
        le=10 * _MINUTE,  # RFC 5321 §4.5.3.2.6: the client's own patience
    )
    bodies_in_memory: Octets = setting(
        64_000_000,
        text="Bodies held in memory, for all doors and sessions together; what is over "
        "it waits or goes through files.",
        example="64MB",
        ge=1_000_000,
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        found = []
        if self.connections_per_ip > self.connections:
            found.append(
                Complaint(
                    ("connections_per_ip",),
                    f"is more than connections ({self.connections})",
                    "lower it or raise connections",
                )
            )
        if self.max_header > self.max_message:
            found.append(
                Complaint(
                    ("max_header",),
                    "is more than max_message",
                    "lower it or raise max_message",
                )
            )
        if self.max_message > self.bodies_in_memory:
            found.append(
                Complaint(
                    ("bodies_in_memory",),
                    "is less than max_message: such messages would never be taken",
                    "raise it or lower max_message",
                )
            )
        refuse(found, "limits")
        return self


class DnsSettings(Section):
    """How names are looked up."""

    nameservers: tuple[Ip, ...] = setting(
        (),
        text="Recursive resolvers; empty: those of the system. A resolver on this host "
        "is best: a mass sender asks much.",
        example=["127.0.0.1"],
        max_length=16,
    )
    port: Count = setting(53, text="Port of the resolvers.", example=53, ge=1, le=65535)
    timeout: Duration = setting(
        5 * _SECOND,
        text="How long one question may take, all resolvers together.",
        example="5s",
        ge=timedelta(milliseconds=100),
        le=_MINUTE,
    )
    cache_max: Count = setting(
        50_000,
        text="Answers that are remembered.",
        example=50_000,
        unit="answers",
        ge=100,
        le=10_000_000,
    )


class RetentionSettings(Section):
    """How long finished things are kept."""

    contents: Duration = setting(
        _DAY,
        text="Content of messages whose deliveries are all final.",
        example="24h",
        live=True,
    )
    events: Duration = setting(
        30 * _DAY,
        text="Events and outcomes; whole days are dropped.",
        example="30d",
        live=True,
        ge=_DAY,
    )


class LogSettings(Section):
    """What the node writes to standard error."""

    level: LogLevel = setting(
        LogLevel.INFO,
        text="Least severe records written: debug, info, warning or error.",
        example="info",
        live=True,
    )
    format: LogFormat = setting(
        LogFormat.TEXT,
        text="text for people, json for collectors.",
        example="json",
    )
    events_file: FilePath | None = setting(
        None,
        text="File that every event is appended to as a line of JSON, for collectors; "
        "absent: none. Rename it and send SIGHUP to rotate it.",
        example="/var/log/mailwright/events.jsonl",
    )
    events_addresses: Flag = setting(
        False,
        text="Whether the events file has the recipients' whole addresses, not only "
        "their domains.",
        example=True,
    )


class NodeSettings(Section):
    """The node's settings file."""

    name: Name = setting(
        text="Name of this node; stays with its state for ever.", example="mta1"
    )
    hostname: HostName = setting(
        text="Full name of this host in banners and Received fields; in EHLO where a "
        "source names none. Its PTR and A records should agree.",
        example="mta1.example.com",
    )
    state_dir: FilePath = setting(
        Path("/var/lib/mailwright"),
        text="Folder of the database, bodies and keys; on a local disk that keeps what "
        "was synced.",
        example="/var/lib/mailwright",
    )
    node_key_file: FilePath = setting(
        default_factory=lambda known: Path(known.get("state_dir", "")) / "node.key",
        default_text="node.key in state_dir",
        text="File of 32 octets that seals secrets in the database, made at the first "
        "start. A systemd credential named node.key comes before it.",
        example="/etc/mailwright/node.key",
    )
    bootstrap: FilePath | None = setting(
        None,
        text="Setup file that is applied when the database is empty.",
        example="setup.toml",
        sample=True,
    )
    smtp: tuple[SmtpListener, ...] = setting(
        (), text="A door for mail by SMTP; repeat it for more.", example=[], sample=True
    )
    http: HttpSettings = setting(
        HttpSettings(), text="The operator's HTTP door.", example={}
    )
    limits: LimitSettings = setting(
        LimitSettings(), text="How much the doors take before they refuse.", example={}
    )
    delivery: DeliverySettings = setting(
        DeliverySettings(), text="How mail leaves.", example={}
    )
    dns: DnsSettings = setting(
        DnsSettings(), text="How names are looked up.", example={}
    )
    retention: RetentionSettings = setting(
        RetentionSettings(), text="How long finished things are kept.", example={}
    )
    log: LogSettings = setting(
        LogSettings(), text="What the node writes to standard error.", example={}
    )

    def greeting_name(self, listener: SmtpListener) -> str:
        """Return the name in the banner of ``listener``."""
        return listener.hostname or self.hostname

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        doors: list[tuple[KeyPath, HostPort]] = [
            (("smtp", index, "listen"), each.listen)
            for index, each in enumerate(self.smtp)
        ]
        doors.append((("http", "listen"), self.http.listen))
        taken: set[HostPort] = set()
        found = []
        for key, listen in doors:
            if listen.port and listen in taken:
                found.append(
                    Complaint(
                        key,
                        f"{listen} is taken by another listener",
                        "give each listener its own address and port",
                    )
                )
            taken.add(listen)
        refuse(found, "node")
        return self
