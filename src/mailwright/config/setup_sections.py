"""The tables of the setup file, each checked on its own.

How they refer to each other is checked in :mod:`mailwright.config.setup`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from mailwright.config.problems import Complaint, WrongValueError
from mailwright.config.section import (
    Count,
    Domain,
    FilePath,
    HostName,
    Name,
    RouteDomain,
    Section,
    Selector,
    SourceAddress,
    refuse,
    setting,
)
from mailwright.config.units import HostPort
from mailwright.site import Pipelining, TlsDemand

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_MAX_WEIGHT: Final = 1_000_000
_MAX_RECIPIENTS: Final = 10**12


class StreamKind(StrEnum):
    """How a stream's mail is treated."""

    TRANSACTIONAL = "transactional"  # goes first; the recipient expects it
    BULK = "bulk"  # can be left; must be signed with an aligned key


class ScopeName(StrEnum):
    """What a credential may do."""

    SEND = "send"  # submit mail, by SMTP and HTTP
    CONTROL = "control"  # choose campaign, stream, pool and time by X-Mailwright-*
    READ = "read"  # read messages and events of its tenant
    MANAGE = "manage"  # change its tenant's settings
    OPERATE = "operate"  # see and change what all tenants share; for operators only


class Kept(StrEnum):
    """Stands where a file would name a secret: the one in the database stays."""

    KEPT = "kept"


class DsnChoice(StrEnum):
    """For which mail a submitter gets DSNs."""

    ALL = "all"
    TRANSACTIONAL = "transactional"  # mail of transactional streams only
    NONE = "none"


class ProofKind(StrEnum):
    """How a sending domain is proven."""

    DNS = "dns"  # its DKIM key is seen in DNS
    OPERATOR = "operator"  # the operator vouches for it


def _sha256(value: SecretStr) -> SecretStr:
    if not _SHA256_HEX.fullmatch(value.get_secret_value()):
        raise WrongValueError(
            "is not a SHA-256 in hex",
            "write its 64 digits of 0–9 and a–f, not the secret itself",
        )
    return value


def _next_hop(value: HostPort) -> HostPort:
    if value.port == 0:
        raise WrongValueError("port 0 cannot be reached", "name the next hop's port")
    return value


class TenantSection(Section):
    """Who owns credentials, sending domains, suppressions and quotas."""

    name: Name = setting(text="Name of the tenant.", example="acme")


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


class StreamSection(Section):
    """A kind of mail that a recipient can leave separately."""

    tenant: Name = setting(text="Tenant that it belongs to.", example="acme")
    name: Name = setting(
        text="Name of the stream, unique in its tenant.", example="receipts"
    )
    kind: StreamKind = setting(
        text="transactional (goes first) or bulk (must be signed, can be left).",
        example="transactional",
        alias="class",
    )
    pool: Name = setting(text="Pool that it sends from.", example="main")


