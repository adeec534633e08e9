"""What a running node takes over when its settings file is read again (SIGHUP).

Pure. A change is taken over or waits for a restart, as its key's ``live`` says. A
listener changes as a whole or not at all: what is in force is always something that
could have been loaded.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from mailwright.config.keys import Key, keys_of, plain
from mailwright.config.listener import SmtpListener
from mailwright.config.node import NodeSettings
from mailwright.config.problems import KeyPath, format_key
from mailwright.config.section import Section
from mailwright.config.toml import format_value

_S = TypeVar("_S", bound=Section)


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value differs.

    Attributes:
        key: such as ``limits.errors``.
        before: as TOML, or ``not set``.
        after: likewise.
    """

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Reload:
    """The outcome of reading the settings again.

    Attributes:
        settings: what is in force now: the old ones with ``applied`` taken over.
        applied: what was taken over, in the order of the schema.
        needs_restart: what was not, likewise.
    """

    settings: NodeSettings
    applied: tuple[Change, ...]
    needs_restart: tuple[Change, ...]


@dataclass(slots=True)
class _Ledger:
    """Where the changes found so far are written down."""

    applied: list[Change] = field(default_factory=list)
    waiting: list[Change] = field(default_factory=list)


def changes(old: NodeSettings, new: NodeSettings) -> Reload:
    """Return what of ``new`` a node that runs with ``old`` takes over."""
    ledger = _Ledger()
    settings = _merged(old, new, (), ledger)
    return Reload(settings, tuple(ledger.applied), tuple(ledger.waiting))


def _merged(old: _S, new: _S, place: KeyPath, ledger: _Ledger) -> _S:
    """Return ``old`` with the live keys of ``new``."""
    taken: dict[str, Any] = {}
    for key in keys_of(type(old)):
        before, after = getattr(old, key.attribute), getattr(new, key.attribute)
        if before == after:
            continue
        here = (*place, key.name)
        if key.table is SmtpListener and _same_doors(before, after):
            taken[key.attribute] = tuple(
                _merged_listener(*pair, (*here, index), ledger)
                for index, pair in enumerate(zip(before, after, strict=True))
            )
        elif key.table is not None and not key.is_repeated:
            taken[key.attribute] = _merged(before, after, here, ledger)
        elif key.is_live:
            taken[key.attribute] = after
            ledger.applied.append(_change(key, old, new, here))
        else:
            ledger.waiting.append(_change(key, old, new, here))
    return old.model_copy(update=taken) if taken else old


def _merged_listener(
    old: SmtpListener, new: SmtpListener, place: KeyPath, ledger: _Ledger
) -> SmtpListener:
    own = _Ledger()
    merged = _merged(old, new, place, own)
    if own.waiting:
        # A certificate for TLS that is not on yet would be half a change.
        ledger.waiting += own.waiting + own.applied
        return old
    ledger.applied += own.applied
    return merged


def _same_doors(old: tuple[SmtpListener, ...], new: tuple[SmtpListener, ...]) -> bool:
    """Whether the listeners are the same ones in the same order."""
    return [each.listen for each in old] == [each.listen for each in new]


def _change(key: Key, old: Section, new: Section, place: KeyPath) -> Change:
    before, after = (_text(plain(each)[key.name]) for each in (old, new))
    return Change(format_key(place), before, after)


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} of them"
    return "not set" if value is None else format_value(value)
