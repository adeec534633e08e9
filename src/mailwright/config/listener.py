"""The doors of a node: SMTP listeners and the HTTP one."""

from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Final, Self

from pydantic import AfterValidator, model_validator

from mailwright.config.problems import Complaint, WrongValueError
from mailwright.config.section import (
    FilePath,
    HostName,
    Name,
    Network,
    Section,
    refuse,
    setting,
)
from mailwright.config.units import HostPort

#: Wider networks hold strangers; a listener open to one is an open relay.
_WIDEST_OPEN_V4: Final = 8
_WIDEST_OPEN_V6: Final = 16


class ListenerTls(StrEnum):
    """How a listener does TLS."""

    NONE = "none"  # never
    STARTTLS = "starttls"  # port 587: after the command (RFC 3207)
    IMPLICIT = "implicit"  # port 465: from the first octet (RFC 8314 §3.3)


def _fixed_port(value: HostPort) -> HostPort:
    if value.port == 0 and not value.is_loopback:
        raise WrongValueError(
            "port 0 is a different port at each start",
            "name the port; only a loopback address may leave it open",
        )
    return value


Listen = Annotated[HostPort, AfterValidator(_fixed_port)]


class SmtpListener(Section):
    """A door for mail: an address and port, who may use it, and under which TLS."""

    listen: Listen = setting(
        text="Address and port to listen on.", example="0.0.0.0:587"
    )
    tls: ListenerTls = setting(
        ListenerTls.STARTTLS,
        text="none, starttls (port 587) or implicit (port 465).",
        example="starttls",
        sample=True,
    )
    certificate_file: FilePath | None = setting(
        None,
        text="PEM file with the certificate and its chain; required unless tls is none.",
        example="tls/fullchain.pem",
        live=True,
        reads=True,
        sample=True,
    )
    key_file: FilePath | None = setting(
        None,
        text="PEM file with the certificate's key; required unless tls is none.",
        example="tls/privkey.pem",
        live=True,
        reads=True,
        sample=True,
    )
    networks: tuple[Network, ...] = setting(
        (),
        text="Networks whose clients need neither AUTH nor TLS, such as the CRM's host. "
        "Their mail belongs to the listener's credential.",
        example=["10.0.5.0/24"],
    )
    credential: Name | None = setting(
        None,
        text="Credential (of the setup file) that mail from the networks belongs to.",
        example="crm",
    )
    hostname: HostName | None = setting(
        None,
        text="Name in this listener's banner; absent: the node's hostname.",
        example="smtp.example.com",
    )

    @property
    def has_auth(self) -> bool:
        """Whether AUTH is offered here: under TLS, or in clear on loopback."""
        if self.tls is not ListenerTls.NONE:
            return True
        return self.listen.is_loopback and not self.networks

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse([*self._tls_complaints(), *self._door_complaints()], "smtp")
        return self

    def _tls_complaints(self) -> list[Complaint]:
        files = {
            "certificate_file": self.certificate_file,
            "key_file": self.key_file,
        }
        if self.tls is ListenerTls.NONE:
            return [
                Complaint(
                    (key,),
                    'is given although tls = "none"',
                    'set tls = "starttls" or "implicit", or remove the key',
                )
                for key, path in files.items()
                if path is not None
            ]
        return [
            Complaint(
                (key,),
                f'is required with tls = "{self.tls}"',
                f'name the PEM file, such as {key} = "tls/{key[:-5]}.pem", or set '
                'tls = "none" on a loopback address or with networks and credential',
            )
            for key, path in files.items()
            if path is None
        ]

    def _door_complaints(self) -> list[Complaint]:
        found = []
        if self.networks and self.credential is None:
            found.append(
                Complaint(
                    ("credential",),
                    "is required with networks",
                    "name the credential that mail from these networks belongs to",
                )
            )
        if self.credential is not None and not self.networks:
            found.append(
                Complaint(
                    ("networks",),
                    "is required with credential",
                    "list the networks that need no AUTH, or remove credential",
                )
            )
        if (
            self.tls is ListenerTls.NONE
            and not self.networks
            and not self.listen.is_loopback
        ):
            found.append(
                Complaint(
                    ("tls",),
                    "passwords would cross the network in clear",
                    'set tls = "starttls" with certificate_file and key_file, listen on '
                    "127.0.0.1, or open the listener to named networks with networks "
                    "and credential",
                )
            )
        for index, network in enumerate(self.networks):
            widest = _WIDEST_OPEN_V4 if network.version == 4 else _WIDEST_OPEN_V6
            if network.prefixlen < widest:
                found.append(
                    Complaint(
                        ("networks", index),
                        f"{network} would open this listener to strangers",
                        f"name networks of /{widest} or longer prefixes",
                    )
                )
        return found


class HttpSettings(Section):
    """The operator's door: API, metrics and pages. It has no TLS of its own."""

    listen: Listen = setting(
        HostPort("127.0.0.1", 8025),
        text="Address and port of the HTTP API. Keys cross it in clear: keep it on "
        "loopback or behind a proxy that does TLS.",
        example="127.0.0.1:8025",
    )
    metrics_networks: tuple[Network, ...] = setting(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        text="Networks whose clients may read /metrics, which takes no key. What came "
        "through a proxy is refused in any case.",
        example=["127.0.0.0/8", "10.0.5.7/32"],
        max_length=1000,
    )