class CredentialSection(Section):
    """An API key and SMTP login of a tenant.

    With neither ``sha256`` nor ``secret_file`` it serves listeners that are open to
    named networks, until ``mailwright key create`` gives it a secret. A file that names
    no secret takes none away.
    """

    tenant: Name = setting(text="Tenant that it belongs to.", example="acme")
    name: Name = setting(
        text="Name of the credential and SMTP login, unique among all tenants.",
        example="crm",
    )
    stream: Name = setting(
        text="Stream of its tenant for mail that names none.", example="receipts"
    )
    scopes: Annotated[
        frozenset[ScopeName], PlainSerializer(sorted, return_type=list[str])
    ] = setting(
        frozenset({ScopeName.SEND, ScopeName.CONTROL, ScopeName.READ}),
        text="What it may do: send, control (X-Mailwright-* fields), read, manage; "
        "operate is for operators, it reaches the settings of all tenants.",
        example=["send", "control", "read"],
        min_length=1,
    )
    sha256: (
        Annotated[
            SecretStr,
            AfterValidator(_sha256),
            WithJsonSchema({"type": "string", "x-kind": "64 hex digits"}),
        ]
        | None
    ) = setting(
        None,
        text="SHA-256 of its secret in hex, so that the file holds no secret.",
        example="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    )
    secret_file: FilePath | None = setting(
        None,
        text="File whose first line is its secret; instead of sha256.",
        example="secrets/crm",
        reads=True,
    )
    secret: Kept | None = setting(
        None,
        text="kept: it has a secret, which stays as it is. An export writes this, since "
        "secrets do not leave the database.",
        example="kept",
    )
    hourly_limit: Count | None = setting(
        None,
        text="Recipients an hour; what is over it is accepted and paced.",
        example=10_000,
        unit="recipients",
        ge=1,
        le=_MAX_RECIPIENTS,
    )
    daily_quota: Count | None = setting(
        None,
        text="Recipients a day; what is over it gets 452.",
        example=100_000,
        unit="recipients",
        ge=1,
        le=_MAX_RECIPIENTS,
    )
    backlog_limit: Count | None = setting(
        None,
        text="Deliveries queued at once; what is over it gets 452.",
        example=500_000,
        unit="deliveries",
        ge=1,
        le=_MAX_RECIPIENTS,
    )

    dsn: DsnChoice = setting(
        DsnChoice.ALL,
        text="Delivery status notifications to the reverse-path: for all mail, for "
        "transactional streams only, or none. NOTIFY=NEVER of a recipient always counts.",
        example="transactional",
    )

    @property
    def secret_hash(self) -> bytes | None:
        """The 32 octets of ``sha256``, if it is given."""
        return bytes.fromhex(self.sha256.get_secret_value()) if self.sha256 else None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        given = [
            name
            for name in ("sha256", "secret_file", "secret")
            if getattr(self, name) is not None
        ]
        refuse(
            [
                Complaint((each,), f"is given beside {given[0]}", "keep one of them")
                for each in given[1:]
            ],
            "credential",
        )
        return self


class DkimKeySection(Section):
    """A further DKIM key of a sending domain."""

    selector: Selector = setting(text="Selector of the key.", example="s2")
    key_file: FilePath | None = setting(
        None,
        text="PEM file of the private key (RSA of 2048 bits or more, or Ed25519).",
        example="keys/example.com.s2.pem",
        reads=True,
        sample=True,
    )
    key: Kept | None = setting(
        None,
        text="kept: the key of this selector is in the database; instead of key_file.",
        example="kept",
    )
    signs: bool = setting(
        False,
        text="Whether it makes a second signature from now on, beside the domain's own: an "
        "Ed25519 key, or a key of the infrastructure's domain.",
        example=True,
    )
    domain: Domain | None = setting(
        None,
        text="Domain of its record (d=), for a key of the infrastructure; absent: the "
        "sending domain.",
        example="mail.example.net",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse(list(_key_complaints(self.selector, self.key_file, self.key)), "key")
        return self


def _key_complaints(
    selector: str | None, key_file: Path | None, key: Kept | None
) -> Iterator[Complaint]:
    """Yield what is wrong unless a selector and one place of its key are given."""
    if key_file is not None and key is not None:
        yield Complaint(("key",), "is given beside key_file", "keep one of the two")
    given = "key" if key_file is None else "key_file"
    has_key = key_file is not None or key is not None
    if has_key and selector is None:
        yield Complaint(
            ("selector",), f"is required with {given}", "give both or neither"
        )
    if selector is not None and not has_key:
        yield Complaint(
            ("key_file",),
            "is required with selector",
            'give both or neither, or key = "kept" for the one in the database',
        )


class SendingDomainSection(Section):
    """A From domain of one tenant."""

    tenant: Name = setting(text="Tenant that it belongs to.", example="acme")
    domain: Domain = setting(text="The domain in From.", example="example.com")
    return_path_domain: Domain = setting(
        default_factory=lambda known: f"bounce.{known.get('domain')}",
        default_text='"bounce." before the domain',
        text="Domain of the reverse-path; other tenants cannot share it.",
        example="bounce.example.com",
    )
    selector: Selector | None = setting(
        None,
        text="Selector of the DKIM key that signs; with key_file.",
        example="s1",
        sample=True,
    )
    key_file: FilePath | None = setting(
        None,
        text="PEM file of the private key (RSA of 2048 bits or more, or Ed25519); it is "
        "sealed in the database and the file no longer needed.",
        example="keys/example.com.s1.pem",
        reads=True,
        sample=True,
    )
    key: Kept | None = setting(
        None,
        text="kept: the key of this selector is in the database; instead of key_file.",
        example="kept",
    )
    proof: ProofKind = setting(
        ProofKind.DNS,
        text="dns: usable once the DKIM key is seen in DNS; operator: usable at once, "
        "you vouch for it.",
        example="dns",
        sample=True,
    )
    extra_keys: tuple[DkimKeySection, ...] = setting(
        (),
        text="Further keys: kept ready, such as the next one, or signing too.",
        example=[],
        max_length=10,
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        found = list(_key_complaints(self.selector, self.key_file, self.key))
        seen = {self.selector}
        for index, key in enumerate(self.extra_keys):
            if key.selector in seen:
                found.append(
                    Complaint(
                        ("extra_keys", index, "selector"),
                        f'"{key.selector}" is used twice',
                        "give each key of a domain its own selector",
                    )
                )
            seen.add(key.selector)
        refuse(found, "sending_domain")
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
