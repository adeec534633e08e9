"""Which lines and deliveries an operation is for. Values in, values out.

Every part that is given must hold. A selection that names nothing is refused wherever one
is taken: nobody cancels everything by leaving out a word. Only a stop can be for all
mail, and says so: :data:`EVERYTHING`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from mailwright.errors import MailwrightError
from mailwright.ids import (
    CampaignId,
    DeliveryId,
    LineId,
    MessageId,
    PoolId,
    StreamId,
    TenantId,
)
from mailwright.queue.line import Line


class SelectionError(MailwrightError):
    """A selection does not fit the operation; the text says why, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What an operation is for.

    Attributes:
        domain: of the recipients, canonical.
        provider: of the site where the domain's mail goes.
        accepted_on: the UTC day in the public id of ``message`` or ``delivery``, in ISO
            form; an id with another day names nothing.
        everything: all mail of all tenants; then nothing else is given.
    """

    tenant: TenantId | None = None
    stream: StreamId | None = None
    campaign: CampaignId | None = None
    domain: str | None = None
    provider: str | None = None
    pool: PoolId | None = None
    line: LineId | None = None
    message: MessageId | None = None
    delivery: DeliveryId | None = None
    everything: bool | None = None
    accepted_on: str | None = None

    def __post_init__(self) -> None:
        if self.everything and len(self.to_scope()) > 1:
            raise SelectionError("everything leaves nothing to be named beside it")

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing."""
        return not self.to_scope()

    @property
    def names_deliveries(self) -> bool:
        """Whether it names a message or a delivery rather than lines."""
        return self.message is not None or self.delivery is not None

    def matches(self, line: Line, provider: str | None) -> bool:
        """Whether ``line`` is of it; ``provider`` is ``None`` while it is not known.

        Looks at what the line knows; a message or a delivery is not looked for.
        """
        key = line.key
        return (
            self.tenant in {None, key.tenant}
            and self.stream in {None, key.stream}
            and self.campaign in {None, key.campaign}
            and self.domain in {None, key.domain}
            and self.pool in {None, key.pool}
            and self.line in {None, line.id}
            and (self.provider is None or self.provider == provider)
        )

    def may_share(self, other: "Selection") -> bool:
        """Whether a delivery may be of this one and of ``other``."""
        pairs = zip(fields(self), fields(other), strict=True)
        values = ((getattr(self, a.name), getattr(other, b.name)) for a, b in pairs)
        return all(None in {mine, theirs} or mine == theirs for mine, theirs in values)

    def covers(self, other: "Selection") -> bool:
        """Whether ``other`` names all that this one does, and maybe more."""
        mine, theirs = self.to_scope(), other.to_scope()
        return mine.items() <= theirs.items()

    def to_scope(self) -> dict[str, int | str]:
        """Return the parts that are given, as ``holds.scope`` keeps them."""
        given = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in given if value is not None}

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any]) -> "Selection":
        """Return what :meth:`to_scope` wrote."""
        return cls(**scope)


#: All mail there is, and all that comes.
EVERYTHING: Final = Selection(everything=True)
