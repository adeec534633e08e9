"""What programs ask of campaigns, on a real store."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.campaigns import LIFETIME, OTHER, TENANT, new_campaign, open_campaigns
from mailwright.api.idempotency import Create, keep
from mailwright.clock import ManualClock
from mailwright.ids import CampaignId, PoolId
from mailwright.queue.campaign.job import Change, JobState, JobStateError, Seed
from mailwright.queue.campaign.results import PageKeyError
from mailwright.queue.campaign.statements import Doing, move_campaign
from mailwright.store.ports import StoreConflictError, StoreError
from mailwright.store.statements import Step, Unit

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_what_is_created_is_read_back_as_it_was_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        new = new_campaign(
            pool=PoolId(3),
            metadata={"crm": "7"},
            tags=("spring", "ü"),
            send_at=START + timedelta(hours=1),
            expires_at=START + timedelta(days=2),
            window={"timezone": "Europe/Berlin"},
            pace_per_hour=1000,
            priority=2,
            seeds=(Seed("me@x.example", {"name": "Me"}, 10, (1, 2)),),
            list_url="https://crm.example/list",
            thresholds={"bounced": 0.1},
        )
        async with open_campaigns(tmp_path, ManualClock(START)) as campaigns:
            made = await campaigns.jobs.create(new)
            assert made == await campaigns.jobs.get(TENANT, made.id)
            assert campaigns.changed == [made.id]
        async with open_campaigns(tmp_path, ManualClock(START)) as campaigns:
            known = campaigns.book.get(made.id)
            assert known is not None
            assert known.seeds == new.seeds
            assert known.thresholds == new.thresholds
            found = await campaigns.jobs.get(TENANT, made.id)
            assert found == made
            assert found.state is JobState.DRAFT
            for name in (
                *("tenant", "credential", "stream", "sending_domain", "selector"),
                *("pool", "spec", "metadata", "tags", "send_at", "expires_at"),
                *("window", "pace_per_hour", "priority", "list_url", "name"),
            ):
                assert getattr(found, name) == getattr(new, name), name
            assert await campaigns.jobs.content(TENANT, made.id) == new.content

    asyncio.run(main())


def test_another_tenant_s_campaign_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path) as campaigns:
            jobs = campaigns.jobs
            made = await jobs.create(new_campaign())
            assert await jobs.get(OTHER, made.id) is None
            assert await jobs.start(OTHER, made.id, "them") is None
            assert await jobs.change(OTHER, made.id, Change(priority=1)) is None
            assert await jobs.content(OTHER, made.id) is None
            assert await jobs.recipients(OTHER, made.id) is None
            assert await jobs.rejects(OTHER, made.id) is None
            assert (await jobs.list(OTHER)).records == []
            found = await jobs.get(TENANT, made.id)
            assert found is not None
            assert found.state is JobState.DRAFT

    asyncio.run(main())


def damage(bodies: Path) -> None:
    """Change an octet of the one body there is."""
    (found,) = (each for each in bodies.rglob("*") if each.is_file())
    found.write_bytes(found.read_bytes().replace(b"x", b"y", 1))


def test_a_large_content_is_a_file_and_read_back_whole(tmp_path: Path) -> None:
    async def main() -> None:
        body = b'{"html":"' + b"x" * 100_000 + b'"}'
        async with open_campaigns(tmp_path) as campaigns:
            made = await campaigns.jobs.create(new_campaign(content=body))
            assert await campaigns.jobs.content(TENANT, made.id) == body
            damage(tmp_path / "bodies")
            with pytest.raises(StoreError, match="not what was stored"):
                await campaigns.jobs.content(TENANT, made.id)

    asyncio.run(main())


def test_a_key_that_is_there_already_keeps_a_campaign_from_being_made_twice(
    tmp_path: Path,
) -> None:
    create = Create(TENANT, "/v1/campaigns", "k", b"h")

    async def main() -> None:
        async with open_campaigns(tmp_path) as campaigns:
            now = campaigns.clock.now()
            for refused in (False, True):
                try:
                    await campaigns.jobs.create(
                        new_campaign(), lambda made: keep(create, 201, "{}", now)
                    )
                except StoreConflictError:
                    assert refused
            assert len((await campaigns.jobs.list(TENANT)).records) == 1
            assert len(campaigns.book) == 1

    asyncio.run(main())


def test_start_seals_first_and_repeating_it_is_no_harm_until_it_runs(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path) as campaigns:
            jobs = campaigns.jobs
            made = await jobs.create(new_campaign())
            for _ in range(2):
                found = await jobs.start(TENANT, made.id, "me")
                assert found is not None
                assert found.state is JobState.SEALING
                assert found.start_wanted
            assert campaigns.to_seal == [made.id, made.id]
            with pytest.raises(JobStateError) as caught:
                await jobs.pause(TENANT, made.id, "me")
            assert caught.value.state is JobState.SEALING

    asyncio.run(main())


async def force(campaigns, campaign: CampaignId, *doings: Doing) -> None:
    """Make moves of the node's own."""
    for doing in doings:
        guard = move_campaign(
            doing,
            campaign,
            None,
            now=campaigns.clock.now(),
            lifetime_micros=LIFETIME // timedelta(microseconds=1),
        )
        await campaigns.jobs._run(Unit((Step(guard),)), campaigns.jobs._took)


