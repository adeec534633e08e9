"""The settings as a document: what a setup file would say, without any secret.

The form is that of the setup file, as plain values; where something has a secret the
document says so (``secret = "kept"``), and applying it keeps that secret.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mailwright.accounts.settings.comparison import Action, Change
from mailwright.accounts.settings.present import Inventory
from mailwright.accounts.settings.records import Kind, Plain, Record, Ref
from mailwright.config.section import Kept
from mailwright.config.toml import format_value

_HEADING: Final = (
    "# The shared settings, for `mailwright apply`. Secrets are not in here: what has one",
    '# says "kept" and keeps it. Applying is refused if the settings changed since `base`.',
)
#: Things that a summary names of one action.
_SUMMARY_NAMES: Final = 5
_TABLES: Final = (
    Kind.TENANT,
    Kind.SOURCE,
    Kind.POOL,
    Kind.STREAM,
    Kind.CREDENTIAL,
    Kind.SENDING_DOMAIN,
    Kind.ROUTE,
    Kind.THROTTLE,
    Kind.PROVIDER,
)
#: What goes without saying: values by their names.
_IMPLIED: Final[Mapping[str, Any]] = {"reason": "", "per": ()}


def document_of(inventory: Inventory) -> dict[str, Any]:
    """Return what is in force as a document, with its version as ``base``."""
    held = {
        ref: (each.values, each.secret is not None)
        for ref, each in inventory.live().items()
    }
    return {"base": inventory.version, **_document(held)}


def document_after(
    wanted: Mapping[Ref, Record], inventory: Inventory
) -> dict[str, Any]:
    """Return the document of ``wanted``, once it is applied to ``inventory``."""
    held = {}
    for ref, record in wanted.items():
        present = inventory.items.get(ref)
        has_secret = present is not None and present.secret is not None
        held[ref] = record.values, record.secret is not None or has_secret
    return _document(held)


def plain_change(change: Change) -> dict[str, Any]:
    """Return ``change`` as JSON would have it: no secret, no id."""
    plain: dict[str, Any] = {
        "action": change.action.value,
        "kind": change.ref.kind.value,
        "name": change.ref.text,
    }
    if change.fields:
        plain["fields"] = {
            name: _new(new)
            if change.action is Action.ADDED
            else {"from": _new(old), "to": _new(new)}
            for name, (old, new) in change.fields.items()
        }
    if change.has_new_secret:
        plain["secret"] = "new"  # noqa: S105  says only that there is one
    return plain


def summary_of(changes: Sequence[Change]) -> str:
    """Return ``changes`` in one line: how many of each action, and of what."""
    parts = []
    for action in Action:
        refs = [each.ref for each in changes if each.action is action]
        if not refs:
            continue
        named = ", ".join(f"{ref.kind} {ref.text}" for ref in refs[:_SUMMARY_NAMES])
        more = len(refs) - _SUMMARY_NAMES
        parts.append(f"{action}: {named}" + (f" and {more} more" if more > 0 else ""))
    return "; ".join(parts)


def format_document(document: Mapping[str, Any]) -> str:
    """Return ``document`` as the TOML of a setup file."""
    lines = list(_HEADING)
    tables = {
        name: each
        for name, each in document.items()
        if isinstance(each, Sequence)
        and all(isinstance(item, Mapping) for item in each)
        and each
    }
    for name, value in document.items():
        if name not in tables:
            lines.append(f"{name} = {format_value(value)}")
    for name, items in tables.items():
        for item in items:
            lines += ["", f"[[{name}]]"]
            lines += (f"{key} = {format_value(each)}" for key, each in item.items())
    return "\n".join(lines) + "\n"


_Held = Mapping[Ref, tuple[Mapping[str, Plain], bool]]


def _document(held: _Held) -> dict[str, Any]:
    """Return the document of things, each with whether it has a secret."""
    by_kind: dict[Kind, list[Ref]] = {kind: [] for kind in Kind}
    for ref in sorted(held, key=lambda ref: ref.names):
        by_kind[ref.kind].append(ref)
    document: dict[str, Any] = {}
    networks = [ref.names[0] for ref in by_kind[Kind.ALLOWED_NETWORK]]
    if networks:
        document["allowed_networks"] = networks
    keys: dict[tuple[str, ...], list[Ref]] = {}
    for ref in by_kind[Kind.DKIM_KEY]:
        keys.setdefault(ref.names[:2], []).append(ref)
    for kind in _TABLES:
        items = []
        for ref in by_kind[kind]:
            item = dict(_named(ref))
            values, has_secret = held[ref]
            item |= {
                name: _new(value)
                for name, value in values.items()
                if value is not None and _IMPLIED.get(name) != value
            }
            if kind is Kind.SENDING_DOMAIN:
                item |= _keys(held, keys.get(ref.names, ()))
            elif kind is Kind.PROVIDER:
                item = _nested(item)
            elif has_secret:
                key = "secret" if kind is Kind.CREDENTIAL else "password"
                item[key] = Kept.KEPT.value
            items.append(item)
        if items:
            document[kind.value] = items
    return document


def _named(ref: Ref) -> Iterator[tuple[str, Any]]:
    match ref.kind:
        case Kind.STREAM:
            yield from zip(("tenant", "name"), ref.names, strict=True)
        case Kind.SENDING_DOMAIN:
            yield from zip(("tenant", "domain"), ref.names, strict=True)
        case Kind.ROUTE:
            yield "domain", ref.names[0]
        case Kind.THROTTLE:
            pass  # its values say its name, or all that it is known by
        case _:
            yield "name", ref.names[0]


def _nested(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``item`` with a table where its keys have a dot."""
    nested: dict[str, Any] = {}
    for key, value in item.items():
        table, dot, name = key.partition(".")
        if dot:
            nested.setdefault(table, {})[name] = value
        else:
            nested[key] = value
    return nested


def _keys(held: _Held, refs: Sequence[Ref]) -> dict[str, Any]:
    """Return what a sending domain's section says of its keys."""
    said: dict[str, Any] = {}
    extra = []
    for ref in refs:
        values, _ = held[ref]
        selector = ref.names[-1]
        if values["is_primary"]:
            said |= {"selector": selector, "key": Kept.KEPT.value}
            continue
        item = {"selector": selector, "key": Kept.KEPT.value, "signs": values["signs"]}
        if values["domain"] != ref.names[1]:
            item["domain"] = values["domain"]
        extra.append(item)
    if extra:
        said["extra_keys"] = extra
    return said


def _new(value: Plain) -> Any:
    return list(value) if isinstance(value, tuple) else value
