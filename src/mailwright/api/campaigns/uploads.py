"""Receiving recipients: a request's body goes in blocks into the staging area, in threads.

No more of a body is in memory than a block that is being staged and one that is coming;
what the client sends beyond waits in the kernel. A chunk that was not read to its end
keeps the rows that are durable: the same request again, or one that begins behind them,
goes on there. The seal waits for no upload: it is refused while one is under way.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from mailwright.api.problems import FieldError, Kind, ProblemError, invalid
from mailwright.ids import CampaignId
from mailwright.queue.campaign.chunk_file import Chunk
from mailwright.queue.campaign.chunk_writer import (
    ChunkConflictError,
    ChunkWriter,
    StagingFullError,
)
from mailwright.queue.campaign.rows import RowsError
from mailwright.queue.campaign.staging import (
    ChunkBusyError,
    StagingArea,
    StagingSealedError,
)
from mailwright.queue.campaign.uploads import (
    RowFormat,
    RowFormatError,
    parse_row_format,
)

ROWS_DONE_HEADER: Final = "Upload-Rows-Done"
_CLOSE: Final = {"Connection": "close"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How much one upload may be.

    Attributes:
        octets: of a request's body, as sent.
        block_octets: handed to the staging area at a time.
        silence_s: without an octet for so long, the client is gone.
        whole_s: of a whole upload; the client goes on with another request.
        at_once: uploads under way on the node.
    """

    octets: int = 4_000_000_000
    block_octets: int = 262_144
    silence_s: float = 60.0
    whole_s: float = 4 * 3600.0
    at_once: int = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """What a request says of its body.

    Attributes:
        continues_at: rows that are not sent again, because they are durable; ``None``:
            the body is the whole chunk.
    """

    key: str
    row_format: RowFormat
    is_gzip: bool
    continues_at: int | None


def upload_of(request: Request, key: str) -> Upload:
    """Return what the header fields of ``request`` say of the upload.

    Raises:
        ProblemError: not in a media type or coding that we read.
    """
    try:
        row_format = parse_row_format(request.headers.get("content-type", ""))
    except RowFormatError as error:
        raise ProblemError(Kind.MEDIA, str(error)) from error
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip"}:
        raise ProblemError(Kind.MEDIA, "use Content-Encoding: gzip, or none")
    done = request.headers.get(ROWS_DONE_HEADER)
    if done is not None and not (done.isascii() and done.isdigit() and len(done) < 16):
        raise invalid(FieldError(ROWS_DONE_HEADER, "needs a number of rows"))
    return Upload(
        key, row_format, coding == "gzip", None if done is None else int(done)
    )


