"""The routes of campaigns over real jobs, staging and admission; rendering is plain.

Nothing seals or sends: what a test wants to see further on, it puts there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from fakes.api import _CREDENTIALS, START, FakeIntake, FakeReading, OneMetric, directory
from fakes.campaigns import Campaigns, campaigns_on
from fakes.queueing import days_tables
from mailwright.accounts.authentication import Authenticator, make_secret
from mailwright.accounts.directory import Directory
from mailwright.accounts.guesses import GuessLimiter
from mailwright.accounts.logins import Logins
from mailwright.accounts.quota import Limits
from mailwright.api.app import create_app
from mailwright.api.campaigns.ports import CampaignPorts, Unrendered, Wanted
from mailwright.api.campaigns.records import PreviewOut
from mailwright.api.campaigns.uploads import UploadLimits, Uploads
from mailwright.api.ports import ApiLimits, ApiPorts, MetricsDoor
from mailwright.clock import ManualClock
from mailwright.ids import PublicId, TenantId
from mailwright.mta.admission import Admission
from mailwright.mta.submission.budget import ByteBudget
from mailwright.queue.campaign.staging import StagingArea
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store

PATH = "/v1/campaigns"


def campaign(**members: Any) -> dict[str, Any]:
    """Return a campaign for ``POST /v1/campaigns``; ``None`` leaves a member out."""
    given = {
        "name": "spring",
        "from": "Shop <news@example.com>",
        "stream": "news",
        "subject": "Hello {{ name }}",
        "html": "<p>Dear {{ name }}</p>",
    } | members
    return {name: value for name, value in given.items() if value is not None}


class PlainRendering:
    """Says what it was asked for, and sends that."""

    def __init__(self) -> None:
        self.messages: dict[tuple[TenantId, int], bytes | str] = {}
        self.refusal: Unrendered | None = None

    async def preview(self, content: bytes, wanted: Wanted) -> PreviewOut | Unrendered:
        return self.refusal or PreviewOut(
            subject=content.decode(),
            author="",
            html=None,
            text=f"{wanted.recipient} {dict(wanted.fields)} {wanted.variant}",
            headers={},
            octets=0,
            lint=[],
        )

    async def render(
        self, content: bytes, wanted: Wanted
    ) -> tuple[bytes, bytes] | Unrendered:
        header = f"From: news@example.com\r\nTo: {wanted.recipient}\r\n\r\n"
        return self.refusal or (header.encode(), b"hello\r\n")

    async def rendered(self, tenant: TenantId, ident: PublicId) -> bytes | str | None:
        return self.messages.get((tenant, ident.number))


@dataclass
class Settings:
    """The shared settings, which a test may change."""

    now: Directory


@dataclass
class Rig:
    """An API with campaigns, and everything around it."""

    app: FastAPI
    client: httpx.AsyncClient
    clock: ManualClock
    campaigns: Campaigns
    staging: StagingArea
    rendering: PlainRendering
    intake: FakeIntake
    keys: dict[str, str]
    settings: Settings

    def limit(self, name: str, limits: Limits) -> None:
        """Give a credential these limits."""
        now = self.settings.now
        limited = replace(now.credentials[name], limits=limits)
        self.settings.now = replace(
            now,
            credentials={**now.credentials, name: limited},
            credentials_by_id={**now.credentials_by_id, limited.id: limited},
        )

    def auth(self, name: str = "crm") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[name]}"}

    async def post(
        self, path: str, body: Any = None, *, by: str = "crm", **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            path, json=body, headers={**self.auth(by), **named}
        )

    async def get(self, path: str, *, by: str = "crm") -> httpx.Response:
        return await self.client.get(path, headers=self.auth(by))

    async def created(self, **members: Any) -> str:
        """Return the id of a new campaign."""
        answer = await self.post(PATH, campaign(**members))
        assert answer.status_code == 201, answer.text
        ident: str = answer.json()["id"]
        return ident

    async def put(
        self,
        ident: str,
        content: bytes | AsyncIterator[bytes],
        *,
        key: str = "k1",
        by: str = "crm",
        media_type: str = "application/x-ndjson",
        **headers: str,
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.put(
            f"{PATH}/{ident}/recipients",
            params={"key": key},
            content=content,
            headers={**self.auth(by), "Content-Type": media_type, **named},
        )


def drive(
    folder: Path,
    test: Callable[[Rig], Awaitable[None]],
    *,
    upload_limits: UploadLimits | None = None,
) -> None:
    """Run ``test`` with an API whose state is in ``folder``."""

    async def run() -> None:
        async with (
            asyncio.timeout(100),
            _rig(folder, upload_limits or UploadLimits()) as rig,
        ):
            await test(rig)

    asyncio.run(run())


@asynccontextmanager
async def _rig(folder: Path, limits: UploadLimits) -> AsyncIterator[Rig]:
    clock = ManualClock(START)
    secrets = {name: make_secret(name) for name in _CREDENTIALS}
    settings = Settings(
        directory({name: digest for name, (_, digest) in secrets.items()})
    )
    store = await Store.open(
        StoreSettings(folder / "test.db", folder, "test"),
        clock=clock,
        day_tables=days_tables(),
    )
    campaigns = await campaigns_on(store, store.ids.take, clock, folder)
    staging = StagingArea(folder / "staging", clock)
    rendering, intake, budget = PlainRendering(), FakeIntake(store), ByteBudget(2**26)
    uploads, numbers = Uploads(staging, limits), count(1)
    admission = Admission(lambda: settings.now)
    ports = CampaignPorts(
        jobs=campaigns.jobs,
        templates=campaigns.templates,
        uploads=uploads,
        rendering=rendering,
        directory=lambda: settings.now,
        admission=admission,
        intake=intake,
        store=store,
        budget=budget,
        clock=clock,
        hostname="mta.example.com",
        fresh_id=lambda: f"id{next(numbers)}",
        limits=ApiLimits,
    )
    api = ApiPorts(
        keys=Logins(Authenticator(lambda: settings.now), GuessLimiter()),
        admission=admission,
        intake=intake,
        reading=FakeReading(),
        store=store,
        budget=budget,
        clock=clock,
        hostname="mta.example.com",
        fresh_id=ports.fresh_id,
        unready=list,
        metrics=MetricsDoor(OneMetric, (ip_network("127.0.0.0/8"),)),
    )
    app = create_app(api, ports)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    keys = {name: text for name, (text, _) in secrets.items()}
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://node.test"
        ) as client:
            yield Rig(
                app,
                client,
                clock,
                campaigns,
                staging,
                rendering,
                intake,
                keys,
                settings,
            )
        # Whatever became of a request, the memory that it held is given back.
        assert budget.free == 2**26
    finally:
        uploads.close()
        await store.close()
