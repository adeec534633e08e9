"""What would have to change so that the database has what is wanted. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mailwright.accounts.settings.present import Inventory, Present
from mailwright.accounts.settings.records import Kind, Plain, Record, Records, Ref
from mailwright.config.problems import Complaint


class Action(StrEnum):
    """What happens to a thing. The value is public and never changes."""

    ADDED = "added"
    CHANGED = "changed"
    RETIRED = "retired"  # not in force any more; what queued mail needs of it stays
    RESTORED = "restored"  # brought back after it was retired
    REVOKED = "revoked"  # retired for good
    PROVEN = "proven"  # a sending domain's key was seen in DNS
    UNPROVEN = "unproven"  # it is there no longer


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        fields: old and new value of each that differs; no secret among them.
        has_new_secret: it gets another secret, or its first.
    """

    action: Action
    ref: Ref
    fields: Mapping[str, tuple[Plain, Plain]] = field(default_factory=dict)
    has_new_secret: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """What a comparison found: changes, or what stands in their way."""

    changes: tuple[Change, ...]
    complaints: tuple[Complaint, ...] = ()


#: What the file calls the place of a secret that is kept.
_SECRET_KEYS: Final = {
    Kind.CREDENTIAL: "secret",
    Kind.DKIM_KEY: "key",
    Kind.ROUTE: "password",
}
_KINDS: Final = tuple(Kind)


def compare(
    wanted: Records, inventory: Inventory, opened: Callable[[Ref, Present], bytes]
) -> Difference:
    """Return how ``wanted`` differs from what is there.

    Args:
        wanted: all that shall be in force; what is not in it is retired.
        inventory: what there is.
        opened: gives a present thing's secret in the form that records give it; called
            only where a record names a secret of its own.
    """
    changes: list[Change] = []
    complaints: list[Complaint] = []
    for ref, record in wanted.items():
        present = inventory.items.get(ref)
        complaint = _obstacle(ref, record, present)
        if complaint is not None:
            complaints.append(complaint)
            continue
        has_new_secret = record.secret is not None and (
            present is None
            or present.secret is None
            or opened(ref, present) != record.secret
        )
        if has_new_secret and present is not None and ref.kind is Kind.DKIM_KEY:
            complaints.append(_other_key(ref, record))
            continue
        changes += _changes(ref, record, present, has_new_secret=has_new_secret)
    changes += (
        Change(Action.RETIRED, ref)
        for ref, present in inventory.live().items()
        if ref not in wanted
    )
    changes.sort(key=lambda each: (_KINDS.index(each.ref.kind), each.ref.names))
    return Difference(tuple(changes), tuple(complaints))


def _changes(
    ref: Ref, record: Record, present: Present | None, *, has_new_secret: bool
) -> Iterator[Change]:
    if present is None:
        fields = {name: (None, new) for name, new in record.values.items()}
        yield Change(Action.ADDED, ref, fields, has_new_secret)
        return
    differing = {
        name: (present.values[name], new)
        for name, new in record.values.items()
        if present.values[name] != new
    }
    if present.is_retired:
        yield Change(Action.RESTORED, ref, differing, has_new_secret)
    elif differing or has_new_secret:
        yield Change(Action.CHANGED, ref, differing, has_new_secret)


def _obstacle(ref: Ref, record: Record, present: Present | None) -> Complaint | None:
    """Return why ``record`` cannot be had, whatever else is changed."""
    if record.must_have_secret and (present is None or present.secret is None):
        key = _SECRET_KEYS[ref.kind]
        return Complaint(
            (*record.place, key),
            f"there is no {key} of {ref.text} to keep",
            "give it one, or leave the line out",
        )
    if present is None:
        return None
    if ref.kind is Kind.DKIM_KEY and present.is_revoked:
        return Complaint(
            (*record.place, "selector"),
            f"the key {ref.text} was revoked, and a revoked key signs nothing again",
            "make a key with a selector of its own",
        )
    if ref.kind is not Kind.CREDENTIAL:
        return None
    if present.is_revoked:
        return Complaint(
            (*record.place, "name"),
            f"{ref.text} was revoked, and a revoked name is not used again",
            "remove it from the file; choose another name for a new credential",
        )
    if present.values["tenant"] != record.values["tenant"]:
        # Its name in the event log and on queued mail means the other tenant's.
        return Complaint(
            (*record.place, "tenant"),
            f"the name {ref.text} belongs to another tenant's credential",
            "choose another name",
        )
    return None


def _other_key(ref: Ref, record: Record) -> Complaint:
    return Complaint(
        (*record.place, "key_file"),
        f"holds another key than {ref.text} has, and mail that waits is signed with it",
        'give the new key a selector of its own; key_file may go: key = "kept"',
    )