class Uploads:
    """The uploads under way. Used on one event loop."""

    def __init__(
        self, staging: StagingArea, limits: UploadLimits = UploadLimits()
    ) -> None:
        self._staging = staging
        self._limits = limits
        self._running: dict[CampaignId, set[str]] = {}
        # Of their own: parsing rows must not keep short work from the common threads.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="staging")

    def close(self) -> None:
        """End the threads, when nothing is under way any more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def running(self, campaign: CampaignId, key: str) -> Iterator[None]:
        """Mark an upload as under way.

        Raises:
            ProblemError: it is already, or too many are.
        """
        keys = self._running.setdefault(campaign, set())
        if key in keys:
            raise ProblemError(Kind.UPLOADING, headers=_CLOSE, retry_after_s=1)
        if sum(map(len, self._running.values())) >= self._limits.at_once:
            raise ProblemError(
                Kind.TOO_MANY, "too many uploads", headers=_CLOSE, retry_after_s=5
            )
        keys.add(key)
        try:
            yield
        finally:
            keys.discard(key)
            if not keys:
                self._running.pop(campaign, None)

    async def counted(self, campaign: CampaignId) -> int:
        """Return how many good rows ``campaign`` has, when it may be sealed.

        Raises:
            ProblemError: an upload is under way, or one was not finished.
        """
        if campaign in self._running:
            raise ProblemError(Kind.UPLOADING, "an upload is in progress")
        chunks = await self.chunks(campaign)
        unfinished = sorted(each.key for each in chunks if not each.is_finished)
        if unfinished:
            named = ", ".join(unfinished[:5])
            raise ProblemError(
                Kind.UPLOADING,
                f"not finished: {named}; send the rest of it; an empty rest ends it",
            )
        return sum(each.staged for each in chunks)

    async def chunk(self, campaign: CampaignId, key: str) -> Chunk | None:
        """Return what is known of an upload."""
        return await self._worked(partial(self._staging.chunk, campaign, key))

    async def chunks(self, campaign: CampaignId) -> list[Chunk]:
        """Return all uploads of a campaign, in the order they came."""
        return list(await self._worked(partial(self._staging.chunks, campaign)))

    async def forget(self, campaign: CampaignId) -> None:
        """Remove all uploads of a campaign."""
        await self._worked(partial(self._staging.forget, campaign))

    async def receive(
        self, request: Request, campaign: CampaignId, upload: Upload
    ) -> Chunk:
        """Return the chunk when the request's rows are durable, all of them.

        Raises:
            ProblemError: they are not; what is durable of them stays.
        """
        pieces = self._pieces(request)
        try:
            return await self.stage(pieces, campaign, upload)
        except ClientDisconnect as error:
            # Nobody reads the answer; but it is no fault of ours.
            raise ProblemError(Kind.MALFORMED, "the body is incomplete") from error
        except TimeoutError as error:
            raise ProblemError(Kind.SLOW, headers=_CLOSE) from error

    async def stage(
        self, pieces: AsyncIterator[bytes], campaign: CampaignId, upload: Upload
    ) -> Chunk:
        """Do what :meth:`receive` does, with octets from elsewhere.

        Raises:
            ProblemError: rows cannot be read on, or belong to another chunk.
        """
        with self.running(campaign, upload.key):
            try:
                async with self._opened(campaign, upload) as writer:
                    await self._fed(pieces, writer)
                    return await self._worked(writer.finish)
            except ChunkBusyError as error:
                raise ProblemError(
                    Kind.UPLOADING, headers=_CLOSE, retry_after_s=1
                ) from error
            except StagingSealedError as error:
                raise ProblemError(
                    Kind.STATE, "it is sealed", headers=_CLOSE
                ) from error
            except StagingFullError as error:
                raise ProblemError(
                    Kind.TOO_LARGE, str(error), headers=_CLOSE
                ) from error
            except RowsError as error:
                raise _rows_problem(error) from error
            except ChunkConflictError as error:
                raise await self._conflict(campaign, upload, error) from error

    async def _conflict(
        self, campaign: CampaignId, upload: Upload, error: ChunkConflictError
    ) -> ProblemError:
        known = await self.chunk(campaign, upload.key)
        done = 0 if known is None else known.rows_done
        if upload.continues_at in {None, done}:
            return ProblemError(Kind.CHUNK_REUSED, str(error), headers=_CLOSE)
        return ProblemError(
            Kind.POSITION,
            f"{done} rows are done",
            headers={ROWS_DONE_HEADER: str(done), **_CLOSE},
        )

    @asynccontextmanager
    async def _opened(
        self, campaign: CampaignId, upload: Upload
    ) -> AsyncIterator[ChunkWriter]:
        writer = await self._worked(
            partial(
                self._staging.open_chunk,
                campaign,
                upload.key,
                upload.row_format,
                gzip=upload.is_gzip,
                continues_at=upload.continues_at,
            )
        )
        try:
            yield writer
        except BaseException:
            # Also when the client has gone: its rows so far stay.
            await asyncio.wait([self._begun(writer.abort)])
            raise

    async def _fed(self, pieces: AsyncIterator[bytes], writer: ChunkWriter) -> None:
        """Feed ``writer``; a block is staged while the next one comes."""
        block = bytearray()
        feeding: asyncio.Future[None] | None = None
        try:
            try:
                async for piece in pieces:
                    block += piece
                    if len(block) < self._limits.block_octets:
                        continue
                    if feeding is not None:
                        await asyncio.shield(feeding)
                    octets, block = bytes(block), bytearray()
                    feeding = self._begun(partial(writer.feed, octets))
            finally:
                # Also of a body that breaks off: what came of it is kept.
                if feeding is not None:
                    await asyncio.shield(feeding)
                if block:
                    feeding = self._begun(partial(writer.feed, bytes(block)))
                    await asyncio.shield(feeding)
        finally:
            if feeding is not None:
                # One thread at a time uses a writer, also when we are cancelled here.
                await asyncio.wait([feeding])

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        """Give a request's body as it comes, within the limits."""
        limits = self._limits
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limits.octets:
            raise _too_large(limits)
        octets = 0
        stream = request.stream()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + limits.whole_s
        while True:
            try:
                async with asyncio.timeout(
                    min(limits.silence_s, ends_at - loop.time())
                ):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            octets += len(piece)
            if octets > limits.octets:
                raise _too_large(limits)
            yield piece

    def _begun(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _worked(self, work: Callable[[], _T]) -> _T:
        """Return what ``work`` does in a thread; goes on there if we are cancelled."""
        return await asyncio.shield(self._begun(work))


def _too_large(limits: UploadLimits) -> ProblemError:
    return ProblemError(
        Kind.TOO_LARGE, f"an upload has at most {limits.octets} octets", headers=_CLOSE
    )


def _rows_problem(error: RowsError) -> ProblemError:
    return ProblemError(
        Kind.ROWS,
        f"line {error.line}, column {error.column}: {error.reason}",
        errors=[FieldError("", error.reason, error.line, error.column)],
        headers=_CLOSE,
    )
