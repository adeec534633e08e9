"""Renders for the API: previews, test copies, and what went out.

Implements the API's port ``Rendering`` with what sessions use, so what is shown is what is
sent.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Final, Protocol

from sqlalchemy import bindparam, select

from mailwright.accounts.directory import Directory
from mailwright.api.campaigns.ports import Unrendered, Wanted
from mailwright.api.campaigns.records import FindingOut, PreviewOut
from mailwright.api.problems import Kind, ProblemError
from mailwright.attempt import Parcel
from mailwright.ids import DeliveryId, MessageId, PublicId, SendingDomainId, TenantId
from mailwright.merge import Merge
from mailwright.mta.compose.content import parse_json_object
from mailwright.mta.compose.template import RenderError
from mailwright.mta.preparing import Keys, Preparer
from mailwright.mta.renderers import NoRendererError, Order, Renderers
from mailwright.queue.campaign.rendered import Rendered
from mailwright.queue.tables import deliveries
from mailwright.reply import Reply
from mailwright.store.json_text import to_json
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query

_SELECTOR: Final = Query(
    "selector of message",
    select(deliveries.c.selector)
    .where(deliveries.c.message == bindparam("message_id"))
    .limit(1),
)


class Sources(Protocol):
    """What messages are made from. ``queue.campaign.jobs.Jobs``."""

    async def rendered(self, tenant: TenantId, message: MessageId) -> Rendered | None:
        """Return what a message is made from; ``None``: it is not kept."""
        ...


class NodeRendering:
    """Renders in a process of its own, which the first question starts."""

    def __init__(
        self,
        sources: Sources,
        keys: Keys,
        store: UnitStore,
        directory: Callable[[], Directory],
    ) -> None:
        self._sources = sources
        self._renderers = Renderers(1)
        self._preparer = Preparer(keys, self._renderers)
        self._store = store
        self._directory = directory
        # Contents that sessions know have numbers from 1; previews count down from -1.
        self._numbers = count(-(2**32), -1)

    def close(self) -> None:
        """End the process."""
        self._renderers.close()

    async def preview(self, content: bytes, wanted: Wanted) -> PreviewOut | Unrendered:
        """Return what a recipient would see of a content's JSON.

        Raises:
            ProblemError: no process can be had.
        """
        order = self._order(content, wanted)
        try:
            shown = await asyncio.to_thread(self._renderers.preview, order)
        except RenderError as error:
            return Unrendered(error.field, error.reason)
        except NoRendererError as error:
            raise _not_now() from error
        return PreviewOut(
            subject=shown.subject,
            author=shown.author,
            html=shown.html,
            text=shown.text,
            headers=dict(shown.headers),
            octets=shown.octets,
            lint=[
                FindingOut(each.code, each.severity.value, each.where, each.text)
                for each in shown.lint
            ],
        )

    async def render(
        self, content: bytes, wanted: Wanted
    ) -> tuple[bytes, bytes] | Unrendered:
        """Return header section and body of a recipient's message.

        Raises:
            ProblemError: no process can be had.
        """
        order = self._order(content, wanted)
        try:
            (made,) = await asyncio.to_thread(self._renderers.render, [order])
        except NoRendererError as error:
            raise _not_now() from error
        if isinstance(made, RenderError):
            return Unrendered(made.field, made.reason)
        return made.header, made.body

    async def rendered(self, tenant: TenantId, ident: PublicId) -> bytes | str | None:
        """Return a message's octets as they go out, signed."""
        message = MessageId(ident.number)
        found = await self._sources.rendered(tenant, message)
        if found is None:
            return None
        if found.dated_at is None:
            return "its campaign has not started: it has no date yet"
        selector = found.selector or await self._selector(message, found.sending_domain)
        parcel = _parcel(found, message, found.dated_at, selector)
        (prepared,) = await asyncio.to_thread(
            self._preparer.prepare, [parcel], has_8bitmime=True
        )
        return prepared.text if isinstance(prepared, Reply) else prepared.content

    async def _selector(self, message: MessageId, domain: SendingDomainId) -> str:
        """Return what signs a message that is no campaign's.

        Of one whose deliveries are all final it is the key in force: the row that said
        it is gone.
        """
        (rows,) = await self._store.read(_SELECTOR(message_id=message))
        if rows:
            return str(rows[0][0])
        found = self._directory().sending_domains_by_id.get(domain)
        key = None if found is None else found.primary_key
        return "" if key is None else key.selector

    def _order(self, content: bytes, wanted: Wanted) -> Order:
        author = parse_json_object(content)["from"]["address"]
        merge = Merge(
            next(self._numbers),
            to_json(wanted.fields).encode(),
            wanted.variant,
            wanted.recipient,
            f"<{wanted.message_ident}@{author.rpartition('@')[2]}>",
        )
        return Order(content, merge, wanted.dated_at)


def _not_now() -> ProblemError:
    return ProblemError(Kind.UNAVAILABLE, "nothing can be rendered", retry_after_s=5)


def _parcel(
    found: Rendered, message: MessageId, dated_at: datetime, selector: str
) -> Parcel:
    return Parcel(
        delivery=DeliveryId(0),
        attempt=1,
        message=message,
        header=found.header,
        body=found.body,
        recipient="" if found.merge is None else found.merge.recipient,
        reverse_path="",
        accepted_at=dated_at,
        sending_domain=found.sending_domain,
        selector=selector,
        merge=found.merge,
    )