async def ready(campaigns, **changes: object) -> CampaignId:
    """Return a campaign that is sealed, without rows."""
    made = await campaigns.jobs.create(new_campaign(**changes))
    await campaigns.jobs.seal(TENANT, made.id, "me")
    await campaigns.store.run(begin_seal(campaigns, made.id))
    await force(campaigns, made.id, Doing.SEALED)
    return made.id


def begin_seal(campaigns, campaign: CampaignId) -> Unit:
    from mailwright.clock import to_micros
    from mailwright.queue.campaign.statements import BEGIN_SEAL

    now = to_micros(campaigns.clock.now())
    return Unit((Step(BEGIN_SEAL(campaign_id=campaign, now=now, positions=0)),))


def test_the_first_start_fixes_date_and_expiry_for_good(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock(START)
        async with open_campaigns(tmp_path, clock) as campaigns:
            jobs = campaigns.jobs
            ident = await ready(campaigns)
            clock.advance(60)
            found = await jobs.start(TENANT, ident, "me")
            assert found is not None
            assert found.dated_at == found.started_at == START + timedelta(minutes=1)
            assert found.expires_at == found.dated_at + LIFETIME
            clock.advance(60)
            await jobs.change(TENANT, ident, Change(expires_at=clock.now()))
            await jobs.change(TENANT, ident, Change(expires_at=None))
            await jobs.pause(TENANT, ident, "me")
            again = await jobs.resume(TENANT, ident, "me")
            assert again is not None
            assert again.dated_at == found.dated_at
            assert again.expires_at == found.expires_at

    asyncio.run(main())


def test_a_campaign_for_later_is_dated_and_expires_by_then(tmp_path: Path) -> None:
    async def main() -> None:
        clock, later = ManualClock(START), START + timedelta(days=1)
        async with open_campaigns(tmp_path, clock) as campaigns:
            ident = await ready(campaigns, send_at=later)
            found = await campaigns.jobs.start(TENANT, ident, "me")
            assert found is not None
            assert found.state is JobState.RUNNING
            assert found.dated_at == later
            assert found.expires_at == later + LIFETIME
            assert found.started_at == START

    asyncio.run(main())


def test_pause_says_by_whom_and_resume_keeps_what_was_overridden(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path, ManualClock(START)) as campaigns:
            jobs, ident = campaigns.jobs, await ready(campaigns)
            await jobs.start(TENANT, ident, "me")
            paused = await jobs.pause(TENANT, ident, "eva")
            assert paused is not None
            assert paused.reason == {"by": "eva", "at": "2026-03-01T09:00:00+00:00"}
            resumed = await jobs.resume(TENANT, ident, "eva")
            assert resumed is not None
            assert resumed.reason is None
            await jobs.hold(ident, {"rule": "bounced", "rate": 0.07})
            held = await jobs.get(TENANT, ident)
            assert held is not None
            assert held.state is JobState.HELD
            resumed = await jobs.resume(TENANT, ident, "eva")
            assert resumed is not None
            overridden = {"overridden": {"bounced": 0.07}}
            assert resumed.reason == overridden | {"by": "eva"}
            paused = await jobs.pause(TENANT, ident, "ben")
            assert paused is not None
            assert paused.reason is not None
            assert paused.reason.items() >= (overridden | {"by": "ben"}).items()
            known = campaigns.book.get(ident)
            assert known is not None
            assert known.reason == paused.reason

    asyncio.run(main())


def test_a_change_touches_only_what_it_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path, ManualClock(START)) as campaigns:
            jobs = campaigns.jobs
            made = await jobs.create(new_campaign(pace_per_hour=10, priority=1))
            found = await jobs.change(TENANT, made.id, Change(pool=PoolId(9)))
            assert found is not None
            assert (found.pool, found.pace_per_hour, found.priority) == (9, 10, 1)
            window = {"timezone": "UTC", "ranges": []}
            end = START + timedelta(days=1)
            found = await jobs.change(
                TENANT,
                made.id,
                Change("new", None, None, window, end, 7),
            )
            assert found is not None
            assert found.name == "new"
            assert (found.pace_per_hour, found.pool) == (None, None)
            assert (found.window, found.expires_at) == (window, end)
            assert found.priority == 7
            assert campaigns.changed == [made.id] * 3

    asyncio.run(main())


