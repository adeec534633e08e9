"""Changes of the shared settings, each one unit of work.

A change and the row of its version commit together or not at all. The units are
conditional: when what they would change is not there (any more), nothing is written, and
:func:`took_effect` says so. After one that took effect, the node reloads its settings.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from mailwright.accounts import statements
from mailwright.accounts.directory import DsnPolicy, Scope, Stream, Tenant
from mailwright.clock import to_micros
from mailwright.ids import CredentialId, SendingDomainId
from mailwright.store.statements import Bound, Step, Unit, UnitResult

#: What ``settings_log`` keeps of a change: plain values, never a secret or its hash.
Document: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who changes the settings, why and when."""

    author: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential to create.

    Attributes:
        secret_hash: SHA-256 of its secret; ``None`` when only listeners that are open
            to named networks use it.
    """

    id: CredentialId
    tenant: Tenant
    stream: Stream
    name: str
    scopes: frozenset[Scope]
    secret_hash: bytes | None = field(repr=False)


def version_row(by: Authorship, document: Document) -> Bound:
    """Return the statement that writes the next version."""
    return statements.INSERT_VERSION(
        at=to_micros(by.at),
        author=by.author,
        reason=by.reason,
        document=json.dumps(document, ensure_ascii=False, sort_keys=True),
    )


def create_credential(new: NewCredential, by: Authorship) -> Unit:
    """Return the unit that creates ``new``.

    No effect when its stream is not a live one of its tenant. The store refuses it with
    ``StoreConflictError`` when the name was ever used: a retired credential keeps its
    name, so that the name in an old event means one credential.
    """
    document = {
        "credential created": {
            "name": new.name,
            "tenant": new.tenant.name,
            "stream": new.stream.name,
            "scopes": sorted(new.scopes),
            "has_secret": new.secret_hash is not None,
        }
    }
    row = statements.INSERT_CREDENTIAL(
        id=new.id,
        tenant=new.tenant.id,
        name=new.name,
        secret_hash=new.secret_hash,
        scopes=" ".join(sorted(new.scopes)),
        stream=new.stream.id,
        hourly_limit=None,
        daily_quota=None,
        backlog_limit=None,
        dsn=DsnPolicy.ALL.value,
        created_at=to_micros(by.at),
        retired_at=None,
    )
    guard = statements.SELECT_LIVE_STREAM(stream=new.stream.id, tenant=new.tenant.id)
    return Unit((Step(guard, (row, version_row(by, document))),))


def replace_secret(name: str, secret_hash: bytes, by: Authorship) -> Unit:
    """Return the unit that gives the live credential ``name`` a new secret.

    The old secret stops working; there is no time in which both do.
    """
    return _change(
        statements.UPDATE_SECRET_HASH(credential_name=name, secret_hash=secret_hash),
        {"credential secret replaced": {"name": name}},
        by,
    )


def retire_credential(name: str, by: Authorship) -> Unit:
    """Return the unit that retires the live credential ``name``.

    Its queued mail stays queued.
    """
    return _change(
        statements.RETIRE_CREDENTIAL(credential_name=name, at=to_micros(by.at)),
        {"credential retired": {"name": name}},
        by,
    )


def mark_proven(sending_domain: SendingDomainId, domain: str, by: Authorship) -> Unit:
    """Return the unit that makes ``sending_domain`` usable: its proof was seen."""
    return _change(
        statements.MARK_PROVEN(sending_domain=sending_domain, at=to_micros(by.at)),
        {"sending domain proven": {"domain": domain}},
        by,
    )


def took_effect(result: UnitResult) -> bool:
    """Return whether the unit of a change, which gave ``result``, changed anything."""
    return bool(result[0])


def _change(guard: Bound, document: Document, by: Authorship) -> Unit:
    return Unit((Step(guard, (version_row(by, document),)),))
