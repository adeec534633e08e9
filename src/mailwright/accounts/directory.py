"""The shared settings as one immutable value, and the questions asked of it.

:class:`Directory` is read from the database once and replaced as a whole when a version
changes; look-ups are dictionary reads, so rules and drivers use it on the loop.
"""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Network, IPv6Network

from mailwright.accounts.quota import UNLIMITED, Limits
from mailwright.ids import (
    CredentialId,
    PoolId,
    SendingDomainId,
    SourceId,
    StreamId,
    TenantId,
)


class StreamClass(IntEnum):
    """How a stream's mail is treated; the number is what the database keeps."""

    TRANSACTIONAL = 0  # goes first; the recipient expects it
    BULK = 1  # can be left; must be signed with an aligned key


class Scope(StrEnum):
    """What a credential may do."""

    SEND = "send"  # submit mail, by SMTP and HTTP
    CONTROL = "control"  # choose campaign, stream, pool and time by X-Mailwright-*
    READ = "read"  # read messages and events of its tenant
    MANAGE = "manage"  # change its tenant's settings
    OPERATE = "operate"  # see and change what all tenants share


class Proof(StrEnum):
    """How a sending domain was proven."""

    DNS = "dns"  # its DKIM key was seen in DNS
    OPERATOR = "operator"  # the operator vouches for it


class DsnPolicy(StrEnum):
    """For which of a credential's mail its submitter gets DSNs."""

    ALL = "all"
    TRANSACTIONAL = "transactional"  # mail of transactional streams only
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who owns credentials, sending domains, suppressions and quotas."""

    id: TenantId
    name: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A kind of mail that a recipient can leave separately."""

    id: StreamId
    tenant: TenantId
    name: str
    stream_class: StreamClass
    pool: PoolId


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key and SMTP login.

    Attributes:
        secret_hash: SHA-256 of the secret; ``None`` when it only serves listeners that
            are open to named networks.
        stream: where its mail goes when it names none.
        dsn: for which of its mail DSNs go to the reverse-path.
        limits: how much it may submit.
    """

    id: CredentialId
    tenant: TenantId
    name: str
    secret_hash: bytes | None = field(repr=False)
    scopes: frozenset[Scope]
    stream: StreamId
    dsn: DsnPolicy = DsnPolicy.ALL
    limits: Limits = UNLIMITED


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A signing key of a sending domain; the private part stays in the key ring."""

    selector: str
    algorithm: str  # rsa-sha256 | ed25519-sha256
    is_primary: bool
    is_retired: bool
    is_revoked: bool
    sealed_key: int


@dataclass(frozen=True, slots=True)
class SendingDomain:
    """A From domain of one tenant.

    Attributes:
        domain: A-labels, lower case.
        is_proven: usable: its proof was given.
        keys: primary first.
    """

    id: SendingDomainId
    tenant: TenantId
    domain: str
    return_path_domain: str
    proof: Proof
    is_proven: bool
    keys: tuple[DkimKey, ...]

    @property
    def why_unproven(self) -> str:
        """What is missing before its mail is taken, for its owner; ``""``: nothing."""
        if self.is_proven:
            return ""
        key = self.primary_key
        if key is None:
            return f"{self.domain} is not proven and has no DKIM key yet"
        return (
            f"{self.domain} is not proven yet: publish its DKIM key as the TXT record "
            f"{key.selector}._domainkey.{self.domain}"
        )

    @property
    def primary_key(self) -> DkimKey | None:
        """The key that signs what is accepted now."""
        for key in self.keys:
            if key.is_primary and not key.is_retired and not key.is_revoked:
                return key
        return None


@dataclass(frozen=True, slots=True)
class Source:
    """A sending IP address with its EHLO name.

    Attributes:
        address: ``""`` lets the system choose (one-address hosts, tests).
    """

    id: SourceId
    name: str
    address: str
    ehlo_name: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Weighted sources. Weights are positive integers."""

    id: PoolId
    name: str
    sources: tuple[tuple[Source, int], ...]
    overflow: PoolId | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A next hop for a recipient domain instead of its MX.

    Attributes:
        domain: A-labels, or ``"*"`` for every domain that has no route of its own.
        tls: ``none | opportunistic | encrypted | required`` (required: verified).
        pipelining: ``none | commands | transactions``.
        sealed_password: id in the key ring, or ``None``.
    """

    id: int
    domain: str
    host: str
    port: int
    pipelining: str
    tls: str
    login: str
    sealed_password: int | None


