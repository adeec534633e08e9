"""Tables of the setup file about the ways that mail takes: sources, pools, routes."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, model_validator

from mailwright.config.problems import Complaint, WrongValueError
from mailwright.config.section import (
    Count,
    FilePath,
    HostName,
    Kept,
    Name,
    RouteDomain,
    Section,
    SourceAddress,
    refuse,
    setting,
)
from mailwright.config.units import HostPort
from mailwright.site import Pipelining, TlsDemand

_MAX_WEIGHT: Final = 1_000_000


def _next_hop(value: HostPort) -> HostPort:
    if value.port == 0:
        raise WrongValueError("port 0 cannot be reached", "name the next hop's port")
    return value


class SourceSection(Section):
    """An IP address that mail is sent from, with its EHLO name."""

    name: Name = setting(text="Name of the source.", example="ip1")
    address: SourceAddress = setting(
        "",
        text="IPv4 or IPv6 address to send from; empty: the system chooses.",
        example="192.0.2.10",
        sample=True,
    )
    ehlo_name: HostName = setting(
        text="Name said in EHLO; the PTR record of the address names it and it resolves "
        "to the address.",
        example="mta1.example.com",
    )


class PoolSection(Section):
    """Weighted sources that streams send from."""

    name: Name = setting(text="Name of the pool.", example="main")
    sources: dict[Name, Count] = setting(
        text="Sources by name with their weights: one of weight 2 sends twice as much as "
        "one of weight 1.",
        example={"ip1": 1},
        min_length=1,
        max_length=1000,
    )
    overflow: Name | None = setting(
        None,
        text="Pool that takes over what this one cannot send.",
        example="spare",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse(
            [
                Complaint(
                    ("sources", name),
                    f"{weight} is not a weight",
                    f"name a whole number from 1 to {_MAX_WEIGHT}",
                )
                for name, weight in self.sources.items()
                if not 1 <= weight <= _MAX_WEIGHT
            ],
            "pool",
        )
        return self


class RouteSection(Section):
    """A next hop for a recipient domain instead of its MX."""

    domain: RouteDomain = setting(
        text='Recipient domain, or "*" for every domain without a route of its own.',
        example="*",
    )
    next_hop: Annotated[HostPort, AfterValidator(_next_hop)] = setting(
        text="Host and port that the mail goes to; a host name is looked up as an "
        "address, not as MX.",
        example="smtp.example.net:587",
    )
    pipelining: Pipelining = setting(
        Pipelining.COMMANDS,
        text="How far ahead of the replies a session writes: none, commands, or "
        "transactions (the next MAIL in the write of the final dot; fastest, for next "
        "hops that cope with it).",
        example="commands",
    )
    tls: TlsDemand = setting(
        TlsDemand.OPPORTUNISTIC,
        text="none, opportunistic (if offered), encrypted (with any certificate, or the "
        "mail waits) or required (verified, or the mail waits).",
        example="required",
    )
    login: str | None = setting(
        None,
        text="User name for AUTH; with password_file and tls required.",
        example="acme",
        min_length=1,
        max_length=255,
    )
    password_file: FilePath | None = setting(
        None,
        text="File whose first line is the password; it is sealed in the database.",
        example="secrets/smarthost",
        reads=True,
    )
    password: Kept | None = setting(
        None,
        text="kept: the password in the database stays; instead of password_file.",
        example="kept",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        found = []
        if self.password_file is not None and self.password is not None:
            found.append(
                Complaint(
                    ("password",),
                    "is given beside password_file",
                    "keep one of the two",
                )
            )
        has_password = self.password_file is not None or self.password is not None
        if (self.login is None) == has_password:
            given = "password" if self.password_file is None else "password_file"
            given, missing = (
                (given, "login") if self.login is None else ("login", "password_file")
            )
            found.append(
                Complaint(
                    (missing,), f"is required with {given}", "give both or neither"
                )
            )
        if self.login is not None and self.tls is not TlsDemand.REQUIRED:
            found.append(
                Complaint(
                    ("tls",),
                    "the password could cross the network in clear",
                    'set tls = "required"',
                )
            )
        refuse(found, "route")
        return self
