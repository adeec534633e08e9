"""Tables of the setup file about who sends: tenants, streams, credentials."""

import re
from enum import StrEnum
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
    FilePath,
    Kept,
    Name,
    Section,
    refuse,
    setting,
)

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
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


class DsnChoice(StrEnum):
    """For which mail a submitter gets DSNs."""

    ALL = "all"
    TRANSACTIONAL = "transactional"  # mail of transactional streams only
    NONE = "none"


def _sha256(value: SecretStr) -> SecretStr:
    if not _SHA256_HEX.fullmatch(value.get_secret_value()):
        raise WrongValueError(
            "is not a SHA-256 in hex",
            "write its 64 digits of 0–9 and a–f, not the secret itself",
        )
    return value


class TenantSection(Section):
    """Who owns credentials, sending domains, suppressions and quotas."""

    name: Name = setting(text="Name of the tenant.", example="acme")


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
