"""Creating, rotating and revoking credentials: requests become changes. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mailwright.accounts.authentication import CREDENTIAL_NAME
from mailwright.accounts.directory import DsnPolicy, Scope
from mailwright.accounts.settings.comparison import Action, Change
from mailwright.accounts.settings.present import Inventory, Present
from mailwright.accounts.settings.records import (
    Kind,
    Plain,
    Record,
    Ref,
    credential_ref,
)
from mailwright.config.nearest import did_you_mean
from mailwright.errors import MailwrightError

DEFAULT_SCOPES: Final = (Scope.SEND, Scope.CONTROL, Scope.READ)


class CredentialError(MailwrightError):
    """A request about a credential that cannot be met; the text says what would do.

    Attributes:
        field: of the request that is at fault.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """A credential to create, as somebody asked for it."""

    name: str
    tenant: str = ""
    stream: str = ""
    scopes: Sequence[str] = DEFAULT_SCOPES
    hourly_limit: int | None = None
    daily_quota: int | None = None
    backlog_limit: int | None = None
    dsn: str | None = None

    @property
    def is_bare(self) -> bool:
        """Whether it asks for nothing but a secret."""
        asked = (
            *(self.tenant, self.stream, self.hourly_limit, self.daily_quota),
            *(self.backlog_limit, self.dsn),
        )
        return not any(asked)


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential for people.

    Attributes:
        has_secret: without one only listeners that are open to named networks use it.
    """

    name: str
    tenant: str
    stream: str
    scopes: Sequence[str]
    has_secret: bool
    hourly_limit: int | None = None
    daily_quota: int | None = None
    backlog_limit: int | None = None


#: What is wanted afterwards, and what changes.
Planned = tuple[Mapping[Ref, Record], tuple[Change, ...]]


def credential_rows(inventory: Inventory) -> list[CredentialRow]:
    """Return the credentials in force, by name."""
    return [
        _row(ref.names[0], each)
        for ref, each in sorted(inventory.live().items())
        if ref.kind is Kind.CREDENTIAL
    ]


def check_name(name: str) -> None:
    """Check that ``name`` is one that a credential can have.

    Raises:
        CredentialError: it is not.
    """
    if CREDENTIAL_NAME.fullmatch(name) is None:
        raise CredentialError(
            "name",
            "a name is up to 63 of a–z, 0–9, dot, hyphen and underscore, with a letter "
            "or digit at both ends",
        )


def new_credential(
    inventory: Inventory, request: CredentialRequest, secret_hash: bytes
) -> Planned:
    """Return the plan that creates a credential.

    One that a setup file made without a secret, and of which no more is asked, gets its
    first secret.

    Raises:
        CredentialError: the request names something that is not there, or a name that
            was ever used: the name in an old event means one credential.
    """
    check_name(request.name)
    ref = credential_ref(request.name)
    present = inventory.items.get(ref)
    if present is not None:
        is_bare = not present.is_retired and present.secret is None
        if is_bare and request.is_bare:
            return rotation(inventory, request.name, secret_hash)
        raise CredentialError("name", f"{request.name}: {_advice(present)}")
    tenants = _names(inventory, Kind.TENANT)
    _look_up("tenant", request.tenant, tenants, "there is no tenant")
    streams = [
        names[1]
        for kind, names in inventory.live()
        if kind is Kind.STREAM and names[0] == request.tenant
    ]
    missing = f"tenant {request.tenant} has no stream"
    _look_up("stream", request.stream, streams, missing)
    values: dict[str, Plain] = {
        "tenant": request.tenant,
        "stream": request.stream,
        "scopes": _scopes(request.scopes),
        "hourly_limit": request.hourly_limit,
        "daily_quota": request.daily_quota,
        "backlog_limit": request.backlog_limit,
        "dsn": _dsn(request.dsn),
    }
    fields = {name: (None, value) for name, value in values.items()}
    wanted = {**inventory.wanted(), ref: Record(values, secret=secret_hash)}
    return wanted, (Change(Action.ADDED, ref, fields, has_new_secret=True),)


def rotation(inventory: Inventory, name: str, secret_hash: bytes) -> Planned:
    """Return the plan that gives the credential ``name`` a new secret.

    Raises:
        CredentialError: there is none.
    """
    ref = _existing(inventory, name)
    wanted = inventory.wanted()
    wanted[ref] = replace(wanted[ref], secret=secret_hash)
    return wanted, (Change(Action.CHANGED, ref, has_new_secret=True),)


def revocation(inventory: Inventory, name: str) -> Planned:
    """Return the plan that retires the credential ``name`` for good.

    Throttles for its mail alone go with it: a file could not name it any more.

    Raises:
        CredentialError: there is none.
    """
    ref = _existing(inventory, name)
    wanted = inventory.wanted()
    throttles = [
        each
        for each, record in wanted.items()
        if each.kind is Kind.THROTTLE and record.values["credential"] == name
    ]
    for each in (ref, *throttles):
        del wanted[each]
    changes = (Change(Action.RETIRED, each) for each in throttles)
    return wanted, (Change(Action.REVOKED, ref), *changes)


def _existing(inventory: Inventory, name: str) -> Ref:
    ref = credential_ref(name)
    if ref not in inventory.live():
        hint = did_you_mean(name, _names(inventory, Kind.CREDENTIAL))
        raise CredentialError(
            "name",
            f"there is no credential {name!r}; {hint or 'see: mailwright key list'}",
        )
    return ref


def _advice(present: Present) -> str:
    if present.is_revoked:
        return "it was revoked, and a revoked name is not used again; choose another"
    if present.is_retired:
        return "it was retired; bring it back with mailwright apply, or choose another"
    return "it exists; for a new secret add --rotate"


def _look_up(field: str, name: str, known: Sequence[str], missing: str) -> None:
    listed = f"there are: {_listed(known)}"
    if not name:
        raise CredentialError(field, f"add --{field}; {listed}")
    if name not in known:
        hint = did_you_mean(name, known) or listed
        raise CredentialError(field, f"{missing} {name!r}; {hint}")


def _scopes(wanted: Sequence[str]) -> tuple[str, ...]:
    known = [scope.value for scope in Scope]
    for name in wanted:
        if name not in known:
            raise CredentialError(
                "scopes", f"there is no scope {name!r}; there are: {_listed(known)}"
            )
    if not wanted:
        raise CredentialError(
            "scopes", f"--scopes names none; there are: {_listed(known)}"
        )
    return tuple(sorted({str(Scope(name)) for name in wanted}))


def _dsn(wanted: str | None) -> str:
    known = [policy.value for policy in DsnPolicy]
    if wanted is None:
        return DsnPolicy.ALL.value
    if wanted not in known:
        raise CredentialError("dsn", f"{wanted!r} is none of: {_listed(known)}")
    return wanted


def _names(inventory: Inventory, kind: Kind) -> list[str]:
    return [ref.names[0] for ref in inventory.live() if ref.kind is kind]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _row(name: str, present: Present) -> CredentialRow:
    values = present.values
    scopes = values["scopes"]
    assert isinstance(scopes, tuple)  # noqa: S101  the inventory made it
    limits = {
        key: value
        for key in ("hourly_limit", "daily_quota", "backlog_limit")
        if isinstance(value := values[key], int)
    }
    return CredentialRow(
        name,
        str(values["tenant"]),
        str(values["stream"]),
        scopes,
        present.secret is not None,
        **limits,
    )
