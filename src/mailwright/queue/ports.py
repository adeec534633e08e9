"""What the queue needs of other rooms; ``daemon/wiring.py`` plugs them in."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import ColumnElement

from mailwright.accounts.directory import Source
from mailwright.attempt import Attempt, Parcel, Verdict
from mailwright.ids import PoolId, SourceId
from mailwright.permit import Permit, PermitKeys
from mailwright.reply import Reply
from mailwright.report import Report
from mailwright.site import Profile, Site


class Feed(Protocol):
    """What a courier's connection takes deliveries from."""

    async def take(self, want: int) -> Sequence[Parcel]:
        """Return up to ``want`` claimed deliveries; empty: close the connection."""
        ...

    def settle(self, attempt: Attempt) -> None:
        """Report the end of an attempt."""
        ...


class Courier(Protocol):
    """Carries mail over one connection."""

    async def carry(self, site: Site, source: Source, feed: Feed) -> Reply | None:
        """Connect, carry what ``feed`` gives, and return when the connection is over.

        Every parcel taken is settled once. Returns why no connection could be had, or
        why it ended badly; ``None`` after a normal end. Raises only for bugs.
        """
        ...


class Router(Protocol):
    """Knows where a domain's mail goes."""

    async def site_of(self, domain: str) -> Site | Reply:
        """Return the site, or a local reply that says why there is none."""
        ...

    def forget(self) -> None:
        """Work every site out anew: routes or profiles changed."""
        ...


class Permits(Protocol):
    """Says how many deliveries may leave now, and from which source."""

    def has_source(self, pool: PoolId, source: SourceId) -> bool:
        """Return whether mail of ``pool`` may leave from ``source`` at all."""
        ...

    def connect(
        self,
        keys: PermitKeys,
        profile: Profile,
        now: datetime,
        source: SourceId | None = None,
    ) -> Permit:
        """Return from which source a connection may be opened, else until when not.

        ``source`` asks for that one alone. What is granted counts until
        :meth:`disconnected`.
        """
        ...

    def connected(self, keys: PermitKeys, profile: Profile, source: SourceId) -> None:
        """Note that a connection stands and asks for mail."""
        ...

    def disconnected(
        self,
        keys: PermitKeys,
        profile: Profile,
        source: SourceId,
        *,
        has_failed: bool,
    ) -> None:
        """Note that a connection is over; ``has_failed``: no mail got anywhere on it."""
        ...

    def permit(
        self,
        keys: PermitKeys,
        profile: Profile,
        now: datetime,
        want: int,
        source: SourceId,
    ) -> Permit:
        """Answer for ``want`` deliveries from ``source``."""
        ...

    def give_back(self, permit: Permit, count: int) -> None:
        """Return what was granted and did not leave."""
        ...


class Verdicts(Protocol):
    """Says what a reply means."""

    def verdict_of(self, reply: Reply) -> Verdict:
        """Return outcome and category."""
        ...


class Suppressions(Protocol):
    """Says, inside a statement, who must not be mailed."""

    def is_suppressed(
        self,
        subject: ColumnElement[bytes],
        tenant: ColumnElement[int],
        stream: ColumnElement[int],
        now: ColumnElement[int],
    ) -> ColumnElement[bool]:
        """Return the condition; see ``bounce.suppression``."""
        ...


class Budget(Protocol):
    """The octets of bodies that may be in memory at once, for all doors and sessions."""

    def try_acquire(self, octets: int) -> bool:
        """Take ``octets`` if they are there."""
        ...

    async def acquire(self, octets: int, *, within_s: float) -> bool:
        """Wait for ``octets``; false when they did not come in time."""
        ...

    def release(self, octets: int) -> None:
        """Give back what was taken."""
        ...


class Composer(Protocol):
    """Writes delivery status notifications."""

    def compose(
        self,
        report: Report,
        *,
        reporting_mta: str,
        domain: str,
        message_id: str,
        at: datetime,
    ) -> tuple[bytes, bytes]:
        """Return header section and body; see ``bounce.dsn``. Total."""
        ...