@dataclass(frozen=True, slots=True)
class ThrottleRule:
    """A limit of operators on what leaves.

    Attributes:
        name: for people; ``None``: it has none.
        limit: a rate or an allowance per day, as ``config.limit`` spells it.
        per: keys by which deliveries are counted apart.
        match: keys that have to have a value; ids where the key has one.
    """

    id: int
    name: str | None
    limit: str
    per: frozenset[str]
    match: tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class Directory:
    """All shared settings of one version.

    Attributes:
        credentials: by name (the SMTP login and the id inside an API key).
        sending_domains: by domain; live ones only.
        streams_by_name: by (tenant, name).
        provider_changes: what operators say in place of shipped profiles, by provider
            and by key of a profile; see ``config.treatment``.
    """

    version: int
    tenants: Mapping[TenantId, Tenant]
    credentials: Mapping[str, Credential]
    credentials_by_id: Mapping[CredentialId, Credential]
    sending_domains: Mapping[str, SendingDomain]
    sending_domains_by_id: Mapping[SendingDomainId, SendingDomain]
    streams: Mapping[StreamId, Stream]
    streams_by_name: Mapping[tuple[TenantId, str], Stream]
    pools: Mapping[PoolId, Pool]
    pools_by_name: Mapping[str, Pool]
    sources: Mapping[SourceId, Source]
    routes: Mapping[str, Route]
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    throttles: tuple[ThrottleRule, ...] = ()
    provider_changes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    #: Which tenants' streams lead to a pool, directly or by overflow.
    _users: Mapping[PoolId, AbstractSet[TenantId]] = field(
        init=False, repr=False, compare=False
    )
    #: Whose proven sending domains and return-path domains these are.
    _owners: Mapping[str, AbstractSet[TenantId]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Turn around what tenants have, so that each question is one look-up."""
        object.__setattr__(self, "_users", _users_of_pools(self))
        object.__setattr__(self, "_owners", _owners_of_domains(self))

    def sending_domain_for(self, tenant: TenantId, domain: str) -> SendingDomain | None:
        """Return the proven sending domain ``domain`` of ``tenant``, else ``None``.

        Another tenant's domain is ``None`` too: nothing tells the two cases apart.
        """
        found = self.sending_domains.get(domain)
        if found is None or found.tenant != tenant or not found.is_proven:
            return None
        return found

    def unproven_domain_for(
        self, tenant: TenantId, domain: str
    ) -> SendingDomain | None:
        """Return ``domain`` if it is one of ``tenant`` that is not proven yet."""
        found = self.sending_domains.get(domain)
        if found is None or found.tenant != tenant or found.is_proven:
            return None
        return found

    def pool_for(self, tenant: TenantId, name: str) -> Pool | None:
        """Return the pool ``name`` if mail of ``tenant`` may choose it, else ``None``.

        A pool to which streams of other tenants alone lead is theirs, and to ``tenant``
        the same as none; one that no stream leads to is everyone's.
        """
        found = self.pools_by_name.get(name)
        if found is None or tenant not in self._users.get(found.id, {tenant}):
            return None
        return found

    def is_of_others(self, tenant: TenantId, domain: str) -> bool:
        """Whether ``domain`` is proven, or a return-path domain, of other tenants only.

        Both stand in public DNS, with records that lead to this node.
        """
        return tenant not in self._owners.get(domain, {tenant})

    def route_for(self, domain: str) -> Route | None:
        """Return the route of ``domain``, or the one for every domain, or ``None``."""
        return self.routes.get(domain) or self.routes.get("*")


def _users_of_pools(directory: Directory) -> Mapping[PoolId, AbstractSet[TenantId]]:
    users: dict[PoolId, set[TenantId]] = defaultdict(set)
    for stream in directory.streams_by_name.values():
        pool: PoolId | None = stream.pool
        while pool is not None and stream.tenant not in users[pool]:
            users[pool].add(stream.tenant)
            found = directory.pools.get(pool)
            pool = None if found is None else found.overflow
    return dict(users)


def _owners_of_domains(directory: Directory) -> Mapping[str, AbstractSet[TenantId]]:
    owners: dict[str, set[TenantId]] = defaultdict(set)
    for each in directory.sending_domains.values():
        if each.is_proven:
            owners[each.domain].add(each.tenant)
            owners[each.return_path_domain].add(each.tenant)
    return dict(owners)
