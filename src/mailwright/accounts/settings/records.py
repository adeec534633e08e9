"""The shared settings as records: one for each thing that a setup file names.

A record says what a thing is like in names and plain values, never in ids, so what a
file wants and what the database has can be compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from mailwright.accounts.directory import StreamClass
from mailwright.accounts.secret_files import SetupSecrets
from mailwright.config.problems import KeyPath
from mailwright.config.setup import SetupFile
from mailwright.config.setup_accounts import StreamKind
from mailwright.config.setup_domains import SendingDomainSection
from mailwright.config.treatment import TREATMENT_KEYS, spelled


class Kind(StrEnum):
    """What a record is about, in the order in which records are written."""

    ALLOWED_NETWORK = "allowed_network"
    TENANT = "tenant"
    SOURCE = "source"
    POOL = "pool"
    STREAM = "stream"
    CREDENTIAL = "credential"
    SENDING_DOMAIN = "sending_domain"
    DKIM_KEY = "dkim_key"
    ROUTE = "route"
    THROTTLE = "throttle"
    PROVIDER = "provider"


#: A value as TOML or JSON would give it.
Plain: TypeAlias = str | int | bool | tuple[str, ...] | Mapping[str, int] | None

#: Keys of a throttle that may have to have a certain value; those of ids first.
MATCHED: Final = (
    *("source", "tenant", "stream", "credential"),
    *("provider", "site", "domain"),
)

STREAM_CLASSES: Final = {
    StreamKind.TRANSACTIONAL.value: StreamClass.TRANSACTIONAL,
    StreamKind.BULK.value: StreamClass.BULK,
}


class Ref(NamedTuple):
    """Which thing is meant.

    Attributes:
        names: tells it from others of its kind: a name; for a stream and a sending
            domain after its tenant's, for a key the tenant, domain and selector.
    """

    kind: Kind
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """The names as people read them."""
        return "/".join(self.names)


@dataclass(frozen=True, slots=True)
class Record:
    """What a thing shall be like.

    Attributes:
        values: by the names of the setup file; every key of its kind is there.
        place: where the file says so.
        secret: the one that it shall have: SHA-256 of a credential's, PKCS#8 DER of a
            key, a route's password. ``None``: the one that it has, if it has one.
        must_have_secret: there has to be one in the database.
    """

    values: Mapping[str, Plain]
    place: KeyPath = ()
    secret: bytes | None = field(default=None, repr=False)
    must_have_secret: bool = False


#: Everything that is wanted, or that is there.
Records: TypeAlias = Mapping[Ref, Record]


def tenant_ref(name: str) -> Ref:
    """Return the tenant ``name``."""
    return Ref(Kind.TENANT, (name,))


def pool_ref(name: str) -> Ref:
    """Return the pool ``name``."""
    return Ref(Kind.POOL, (name,))


def source_ref(name: str) -> Ref:
    """Return the source ``name``."""
    return Ref(Kind.SOURCE, (name,))


def stream_ref(tenant: str, name: str) -> Ref:
    """Return the stream ``name`` of ``tenant``."""
    return Ref(Kind.STREAM, (tenant, name))


def credential_ref(name: str) -> Ref:
    """Return the credential ``name``; names are unique among all tenants."""
    return Ref(Kind.CREDENTIAL, (name,))


def domain_ref(tenant: str, domain: str) -> Ref:
    """Return ``domain`` as a sending domain of ``tenant``."""
    return Ref(Kind.SENDING_DOMAIN, (tenant, domain))


def throttle_ref(title: str) -> Ref:
    """Return the throttle with this name, or that counts this."""
    return Ref(Kind.THROTTLE, (title,))


def provider_ref(name: str) -> Ref:
    """Return what operators say of the provider ``name``."""
    return Ref(Kind.PROVIDER, (name,))


def records_of(setup: SetupFile, secrets: SetupSecrets) -> dict[Ref, Record]:
    """Return what ``setup`` wants, with the secrets of the files that it names."""
    found: dict[Ref, Record] = {}
    for index, network in enumerate(setup.allowed_networks):
        ref = Ref(Kind.ALLOWED_NETWORK, (str(network),))
        found[ref] = Record({}, ("allowed_networks", index))
    for index, tenant in enumerate(setup.tenant):
        found[tenant_ref(tenant.name)] = Record({}, ("tenant", index))
    found.update(_sending(setup))
    found.update(_credentials(setup, secrets))
    for index, domain in enumerate(setup.sending_domain):
        found.update(_domain(domain, ("sending_domain", index), secrets))
    for index, route in enumerate(setup.route):
        found[Ref(Kind.ROUTE, (route.domain,))] = Record(
            {
                "next_hop": str(route.next_hop),
                "pipelining": route.pipelining.value,
                "tls": route.tls.value,
                "login": route.login,
            },
            ("route", index),
            secrets.passwords.get(route.domain),
            route.password is not None,
        )
    found.update(_limits(setup))
    return found


def _sending(setup: SetupFile) -> Iterator[tuple[Ref, Record]]:
    for index, source in enumerate(setup.source):
        yield (
            source_ref(source.name),
            Record(
                {"address": source.address, "ehlo_name": source.ehlo_name},
                ("source", index),
            ),
        )
    for index, pool in enumerate(setup.pool):
        yield (
            pool_ref(pool.name),
            Record(
                {"sources": dict(pool.sources), "overflow": pool.overflow},
                ("pool", index),
            ),
        )
    for index, stream in enumerate(setup.stream):
        yield (
            stream_ref(stream.tenant, stream.name),
            Record(
                {"class": stream.kind.value, "pool": stream.pool}, ("stream", index)
            ),
        )


def _limits(setup: SetupFile) -> Iterator[tuple[Ref, Record]]:
    for index, throttle in enumerate(setup.throttle):
        values: dict[str, Plain] = {
            "name": throttle.name,
            "limit": throttle.limit,
            "per": tuple(sorted(throttle.per)),
            **dict.fromkeys(MATCHED),
            **{key.value: value for key, value in throttle.match.items()},
            "reason": throttle.reason,
        }
        yield throttle_ref(throttle.title), Record(values, ("throttle", index))
    for index, provider in enumerate(setup.provider):
        said = spelled(provider)
        values = {key: said.get(key) for key in TREATMENT_KEYS}
        record = Record(values | {"reason": provider.reason}, ("provider", index))
        yield provider_ref(provider.name), record


def _credentials(
    setup: SetupFile, secrets: SetupSecrets
) -> Iterator[tuple[Ref, Record]]:
    for index, credential in enumerate(setup.credential):
        yield (
            credential_ref(credential.name),
            Record(
                {
                    "tenant": credential.tenant,
                    "stream": credential.stream,
                    "scopes": tuple(sorted(credential.scopes)),
                    "hourly_limit": credential.hourly_limit,
                    "daily_quota": credential.daily_quota,
                    "backlog_limit": credential.backlog_limit,
                    "dsn": credential.dsn.value,
                },
                ("credential", index),
                secrets.secret_hashes.get(credential.name),
                credential.secret is not None,
            ),
        )


def _domain(
    section: SendingDomainSection, place: KeyPath, secrets: SetupSecrets
) -> Iterator[tuple[Ref, Record]]:
    ref = domain_ref(section.tenant, section.domain)
    yield (
        ref,
        Record(
            {
                "return_path_domain": section.return_path_domain,
                "proof": section.proof.value,
            },
            place,
        ),
    )
    if section.selector is not None:
        yield _key(ref, section.selector, place, secrets, is_primary=True)
    for number, extra in enumerate(section.extra_keys):
        yield _key(
            ref,
            extra.selector,
            (*place, "extra_keys", number),
            secrets,
            signs=extra.signs,
            signing_domain=extra.domain,
        )


def _key(
    domain: Ref,
    selector: str,
    place: KeyPath,
    secrets: SetupSecrets,
    *,
    is_primary: bool = False,
    signs: bool = False,
    signing_domain: str | None = None,
) -> tuple[Ref, Record]:
    given = secrets.signing_keys.get((domain.names[1], selector))
    values: dict[str, Plain] = {
        "is_primary": is_primary,
        "signs": signs,
        "domain": signing_domain or domain.names[1],
    }
    der = None if given is None else given.der
    record = Record(values, place, der, given is None)
    return Ref(Kind.DKIM_KEY, (*domain.names, selector)), record
