"""Events as tenants read them: the log, joined with what is known of each delivery.

Reads a page of the log, then all that belongs to it in one more snapshot, by the batch.
What is not kept any more (an erased address, a message past its retention) is left out.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Protocol

from mailwright.accounts.directory import Directory
from mailwright.api.ports import EventFilter, EventPage, EventRecord
from mailwright.clock import from_micros
from mailwright.events.following import Condition, EventRows, Filter, read_after
from mailwright.events.log import Event, masked
from mailwright.ids import (
    CampaignId,
    Kind,
    MessageId,
    SourceId,
    Subject,
    TenantId,
    format_public,
)
from mailwright.queue.event_labels import (
    final_recipients,
    labels_of_campaigns,
    labels_of_messages,
    may_have_tag,
    open_recipients,
    tag_pattern,
)


class DayRows(EventRows, Protocol):
    """Where events and what belongs to them are read from; the store."""

    def days(self) -> list[date]:
        """Return the days that have tables."""
        ...


@dataclass(frozen=True, slots=True)
class Campaign:
    """What a campaign gives to its events."""

    public: str
    tags: tuple[str, ...]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Joined:
    """What belongs to events, by the numbers in them.

    Attributes:
        recipients: by delivery.
        replies: the last word of the receiver, by delivery, as it was said.
        labels: tags and metadata, by message.
    """

    recipients: Mapping[int, str] = field(default_factory=dict)
    replies: Mapping[int, str] = field(default_factory=dict)
    labels: Mapping[int, tuple[list[str], dict[str, str]]] = field(default_factory=dict)
    campaigns: Mapping[int, Campaign] = field(default_factory=dict)

    def record(self, event: Event, directory: Directory) -> EventRecord:
        """Return ``event`` as it is shown; sources by their names."""
        about = event.about
        accepted_at = datetime.combine(about.accepted_on, time(), UTC)
        campaign = self.campaigns.get(about.campaign or 0)
        tags, metadata = self.labels.get(about.message, ([], {}))
        if campaign is not None:
            tags = [
                *campaign.tags,
                *(each for each in tags if each not in campaign.tags),
            ]
            metadata = {**campaign.metadata, **metadata}
        return EventRecord(
            event.id,
            event.at,
            event.type,
            format_public(Kind.MESSAGE, accepted_at, about.message),
            format_public(Kind.DELIVERY, accepted_at, about.delivery),
            self.recipients.get(about.delivery),
            _named(self._data(event), directory),
            None if campaign is None else campaign.public,
            tags,
            metadata,
        )

    def _data(self, event: Event) -> Mapping[str, object]:
        """Return what the event says, with the reply unmasked where it is still kept."""
        said, kept = event.data.get("text"), self.replies.get(event.about.delivery)
        if kept is None or said == kept or said != masked(kept):
            return event.data
        return {**event.data, "text": kept}


def _named(data: Mapping[str, object], directory: Directory) -> Mapping[str, object]:
    number = data.get("source")
    if not isinstance(number, int):
        return data
    source = directory.sources.get(SourceId(number))
    return {**data, "source": "" if source is None else source.name}


async def join(
    store: EventRows, events: Sequence[Event], days: Sequence[date]
) -> Joined:
    """Return what belongs to ``events``, from one snapshot; ``days`` have tables."""
    by_day: dict[date, set[int]] = defaultdict(set)
    for event in events:
        by_day[event.about.accepted_on].add(event.about.delivery)
    deliveries = {each for found in by_day.values() for each in found}
    questions = [
        open_recipients(deliveries),
        [
            bound
            for day in sorted(by_day.keys() & set(days))
            for bound in final_recipients(day, by_day[day])
        ],
        labels_of_messages({event.about.message for event in events}),
        labels_of_campaigns(
            {each for event in events if (each := event.about.campaign) is not None}
        ),
    ]
    results = iter(await store.read(*(each for group in questions for each in group)))
    opened, final, labels, campaigns = (
        [row for _ in group for row in next(results)] for group in questions
    )
    return Joined(
        {**dict(opened), **{row[0]: row[1] for row in final}},
        {row[0]: row[2] for row in final},
        {
            row[0]: (
                json.loads(row[1]),
                json.loads(row[2]) | json.loads(row[3] or "{}"),
            )
            for row in labels
        },
        {
            row[0]: Campaign(
                format_public(Kind.CAMPAIGN, from_micros(row[1]), row[0]),
                tuple(json.loads(row[2])),
                json.loads(row[3]),
            )
            for row in campaigns
        },
    )


async def recipients_of(
    store: EventRows, events: Sequence[Event], days: Sequence[date]
) -> Mapping[int, str]:
    """Return the address of each event's delivery, by id, where it is still known."""
    return (await join(store, events, days)).recipients


class EventReading:
    """Reads the events of tenants."""

    def __init__(
        self,
        store: DayRows,
        subject_of: Callable[[str], Subject],
        directory: Callable[[], Directory],
    ) -> None:
        """``subject_of`` gives the subject of a canonical address."""
        self._store = store
        self._subject_of = subject_of
        self._directory = directory

    def filter_of(self, tenant: TenantId, wanted: EventFilter) -> Filter:
        """Return what ``wanted`` is in the log."""
        message, campaign = wanted.message, wanted.campaign
        return Filter(
            tenant,
            frozenset(wanted.types),
            None if message is None else MessageId(message.number),
            None if campaign is None else CampaignId(campaign.number),
            None if wanted.recipient is None else self._subject_of(wanted.recipient),
            None
            if wanted.tag is None
            else Condition(may_have_tag, {"tag": tag_pattern(wanted.tag)}),
        )

    async def events(
        self, tenant: TenantId, wanted: EventFilter, *, after: str, limit: int
    ) -> EventPage:
        """Return up to ``limit`` events after a cursor.

        Raises:
            CursorError: ``after`` is no cursor that we gave out.
        """
        days = self._store.days()
        page = await read_after(
            self._store, after, self.filter_of(tenant, wanted), limit=limit, days=days
        )
        records = await self.records(page.events)
        return EventPage(
            [each for each in records if wanted.tag is None or wanted.tag in each.tags],
            page.cursor,
            not page.is_end,
        )

    async def records(self, events: Sequence[Event]) -> Sequence[EventRecord]:
        """Return ``events`` as they are shown, in their order."""
        joined = await join(self._store, events, self._store.days())
        directory = self._directory()
        return [joined.record(event, directory) for event in events]
