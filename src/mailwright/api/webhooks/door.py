"""What the routes of webhooks do, tenant by tenant."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from mailwright.api.problems import FieldError, Kind, ProblemError, invalid
from mailwright.api.webhooks.book import MAX_ENDPOINTS, Book, Entry
from mailwright.api.webhooks.delivery import Delivery
from mailwright.api.webhooks.endpoint import Endpoint
from mailwright.api.webhooks.ports import EventLog, Seals
from mailwright.api.webhooks.posting import webhook_url_defect
from mailwright.api.webhooks.schedule import Result
from mailwright.api.webhooks.schemas import (
    LagOut,
    WebhookChangeIn,
    WebhookIn,
    WebhookOut,
    WebhookReplayIn,
    shown,
)
from mailwright.api.webhooks.signing import make_secret
from mailwright.api.webhooks.signing import shown as shown_secret
from mailwright.events.position import CursorError, Position
from mailwright.ids import Kind as IdKind
from mailwright.ids import TenantId, WebhookId, parse_public
from mailwright.routable import Network

_LAG_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class WebhookDoor:
    """Everything that the routes work with.

    Attributes:
        fresh_id: gives the next id of this node.
    """

    book: Book
    log: EventLog
    seals: Seals
    delivery: Delivery
    now: Callable[[], datetime]
    fresh_id: Callable[[], int]
    allowed_networks: Callable[[], Sequence[Network]]

    def entry(self, tenant: TenantId, public: str) -> Entry:
        """Return an endpoint of ``tenant``.

        Raises:
            ProblemError: it has none of this id.
        """
        ident = parse_public(public, IdKind.WEBHOOK)
        entry = None if ident is None else self.book.get(tenant, ident.number)
        if entry is None or entry.endpoint.public != public:
            raise ProblemError(Kind.NOT_FOUND, "there is no such webhook")
        return entry

    async def create(self, tenant: TenantId, sent: WebhookIn) -> tuple[WebhookOut, str]:
        """Make an endpoint; return it and its secret. Durable on return."""
        self._check_url(sent.url)
        await self._check_campaign(tenant, sent.campaign)
        types = frozenset(sent.types)
        endpoints = [each.endpoint for each in self.book.of(tenant)]
        if len(endpoints) >= MAX_ENDPOINTS:
            raise invalid(FieldError("url", f"there are {MAX_ENDPOINTS} already"))
        wanted = (sent.url, types, sent.campaign)
        if any((each.url, each.types, each.campaign) == wanted for each in endpoints):
            raise invalid(FieldError("url", "gets these events already"))
        position = sent.after
        if position is None:
            position = await self.log.end()
        else:
            _check_cursor(position)
        secret, number, now = make_secret(), WebhookId(self.fresh_id()), self.now()
        entry = await self.book.add(
            Endpoint(
                id=number,
                tenant=tenant,
                name=sent.name,
                url=sent.url,
                types=types,
                campaign=sent.campaign,
                secret=self.seals.seal(number, secret),
                created_at=now,
                position=position,
            )
        )
        return shown(entry.endpoint, now), shown_secret(secret)

    def list(self, tenant: TenantId) -> Sequence[WebhookOut]:
        """Return the endpoints of ``tenant``, the oldest first."""
        now = self.now()
        return [shown(each.endpoint, now) for each in self.book.of(tenant)]

    async def show(self, entry: Entry) -> WebhookOut:
        """Return one endpoint, with what it lags behind."""
        endpoint = entry.endpoint
        events, oldest_at = await self.log.count(
            endpoint.tenant, endpoint.wanted, after=entry.reads_after, up_to=_LAG_MAX
        )
        return shown(endpoint, self.now(), LagOut(events, oldest_at))

    async def change(self, entry: Entry, sent: WebhookChangeIn) -> None:
        """Change what is given. Other types count from where it is."""
        if sent.url is not None:
            self._check_url(sent.url)

        def changed(endpoint: Endpoint) -> Endpoint:
            found = replace(
                endpoint,
                name=endpoint.name if sent.name is None else sent.name,
                url=endpoint.url if sent.url is None else sent.url,
                types=endpoint.types if sent.types is None else frozenset(sent.types),
            )
            # A batch has a name for its events: with others it is another one.
            is_other = found.types != endpoint.types
            return replace(found, offered="") if is_other else found

        await self._done(
            self.book.change(entry, changed, is_other_course=sent.types is not None)
        )

    async def pause(self, entry: Entry) -> None:
        """Send nothing more; what happens meanwhile is sent when it is resumed."""
        await self._done(
            self.book.change(entry, lambda endpoint: endpoint.paused("by its tenant"))
        )

    async def resume(self, entry: Entry) -> None:
        """Go on, at once."""
        await self._done(self.book.change(entry, Endpoint.resumed))

    async def replay(self, entry: Entry, sent: WebhookReplayIn) -> None:
        """Read on from elsewhere; whether it is paused stays as it is."""
        if (sent.after is None) == (sent.since is None):
            raise invalid(FieldError("after", "needs this or `since`, not both"))
        if sent.since is not None:
            cursor = await self.log.since(sent.since)
        else:
            cursor = sent.after or ""
            _check_cursor(cursor)

        def moved(endpoint: Endpoint) -> Endpoint:
            elsewhere = endpoint.moved_to(cursor)
            return elsewhere.resumed() if endpoint.state.is_live else elsewhere

        await self._done(self.book.change(entry, moved, is_other_course=True))

    async def replace_secret(self, entry: Entry, keep_old_hours: int) -> str:
        """Give it a new secret and return that; durable on return."""
        secret, now = make_secret(), self.now()
        sealed = self.seals.seal(entry.endpoint.id, secret)
        until = now + timedelta(hours=keep_old_hours)

        def renewed(endpoint: Endpoint) -> Endpoint:
            return replace(
                endpoint,
                secret=sealed,
                old_secret=endpoint.secret if keep_old_hours else None,
                old_secret_until=until if keep_old_hours else None,
            )

        await self._done(self.book.change(entry, renewed))
        return shown_secret(secret)

    async def test(self, entry: Entry) -> Result:
        """Send a test event and return how it was answered."""
        if entry.is_tested:
            raise ProblemError(Kind.IN_PROGRESS, retry_after_s=5)
        entry.is_tested = True
        try:
            return await self.delivery.test(entry, self.fresh_id())
        finally:
            entry.is_tested = False

    def _check_url(self, url: str) -> None:
        defect = webhook_url_defect(url, self.allowed_networks())
        if defect:
            raise invalid(FieldError("url", defect))

    async def _check_campaign(self, tenant: TenantId, public: str | None) -> None:
        if public is not None and not await self.log.has_campaign(tenant, public):
            raise invalid(FieldError("campaign", "there is no such campaign"))

    @staticmethod
    async def _done(change: Awaitable[bool]) -> None:
        if not await change:
            raise ProblemError(Kind.NOT_FOUND, "there is no such webhook")


def _check_cursor(cursor: str) -> None:
    try:
        Position.parse(cursor)
    except CursorError as error:
        raise invalid(
            FieldError("after", "is not a cursor that we gave out")
        ) from error
