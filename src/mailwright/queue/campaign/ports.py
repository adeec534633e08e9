"""What campaigns need of others, and what sealing works with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select

from mailwright.accounts.directory import Directory, Stream
from mailwright.clock import Clock
from mailwright.ids import CampaignId, StreamId, Subject
from mailwright.queue.book import LineBook
from mailwright.queue.campaign.book import CampaignBook
from mailwright.queue.campaign.job import Campaign
from mailwright.queue.campaign.storing import StoredContents
from mailwright.queue.tally import Tally
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query


class StagedRow(Protocol):
    """A row that gets a delivery, as staging gives it.

    Attributes:
        position: from 1, in the order in which rows are written.
        row: of what was uploaded, from 1.
        subject: 16 octets.
        address: canonical.
        fields: JSON object.
        metadata: JSON object.
    """

    @property
    def position(self) -> int: ...  # noqa: D102
    @property
    def row(self) -> int: ...  # noqa: D102
    @property
    def domain(self) -> str: ...  # noqa: D102
    @property
    def band(self) -> int: ...  # noqa: D102
    @property
    def timezone(self) -> str: ...  # noqa: D102
    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def subject(self) -> bytes: ...  # noqa: D102
    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def fields(self) -> bytes: ...  # noqa: D102
    @property
    def metadata(self) -> str: ...  # noqa: D102


class Reject(Protocol):
    """A row that gets none; ``outcome``: duplicate, invalid or suppressed."""

    @property
    def row(self) -> int: ...  # noqa: D102
    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def outcome(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


class Prepared(Protocol):
    """What staging made of the rows; it never changes."""

    @property
    def row_count(self) -> int:
        """How many get a delivery: positions 1 to this."""
        ...

    @property
    def reject_count(self) -> int:
        """How many do not."""
        ...

    def records(self, after: int) -> Iterator[StagedRow]:
        """Return the rows behind position ``after``."""
        ...

    def rejects(self, after: int) -> Iterator[Reject]:
        """Return the rejects behind the first ``after`` of them."""
        ...


class Staging(Protocol):
    """Where uploads lie. ``queue.campaign.staging.StagingArea``; called in threads."""

    def prepare(
        self,
        campaign: int,
        subject_of: Callable[[str], Subject],
        suppressed: Callable[[Sequence[bytes]], Mapping[bytes, str]],
        progress: Callable[[int, int], None],
    ) -> Prepared:
        """Return the rows, sorted; the same whenever it is asked for after an end."""
        ...

    def campaigns(self) -> list[int]:
        """Return those that have something here."""
        ...

    def forget(self, campaign: int) -> None:
        """Remove what was uploaded; nothing may be there."""
        ...


class SuppressedRows(Protocol):
    """Says why subjects must not be mailed. ``bounce.suppression``."""

    def suppressed_among(
        self,
        subjects: Sequence[ColumnElement[bytes]],
        tenant: ColumnElement[int],
        stream: ColumnElement[int],
        now: ColumnElement[int],
    ) -> Select[Any]:
        """Return the selection of (subject, reason, tenant, stream) of those that are.

        By the same condition as ``is_suppressed``; tenant 0 is everyone's, stream 0
        every stream's.
        """
        ...


@dataclass(frozen=True, slots=True)
class SealingPorts:
    """What :class:`Sealing` works with.

    Attributes:
        suppressed: see ``queue.campaign.suppressed``.
        is_ready: whether all that a campaign will seal lies in the staging area.
        lifetime_micros: for how long mail of a stream is tried.
    """

    store: UnitStore
    next_id: Callable[[], int]
    clock: Clock
    lines: LineBook
    campaigns: CampaignBook
    staging: Staging
    suppressed: Query
    subject_of: Callable[[str], Subject]
    directory: Callable[[], Directory]
    lifetime_micros: Callable[[Stream], int]
    tally: Tally
    is_ready: Callable[[Campaign], bool] = lambda _campaign: True


class Rates(Protocol):
    """Knows how fast campaigns go. ``queue.campaign.progress.Progress``."""

    def per_minute(self, campaign: CampaignId) -> float | None:
        """Return how many of its deliveries ended in the last minute."""
        ...


@dataclass(frozen=True, slots=True)
class JobPorts:
    """What :class:`Jobs` works with.

    Attributes:
        lifetime: for how long mail of a stream is tried.
        on_sealing: is told, on the loop, of a campaign that is to be sealed, or whose
            uploads are of no use any more.
    """

    store: UnitStore
    next_id: Callable[[], int]
    clock: Clock
    book: CampaignBook
    contents: StoredContents
    rates: Rates
    lifetime: Callable[[StreamId], timedelta]
    on_sealing: Callable[[CampaignId], None]
