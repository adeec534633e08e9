"""From changes of limits to the statements that make them."""

import json
from collections.abc import Mapping

from mailwright.accounts import statements
from mailwright.accounts.settings.comparison import Action, Change
from mailwright.accounts.settings.records import (
    MATCHED,
    Record,
    Ref,
    credential_ref,
    source_ref,
    stream_ref,
    tenant_ref,
)
from mailwright.config.treatment import TREATMENT_KEYS
from mailwright.store.statements import Bound, Value


def throttle_row(change: Change, record: Record, ids: Mapping[Ref, int]) -> Bound:
    """Return the statement that writes a throttle."""
    row = ids[change.ref]
    per = record.values["per"]
    assert isinstance(per, tuple)  # noqa: S101  records_of made it
    given = {key: record.values[key] for key in MATCHED}
    source, tenant, stream, credential = (
        None if given[key] is None else str(given[key]) for key in MATCHED[:4]
    )
    values: dict[str, Value] = {
        "rate": str(record.values["limit"]),
        "per": " ".join(per),
        "source": source and ids[source_ref(source)],
        "tenant": tenant and ids[tenant_ref(tenant)],
        "stream": stream and ids[stream_ref(tenant or "", stream)],
        "credential": credential and ids[credential_ref(credential)],
        **{key: _optional_text(record, key) for key in MATCHED[4:]},
        "reason": str(record.values["reason"]),
        "retired_at": None,
    }
    if change.action is not Action.ADDED:
        return statements.UPDATE_THROTTLE(row_id=row, **values)
    return statements.INSERT_THROTTLE(
        id=row,
        title=change.ref.names[0],
        name=_optional_text(record, "name"),
        **values,
    )


def provider_row(change: Change, record: Record, ids: Mapping[Ref, int]) -> Bound:
    """Return the statement that writes what operators say of a provider."""
    row = ids[change.ref]
    said = {key: record.values[key] for key in TREATMENT_KEYS}
    values: dict[str, Value] = {
        "treatment": json.dumps(
            {key: value for key, value in said.items() if value is not None}
        ),
        "reason": str(record.values["reason"]),
        "retired_at": None,
    }
    if change.action is not Action.ADDED:
        return statements.UPDATE_PROVIDER_CHANGE(row_id=row, **values)
    name = change.ref.names[0]
    return statements.INSERT_PROVIDER_CHANGE(id=row, provider=name, **values)


def _optional_text(record: Record, name: str) -> str | None:
    value = record.values[name]
    return None if value is None else str(value)
