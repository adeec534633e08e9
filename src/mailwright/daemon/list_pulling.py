"""Reads recipients from a campaign's ``list_url`` when it is started.

A campaign that was started with a list is being sealed, and its seal waits here until the
list lies in the staging area as one chunk. What is not read to its end counts for nothing:
it is read again from its beginning after a crash, and a list that cannot be read fails the
campaign with the reason; starting it tries again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

from mailwright.api.campaigns.uploads import Upload
from mailwright.api.problems import ProblemError
from mailwright.errors import MailwrightError
from mailwright.ids import CampaignId, TenantId
from mailwright.outbound_http import OutboundHttp, OutboundHttpError
from mailwright.queue.campaign.chunk_file import Chunk
from mailwright.queue.campaign.job import (
    Campaign,
    CampaignRecord,
    JobState,
    JobStateError,
)
from mailwright.queue.campaign.uploads import (
    RowFormat,
    RowFormatError,
    parse_row_format,
)
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

#: The chunk that a list becomes.
KEY: Final = "list_url"
MAX_OCTETS: Final = 4_000_000_000
WITHIN_S: Final = 3600.0
#: Lists that are read at once; others wait.
AT_ONCE: Final = 3
#: After the database failed: nothing tells us when it is well again.
AGAIN_S: Final = 5.0
_OK: Final = 200
#: Types that say nothing of rows: then the URL's ending does.
_VAGUE: Final = frozenset(
    {"", "application/octet-stream", "text/plain", "application/gzip"}
)
_ENDINGS: Final = {
    ".csv": "text/csv",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}


class ListError(MailwrightError):
    """A list cannot be read; the text says why, for its owner."""


class Jobs(Protocol):
    """Of campaigns, what a list that cannot be read needs."""

    async def fail(
        self, tenant: TenantId, campaign: CampaignId, reason: str
    ) -> CampaignRecord | None:
        """Note that its rows could not be had."""
        ...


class Staged(Protocol):
    """Where rows go. ``api.campaigns.uploads.Uploads``."""

    async def chunk(self, campaign: CampaignId, key: str) -> Chunk | None:
        """Return what is known of a chunk."""
        ...

    async def forget(self, campaign: CampaignId) -> None:
        """Remove all chunks of a campaign."""
        ...

    async def stage(
        self, pieces: AsyncIterator[bytes], campaign: CampaignId, upload: Upload
    ) -> Chunk:
        """Return the chunk when all its rows are durable."""
        ...


class ListPulling:
    """Pulls the lists of campaigns that are being sealed."""

    def __init__(
        self,
        campaigns: Iterable[Campaign],
        jobs: Jobs,
        uploads: Staged,
        http: OutboundHttp,
        on_ready: Callable[[CampaignId], None],
    ) -> None:
        """``campaigns`` gives those that are not over, each time it is gone through.

        ``on_ready`` is told, on the loop, of each whose list lies ready.
        """
        self._campaigns = campaigns
        self._jobs = jobs
        self._uploads = uploads
        self._http = http
        self._on_ready = on_ready
        self._ready: set[CampaignId] = set()
        self._pulling: set[CampaignId] = set()
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(AT_ONCE)

    def is_ready(self, campaign: Campaign) -> bool:
        """Return whether nothing is to be read before ``campaign`` is sealed."""
        return (
            campaign.list_url is None
            or campaign.sealed_at is not None
            or campaign.id in self._ready
        )

    def wake(self) -> None:
        """Look for campaigns whose list is wanted."""
        self._wake.set()

    async def run(self) -> None:
        """Pull, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                sealing = {
                    campaign.id: campaign
                    for campaign in self._campaigns
                    if campaign.state is JobState.SEALING
                }
                self._ready &= sealing.keys()
                for campaign in sealing.values():
                    if not self.is_ready(campaign) and campaign.id not in self._pulling:
                        self._pulling.add(campaign.id)
                        tasks.create_task(self._pull(campaign), name="list")
                await self._wake.wait()

    async def _pull(self, campaign: Campaign) -> None:
        try:
            async with self._room:
                await self._have(campaign)
        except ListError as error:
            logger.warning("the list of campaign %d: %s", campaign.id, error)
            await self._fail(campaign, str(error))
        except StoreError as error:
            logger.warning("the list of campaign %d waits: %s", campaign.id, error)
            await asyncio.sleep(AGAIN_S)
        else:
            self._ready.add(campaign.id)
            self._on_ready(campaign.id)
        finally:
            self._pulling.discard(campaign.id)
            self._wake.set()

    async def _fail(self, campaign: Campaign, reason: str) -> None:
        try:
            await self._jobs.fail(campaign.tenant, campaign.id, f"list_url: {reason}")
        except JobStateError:
            return  # it was cancelled meanwhile
        except StoreError as error:
            logger.warning("campaign %d has not failed yet: %s", campaign.id, error)
            await asyncio.sleep(AGAIN_S)

    async def _have(self, campaign: Campaign) -> None:
        """Return when the list lies in the staging area.

        Raises:
            ListError: it cannot be read.
            StoreError: it cannot be kept now.
        """
        known = await self._uploads.chunk(campaign.id, KEY)
        if known is not None and known.is_finished:
            return
        if known is not None:
            # What the URL says now need not go on where it ended then.
            await self._uploads.forget(campaign.id)
        try:
            chunk = await self._pulled(campaign)
        except OutboundHttpError as error:
            raise ListError(error.reason) from error
        except RowFormatError as error:
            raise ListError(str(error)) from error
        except ProblemError as error:
            raise ListError(error.detail or error.kind.title) from error
        logger.info("the list of campaign %d: %d rows", campaign.id, chunk.rows_done)

    async def _pulled(self, campaign: Campaign) -> Chunk:
        url = campaign.list_url or ""
        async with self._http.stream(
            "GET", url, headers={"Accept-Encoding": "gzip"}, within_s=WITHIN_S
        ) as answer:
            if answer.status != _OK:
                raise ListError(f"the answer is {answer.status}, not {_OK}")
            row_format, is_gzip = format_of(url, answer.headers)
            logger.info(
                "reading the list of campaign %d, of ETag %s",
                campaign.id,
                answer.headers.get("etag", "none")[:200],
            )
            upload = Upload(KEY, row_format, is_gzip, None)
            return await self._uploads.stage(
                _limited(answer.pieces), campaign.id, upload
            )


def format_of(url: str, headers: Mapping[str, str]) -> tuple[RowFormat, bool]:
    """Return how an answer's rows are written, and whether they are packed.

    By its media type; where that says nothing, by the ending of the URL's path.

    Raises:
        RowFormatError: not in a format that we read.
    """
    path = urlsplit(url).path.lower()
    media_type = headers.get("content-type", "")
    bare = media_type.partition(";")[0].strip().lower()
    is_gzip = (
        headers.get("content-encoding", "").strip().lower() == "gzip"
        or bare == "application/gzip"
        or (path.endswith(".gz") and bare in _VAGUE)
    )
    if bare in _VAGUE:
        path = path.removesuffix(".gz")
        for ending, known in _ENDINGS.items():
            if path.endswith(ending):
                media_type = known
    return parse_row_format(media_type), is_gzip


async def _limited(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    octets = 0
    async for piece in pieces:
        octets += len(piece)
        if octets > MAX_OCTETS:
            raise ListError(f"over {MAX_OCTETS} octets")
        yield piece