def test_what_is_cancelled_before_its_seal_is_over_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path, ManualClock(START)) as campaigns:
            jobs = campaigns.jobs
            made = await jobs.create(new_campaign())
            found = await jobs.cancel(TENANT, made.id, "me")
            assert found is not None
            assert found.state is JobState.CANCELLED
            assert found.finished_at == START
            assert campaigns.book.get(made.id) is None
            for refused in (jobs.start, jobs.cancel, jobs.resume):
                with pytest.raises(JobStateError):
                    await refused(TENANT, made.id, "me")
            with pytest.raises(JobStateError):
                await jobs.change(TENANT, made.id, Change(priority=1))

    asyncio.run(main())


def test_what_failed_says_why_and_may_be_started_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path) as campaigns:
            jobs = campaigns.jobs
            made = await jobs.create(new_campaign())
            failed = await jobs.fail(TENANT, made.id, "HTTP 404")
            assert failed is not None
            assert failed.state is JobState.FAILED
            assert failed.reason == {"reason": "HTTP 404"}
            found = await jobs.start(TENANT, made.id, "me")
            assert found is not None
            assert found.state is JobState.SEALING
            assert found.reason is None

    asyncio.run(main())


def test_lists_go_by_key_the_newest_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path) as campaigns:
            jobs = campaigns.jobs
            made = [(await jobs.create(new_campaign())).id for _ in range(5)]
            await jobs.cancel(TENANT, made[2], "me")
            seen, after = [], ""
            while True:
                page = await jobs.list(TENANT, after, 2)
                seen += [each.id for each in page.records]
                if page.next is None:
                    break
                after = page.next
            assert seen == made[::-1]
            drafts = await jobs.list(TENANT, state=JobState.DRAFT)
            assert len(drafts.records) == 4
            for wrong in ("x", "-1", "9" * 30, "²"):
                with pytest.raises(PageKeyError):
                    await jobs.list(TENANT, wrong)

    asyncio.run(main())


def test_templates_have_versions_that_never_change(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_campaigns(tmp_path) as campaigns:
            templates = campaigns.templates
            made = await asyncio.gather(
                *(
                    templates.create(TENANT, "news", b"%d" % n, author="me")
                    for n in range(3)
                )
            )
            assert sorted(each.version for each in made) == [1, 2, 3]
            await templates.create(TENANT, "alerts", b"a", author="me", note="first")
            await templates.create(OTHER, "news", b"theirs", author="them")
            for each in made:
                assert await templates.get(TENANT, "news", each.version) == each
            newest = await templates.get(TENANT, "news")
            assert newest is not None
            assert newest.version == 3
            assert await templates.get(TENANT, "none") is None
            assert await templates.get(TENANT, "news", 4) is None
            page = await templates.list(TENANT, "", 1)
            assert [each.name for each in page.records] == ["alerts"]
            page = await templates.list(TENANT, page.next or "", 5)
            assert [(each.name, each.version) for each in page.records] == [("news", 3)]
            assert page.next is None
            versions = await templates.versions(TENANT, "news")
            assert [each.version for each in versions] == [3, 2, 1]

    asyncio.run(main())
