"""Lists of campaigns: read when they are wanted, once, and told of when they cannot be."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.resolver import FakeResolver
from mailwright.api.campaigns.uploads import Uploads
from mailwright.clock import SystemClock
from mailwright.daemon.list_pulling import KEY, ListPulling, format_of
from mailwright.ids import CampaignId, TenantId
from mailwright.outbound_http import OutboundHttp, OutboundHttpError, StreamedAnswer
from mailwright.queue.campaign.job import JobState
from mailwright.queue.campaign.staging import StagingArea
from mailwright.queue.campaign.uploads import RowFormatError

ROWS = b'{"email":"a@b.example"}\n{"email":"c@b.example"}\n'
URL = "https://crm.example/people.ndjson"
NDJSON = {"content-type": "application/x-ndjson"}


class Web:
    """Answers with what a test says, one after the other; then with the last."""

    def __init__(self, *answers: tuple[int, Mapping[str, str], bytes] | str) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, **_: object
    ) -> AsyncIterator[StreamedAnswer]:
        self.asked.append(url)
        answer = self._answers[0]
        if len(self._answers) > 1:
            del self._answers[0]
        if isinstance(answer, str):
            raise OutboundHttpError(answer)
        status, headers, body = answer

        async def pieces() -> AsyncIterator[bytes]:
            yield body[:30]
            yield body[30:]

        yield StreamedAnswer(status, headers, pieces())


class Rig:
    def __init__(self, folder: Path, web: Any, *urls: str | None) -> None:
        self.staging = StagingArea(folder / "staging", SystemClock())
        self.uploads = Uploads(self.staging)
        self.campaigns: list[Any] = [
            SimpleNamespace(
                id=CampaignId(number),
                tenant=TenantId(1),
                state=JobState.SEALING,
                list_url=url,
                sealed_at=None,
            )
            for number, url in enumerate(urls, 1)
        ]
        self.failed: dict[int, str] = {}
        self.ready: list[int] = []
        self.changed = asyncio.Event()
        self.pulling = ListPulling(
            self.campaigns, self, self.uploads, web, self._on_ready
        )

    def _on_ready(self, campaign: CampaignId) -> None:
        self.ready.append(campaign)
        self.changed.set()

    async def fail(self, tenant: TenantId, campaign: CampaignId, reason: str) -> None:
        self.failed[campaign] = reason
        self.campaigns[campaign - 1].state = JobState.FAILED
        self.changed.set()

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def drive(
    folder: Path, web: Any, test: Callable[[Rig], Awaitable[None]], *urls: str | None
) -> None:
    async def main() -> None:
        rig = Rig(folder, web, *(urls or (URL,)))
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(rig.pulling.run())
                await test(rig)
                running.cancel()
        finally:
            rig.uploads.close()

    asyncio.run(main())


def test_a_list_is_staged_and_then_its_campaign_may_be_sealed(tmp_path: Path) -> None:
    web = Web((200, NDJSON, ROWS))

    async def test(rig: Rig) -> None:
        assert not rig.pulling.is_ready(rig.campaigns[0])
        assert rig.pulling.is_ready(rig.campaigns[1]), "it has no list"
        await rig.wait(lambda: rig.ready == [1])
        assert rig.pulling.is_ready(rig.campaigns[0])
        chunk = rig.staging.chunk(1, KEY)
        assert chunk is not None
        assert (chunk.rows_done, chunk.is_finished) == (2, True)
        rig.pulling.wake()
        assert web.asked == [URL]

    drive(tmp_path, web, test, URL, None)


def test_what_was_read_before_a_restart_is_not_read_again(tmp_path: Path) -> None:
    web = Web((200, NDJSON, ROWS))

    async def test(rig: Rig) -> None:
        await rig.wait(lambda: rig.ready == [1])

    drive(tmp_path, web, test)
    drive(tmp_path, web, test)
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, NDJSON, b""), "404"),
        ((302, NDJSON, b""), "302"),
        ((200, {"content-type": "text/html"}, b"<p>"), "text/csv"),
        ((200, NDJSON, b'{"email":\n'), "line 1"),
        ((200, {**NDJSON, "content-encoding": "gzip"}, b"no gzip at all"), "gzip"),
        ("took too long", "took too long"),
    ],
    ids=["missing", "redirect", "page", "malformed", "no gzip", "slow"],
)
def test_a_list_that_cannot_be_read_fails_its_campaign_and_may_be_tried_again(
    tmp_path: Path, answer: Any, reason: str
) -> None:
    web = Web(answer, (200, NDJSON, ROWS))

    async def test(rig: Rig) -> None:
        await rig.wait(lambda: 1 in rig.failed)
        assert reason in rig.failed[1]
        assert rig.ready == []
        rig.campaigns[0].state = JobState.SEALING
        rig.pulling.wake()
        await rig.wait(lambda: rig.ready == [1])
        chunk = rig.staging.chunk(1, KEY)
        assert chunk is not None
        assert chunk.rows_done == 2, "what the first try left is gone"

    drive(tmp_path, web, test)


def test_a_list_inside_is_not_read(tmp_path: Path) -> None:
    async def main() -> None:
        resolver = FakeResolver()
        resolver.set_addresses("crm.example", v4=["10.0.0.1"])
        http = OutboundHttp(resolver)
        rig = Rig(tmp_path, http, URL, "http://127.0.0.1/x.csv")
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(rig.pulling.run())
                await rig.wait(lambda: len(rig.failed) == 2)
                running.cancel()
        finally:
            rig.uploads.close()
            await http.close()
        assert all("not globally routable" in each for each in rig.failed.values())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "headers", "kind", "is_gzip"),
    [
        ("x", {"content-type": "text/csv"}, "csv", False),
        ("x.csv", {}, "csv", False),
        ("x.csv.gz", {"content-type": "application/gzip"}, "csv", True),
        ("x.ndjson.gz", {"content-type": "application/octet-stream"}, "ndjson", True),
        ("x.csv", {"content-type": "application/x-ndjson"}, "ndjson", False),
        ("x.jsonl?a=.csv", {"content-type": "text/plain"}, "ndjson", False),
        ("x", {"content-type": "text/csv", "content-encoding": "gzip"}, "csv", True),
    ],
)
def test_the_format_is_told_by_the_answer_then_by_the_url(
    path: str, headers: Mapping[str, str], kind: str, is_gzip: bool
) -> None:
    row_format, packed = format_of(f"https://crm.example/{path}", headers)
    assert (row_format.kind, packed) == (kind, is_gzip)
    with pytest.raises(RowFormatError):
        format_of("https://crm.example/people", {})


def test_a_packed_list_is_unpacked(tmp_path: Path) -> None:
    headers = {**NDJSON, "content-encoding": "gzip"}

    async def test(rig: Rig) -> None:
        await rig.wait(lambda: rig.ready == [1])

    drive(tmp_path, Web((200, headers, gzip.compress(ROWS))), test)
