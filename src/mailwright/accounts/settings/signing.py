"""Ending a DKIM key: a request becomes changes. Pure.

A retired key signs what was accepted with it until that is final. A revoked one signs
nothing any more: the domain's signing key takes its place, and the event says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mailwright.accounts.settings.comparison import Action, Change
from mailwright.accounts.settings.present import Inventory
from mailwright.accounts.settings.records import Kind, Plain, Record, Ref
from mailwright.errors import MailwrightError


class KeyEndError(MailwrightError):
    """A key that cannot be ended as it was asked for; the text says what would do.

    Attributes:
        field: of the request that is at fault.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """Which key is to end, and how.

    Attributes:
        domain: of the sending domain, canonical.
        is_revoked: it signs nothing any more, not even what waits.
        replacement: selector of the key that signs from now on, if this one does now.
        may_leave_none: nothing need sign afterwards: bulk mail is refused and waits.
    """

    domain: str
    selector: str
    is_revoked: bool
    replacement: str | None = None
    may_leave_none: bool = False


def key_end(
    inventory: Inventory, wanted: KeyEnd
) -> tuple[Mapping[Ref, Record], tuple[Change, ...]]:
    """Return what is wanted afterwards, and the changes.

    Raises:
        KeyEndError: there is no such key, or nothing would sign in its place.
    """
    ref = _existing(inventory, wanted)
    action = Action.REVOKED if wanted.is_revoked else Action.RETIRED
    after = inventory.wanted()
    changes = [Change(action, ref)]
    signs_now = ref in after and bool(inventory.items[ref].values["is_primary"])
    if signs_now:
        successor = _successor(inventory, ref, wanted)
        if successor is not None:
            record = after[successor]
            signing: dict[str, Plain] = {"is_primary": True, "signs": False}
            fields = {
                key: (record.values[key], value)
                for key, value in signing.items()
                if record.values[key] != value
            }
            after[successor] = replace(record, values={**record.values, **signing})
            changes.append(Change(Action.CHANGED, successor, fields))
    elif wanted.replacement is not None:
        raise KeyEndError(
            "replacement",
            f"{ref.text} does not sign now, so nothing takes its place; leave the "
            "replacement out",
        )
    after.pop(ref, None)
    return after, tuple(changes)


def _existing(inventory: Inventory, wanted: KeyEnd) -> Ref:
    """Return the key that is meant; one in force before one that is not."""
    found = sorted(
        (
            (present.is_retired, ref)
            for ref, present in inventory.items.items()
            if ref.kind is Kind.DKIM_KEY
            and ref.names[1:] == (wanted.domain, wanted.selector)
            and not present.is_revoked
        ),
    )
    for is_retired, ref in found:
        # What is retired can still be revoked: mail that waits is signed with it.
        if wanted.is_revoked or not is_retired:
            return ref
    selectors = [
        ref.names[2]
        for ref in inventory.live()
        if ref.kind is Kind.DKIM_KEY and ref.names[1] == wanted.domain
    ]
    raise KeyEndError(
        "selector",
        f"{wanted.domain} has no key {wanted.selector} in force; there are: "
        f"{', '.join(sorted(selectors)) or 'none'}",
    )


def _successor(inventory: Inventory, ref: Ref, wanted: KeyEnd) -> Ref | None:
    tenant, domain, _ = ref.names
    others = {
        each.names[2]: each
        for each, present in inventory.live().items()
        if each.kind is Kind.DKIM_KEY
        and each.names[:2] == (tenant, domain)
        and each != ref
        and present.values["domain"] == domain  # aligned with From
    }
    if wanted.replacement is None and wanted.may_leave_none:
        return None
    listed = ", ".join(sorted(others)) or "none; add one to extra_keys and apply it"
    if wanted.replacement is None:
        raise KeyEndError(
            "replacement",
            f"{ref.text} signs now; name the key that takes its place. There are: "
            f"{listed}",
        )
    if wanted.replacement not in others:
        raise KeyEndError(
            "replacement",
            f"{domain} has no other key {wanted.replacement} of its own in force; "
            f"there are: {listed}",
        )
    return others[wanted.replacement]
