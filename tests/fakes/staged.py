"""Staging that holds its rows in memory, and campaigns that are sealed from it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from fakes.campaigns import LIFETIME, Campaigns
from fakes.queueing import POOL, make_directory, subject_of
from mailwright.accounts.directory import (
    Directory,
    Proof,
    SendingDomain,
    Stream,
    StreamClass,
)
from mailwright.bounce import suppression
from mailwright.ids import SendingDomainId, StreamId, TenantId
from mailwright.queue.book import LineBook
from mailwright.queue.campaign.ports import SealingPorts
from mailwright.queue.campaign.sealing import Sealing
from mailwright.queue.campaign.suppressed import suppressed_query
from mailwright.queue.tally import Tally

MICROSECOND = timedelta(microseconds=1)


class Staged(NamedTuple):
    position: int
    row: int
    domain: str
    band: int
    timezone: str
    variant: str
    subject: bytes
    address: str
    fields: bytes
    metadata: str


class Rejected(NamedTuple):
    row: int
    address: str
    outcome: str
    reason: str


@dataclass
class InMemory:
    """What staging made of the rows."""

    rows: list[Staged]
    refused: list[Rejected]

    @property
    def row_count(self) -> int:
        return len(self.rows)

    @property
    def reject_count(self) -> int:
        return len(self.refused)

    def records(self, after: int) -> Iterator[Staged]:
        return iter(self.rows[after:])

    def rejects(self, after: int) -> Iterator[Rejected]:
        return iter(self.refused[after:])


@dataclass
class MemoryStaging:
    """Rows by campaign: addresses, invalid ones with a space in them."""

    uploaded: dict[int, list[str]] = field(default_factory=dict)
    prepared: dict[int, InMemory] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)

    def prepare(
        self,
        campaign: int,
        subject_of: Callable[[str], bytes],
        suppressed: Callable[[Sequence[bytes]], Mapping[bytes, str]],
        progress: Callable[[int, int], None],
    ) -> InMemory:
        if campaign not in self.prepared:
            self.prepared[campaign] = self._prepare(
                self.uploaded.get(campaign, []), subject_of, suppressed
            )
            progress(1, 1)
        return self.prepared[campaign]

    def campaigns(self) -> list[int]:
        return sorted({*self.uploaded, *self.prepared})

    def forget(self, campaign: int) -> None:
        self.forgotten.append(campaign)
        self.uploaded.pop(campaign, None)
        self.prepared.pop(campaign, None)

    def _prepare(self, addresses, subject_of, suppressed) -> InMemory:
        subjects: dict[bytes, tuple[int, str]] = {}
        refused = []
        for row, address in enumerate(addresses, 1):
            if " " in address:
                refused.append(Rejected(row, address, "invalid", "not an address"))
            elif subject_of(address) in subjects:
                refused.append(Rejected(row, address, "duplicate", ""))
            else:
                subjects[subject_of(address)] = row, address
        for subject, reason in suppressed(sorted(subjects)).items():
            row, address = subjects.pop(subject)
            refused.append(Rejected(row, address, "suppressed", reason))
        kept = sorted(
            (address.partition("@")[2], row, subject, address)
            for subject, (row, address) in subjects.items()
        )
        rows = [
            Staged(
                *(position, row, domain, row % 8, "UTC" if row % 2 else "", "b"),
                *(subject, address, b'{"row":%d}' % row, '{"k":"v"}'),
            )
            for position, (domain, row, subject, address) in enumerate(kept, 1)
        ]
        return InMemory(rows, refused)


def campaign_directory() -> Directory:
    from dataclasses import replace

    tenant, stream = TenantId(1), StreamId(1)
    domain = SendingDomain(
        *(SendingDomainId(1), tenant, "example.com", "b.example.com"),
        *(Proof.OPERATOR, True, ()),
    )
    return replace(
        make_directory(),
        streams={stream: Stream(stream, tenant, "news", StreamClass.BULK, POOL)},
        sending_domains_by_id={domain.id: domain},
    )


def sealing_of(
    campaigns: Campaigns, lines: LineBook, staging: MemoryStaging, next_id
) -> Sealing:
    sealing = Sealing(
        SealingPorts(
            store=campaigns.store,
            next_id=next_id,
            clock=campaigns.clock,
            lines=lines,
            campaigns=campaigns.book,
            staging=staging,
            suppressed=suppressed_query(suppression),
            subject_of=subject_of,
            directory=campaign_directory,
            lifetime_micros=lambda stream: LIFETIME // MICROSECOND,
            tally=Tally(),
        )
    )
    campaigns.on_sealing(sealing.begin)
    return sealing
