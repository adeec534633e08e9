"""DSNs from the outcome that causes them to their own delivery, on a real store."""

import asyncio
import email
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from fakes.queueing import (
    LATER,
    NO,
    OK,
    POOL,
    SOURCE,
    Queue,
    ScriptedCourier,
    make_directory,
    make_submission,
    open_queue,
    rows_of,
    subject_of,
)
from mailwright.accounts.directory import (
    Credential,
    Directory,
    DkimKey,
    DsnPolicy,
    Pool,
    Proof,
    SendingDomain,
)
from mailwright.address import parse_address
from mailwright.attempt import Attempt, End, Parcel
from mailwright.bounce.tables import suppressions
from mailwright.clock import ManualClock
from mailwright.envelope import Envelope, Notify, Recipient, Ret
from mailwright.ids import (
    CredentialId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.queue.delivery import State
from mailwright.queue.notify import DELAY_AFTER
from mailwright.queue.selection import Selection
from mailwright.queue.tables import (
    contents,
    deliveries,
    finished_of,
    lines,
    messages,
)
from mailwright.reply import Phase, local_reply
from mailwright.store.statements import Query, unit

SYSTEM = PoolId(9)
INSERT_SUPPRESSION = Query("insert suppression", insert(suppressions))
#: Messages with the null reverse-path, with their contents.
REPORTS = (
    select(messages.c.id)
    .join(contents, contents.c.id == messages.c.content)
    .where(messages.c.reverse_path == "")
)
HEADER = b"From: a@example.com\r\nX-Queue-Item-Id: q7\r\nSubject: hi\r\n\r\n"


def directory(dsn: DsnPolicy = DsnPolicy.ALL, *, has_system: bool = False) -> Directory:
    domain = SendingDomain(
        SendingDomainId(1),
        TenantId(1),
        "example.com",
        "bounce.example.com",
        Proof.OPERATOR,
        True,
        (DkimKey("s2", "rsa-sha256", True, False, False, 1),),
    )
    credential = Credential(
        CredentialId(1), TenantId(1), "crm", None, frozenset(), StreamId(1), dsn
    )
    made = make_directory()
    pools = dict(made.pools)
    if has_system:
        pools[SYSTEM] = Pool(SYSTEM, "system", ((SOURCE, 1),))
    return replace(
        made,
        credentials_by_id={credential.id: credential},
        sending_domains_by_id={domain.id: domain},
        pools=pools,
        pools_by_name={pool.name: pool for pool in pools.values()},
    )


def submission(
    *recipients: str,
    notify: str = "",
    reverse_path: str | None = "bounce+7@crm.example",
    ret: Ret | None = None,
    orcpt: str = "",
    **changes: object,
) -> object:
    wanted = frozenset(map(Notify, notify.split(","))) if notify else frozenset()
    envelope = Envelope(
        None if reverse_path is None else parse_address(reverse_path),
        tuple(Recipient(parse_address(each), wanted, orcpt) for each in recipients),
        ret,
        "envelope 1",
    )
    values = {"envelope": envelope, "header": HEADER, "body": b"Hello\r\n"}
    return make_submission(*recipients, **(values | changes))


class Mailbox(ScriptedCourier):
    """Refuses ``gone@``, defers ``slow@``, takes the rest and keeps what it took."""

    def __init__(self, *, has_dsn: bool = False) -> None:
        super().__init__()
        self.has_dsn = has_dsn
        self.taken: list[Parcel] = []

    async def carry(self, site, source, feed):
        if site.key in self.unreachable:
            return self.unreachable[site.key]
        while parcels := await feed.take(8):
            for parcel in parcels:
                reply = OK
                if parcel.recipient.startswith("gone"):
                    reply = NO
                elif parcel.recipient.startswith("slow"):
                    reply = LATER
                else:
                    self.taken.append(parcel)
                feed.settle(
                    Attempt(
                        parcel,
                        End.REPLIED,
                        reply,
                        "mx.x.example [192.0.2.1]:25",
                        has_dsn=self.has_dsn,
                    )
                )
        return None

    @property
    def reports(self) -> list[Message]:
        return [
            email.message_from_bytes(parcel.header + parcel.body)
            for parcel in self.taken
            if not parcel.reverse_path
        ]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.005)


def drive(
    folder: Path,
    body: Callable[[Queue], Awaitable[None]],
    *,
    courier: ScriptedCourier | None = None,
    settings: Directory | None = None,
    **more: object,
) -> None:
    """Run a queue around ``body``."""

    async def scenario() -> None:
        async with (
            open_queue(
                folder,
                courier=courier or Mailbox(),
                directory=settings or directory(),
                **more,
            ) as queue,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(queue.scheduler.run())
            try:
                await body(queue)
            finally:
                queue.scheduler.stop()

    asyncio.run(scenario())


async def idle(queue: Queue) -> None:
    """Return when nothing is left in the queue."""

    async def is_empty() -> bool:
        return await rows_of(queue.store, deliveries) == []

    await until(is_empty)


async def rows(queue: Queue, table) -> list[dict[str, object]]:
    names = table.c.keys()
    return [
        dict(zip(names, row, strict=True)) for row in await rows_of(queue.store, table)
    ]


def status_of(report: Message) -> dict[str, str]:
    (_, status, *_) = report.get_payload()
    first, second = status.get_payload()
    return dict(first.items()) | dict(second.items())


def test_a_refused_delivery_is_reported_to_its_reverse_path(tmp_path: Path) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        await queue.intake.accept(
            submission("gone@x.example", "ok@x.example", orcpt="rfc822;Gone@x.example")
        )
        await idle(queue)
        (report,) = courier.reports
        assert report["To"] == "<bounce+7@crm.example>"
        assert report["From"] == "Mail Delivery System <mailer-daemon@example.com>"
        found = status_of(report)
        assert found["Action"] == "failed"
        assert found["Status"] == "5.1.1"
        assert found["Final-Recipient"] == "rfc822; gone@x.example"
        assert found["Original-Recipient"] == "rfc822;Gone@x.example"
        assert found["Original-Envelope-Id"] == "envelope 1"
        assert found["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
        assert found["Remote-MTA"] == "dns; mx.x.example"
        assert found["Reporting-MTA"] == "dns; mta.example.com"
        returned = report.get_payload()[2]
        assert returned.get_content_type() == "text/rfc822-headers"
        assert returned.get_payload().encode() + b"\r\n" == HEADER

    drive(tmp_path, body, courier=courier)


def test_a_report_has_the_null_reverse_path_and_the_key_of_its_domain(
    tmp_path: Path,
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        await queue.intake.accept(submission("gone@x.example"))
        await idle(queue)
        (parcel,) = courier.taken
        assert parcel.reverse_path == ""
        assert parcel.recipient == "bounce+7@crm.example"
        assert parcel.notify == "NEVER"
        assert (parcel.sending_domain, parcel.selector) == (SendingDomainId(1), "s2")
        events = [(kind, json.loads(data)) for kind, data in await queue.events()]
        assert [kind for kind, _ in events] == [
            "received",
            "bounced",
            "received",
            "delivered",
        ]
        bounced, received = events[1][1], events[2][1]
        assert received["dsn"] == "failed"
        assert received["of"].startswith("dlv_")
        assert bounced["dsn"].startswith("msg_")
        assert bounced["dsn"] in courier.reports[0]["Message-ID"]
        assert "@" not in json.dumps([bounced, received])

    drive(tmp_path, body, courier=courier)


@pytest.mark.parametrize(
    ("notify", "reverse_path", "policy"),
    [
        ("NEVER", "b@crm.example", DsnPolicy.ALL),
        ("SUCCESS,DELAY", "b@crm.example", DsnPolicy.ALL),
        ("", None, DsnPolicy.ALL),
        ("FAILURE", None, DsnPolicy.ALL),
        ("FAILURE", "b@crm.example", DsnPolicy.NONE),
    ],
)
def test_a_failure_that_nobody_is_to_hear_of_is_not_reported(
    tmp_path: Path, notify: str, reverse_path: str | None, policy: DsnPolicy
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        await queue.intake.accept(
            submission("gone@x.example", notify=notify, reverse_path=reverse_path)
        )
        await idle(queue)
        assert courier.taken == []
        assert Counter(kind for kind, _ in await queue.events()) == {
            "received": 1,
            "bounced": 1,
        }

    drive(tmp_path, body, courier=courier, settings=directory(policy))


@pytest.mark.parametrize(("is_bulk", "reports"), [(True, 0), (False, 1)])
def test_a_credential_can_have_reports_on_transactional_mail_alone(
    tmp_path: Path, is_bulk: bool, reports: int
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        await queue.intake.accept(submission("gone@x.example", is_bulk=is_bulk))
        await idle(queue)
        assert len(courier.reports) == reports

    settings = directory(DsnPolicy.TRANSACTIONAL)
    drive(tmp_path, body, courier=courier, settings=settings)


def test_a_report_that_cannot_be_delivered_is_not_reported(tmp_path: Path) -> None:
    async def body(queue: Queue) -> None:
        await queue.intake.accept(
            submission("gone@x.example", reverse_path="gone@crm.example")
        )
        await idle(queue)
        assert await queue.finished() == {
            "gone@x.example": State.BOUNCED,
            "gone@crm.example": State.BOUNCED,
        }
        assert len(await rows(queue, messages)) == 2

    drive(tmp_path, body)


@pytest.mark.parametrize(
    ("notify", "has_dsn", "actions"),
    [
        ("SUCCESS", False, ["relayed"]),
        ("SUCCESS,FAILURE", False, ["relayed"]),
        ("SUCCESS", True, []),  # the receiver was told and reports itself
        ("FAILURE", False, []),
        ("", False, []),
    ],
)
def test_success_is_reported_if_asked_for_and_the_receiver_will_not(
    tmp_path: Path, notify: str, has_dsn: bool, actions: list[str]
) -> None:
    courier = Mailbox(has_dsn=has_dsn)

    async def body(queue: Queue) -> None:
        await queue.intake.accept(submission("ok@x.example", notify=notify))
        await idle(queue)
        found = [status_of(report) for report in courier.reports]
        assert [each["Action"] for each in found] == actions
        assert all(each["Status"] == "2.0.0" for each in found)

    drive(tmp_path, body, courier=courier)


@pytest.mark.parametrize(
    ("ret", "body_octets", "content_type"),
    [
        (Ret.FULL, 100, "message/rfc822"),
        (Ret.FULL, 50_001, "text/rfc822-headers"),
        (Ret.FULL, 70_000, "text/rfc822-headers"),  # in a file
        (Ret.HDRS, 100, "text/rfc822-headers"),
        (None, 100, "text/rfc822-headers"),
    ],
)
@pytest.mark.parametrize("recipient", ["gone@x.example", "u@nowhere.example"])
def test_ret_says_how_much_comes_back(
    tmp_path: Path,
    ret: Ret | None,
    body_octets: int,
    content_type: str,
    recipient: str,
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        queue.router.answers["nowhere.example"] = local_reply(
            550, "5.1.2", "no such domain", Phase.CONNECT
        )
        text = b"x" * (body_octets - 2) + b"\r\n"
        await queue.intake.accept(submission(recipient, ret=ret, body=text))
        await idle(queue)
        (report,) = courier.reports
        returned = report.get_payload()[2]
        assert returned.get_content_type() == content_type
        if content_type == "message/rfc822":
            (inner,) = returned.get_payload()
            assert inner["X-Queue-Item-Id"] == "q7"
            assert inner.get_payload() == text.decode()

    drive(tmp_path, body, courier=courier)


def test_a_domain_that_does_not_exist_is_reported_with_our_own_words(
    tmp_path: Path,
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        queue.router.answers["nowhere.example"] = local_reply(
            550, "5.1.2", "no such domain", Phase.CONNECT
        )
        await queue.intake.accept(submission("u@nowhere.example"))
        await idle(queue)
        (report,) = courier.reports
        found = status_of(report)
        assert found["Status"] == "5.1.2"
        assert found["Diagnostic-Code"] == "x-mailwright; 550 5.1.2 no such domain"
        assert "Remote-MTA" not in found

    drive(tmp_path, body, courier=courier)


def test_mail_that_expires_while_it_is_held_is_reported(tmp_path: Path) -> None:
    courier = Mailbox()
    clock = ManualClock()

    async def body(queue: Queue) -> None:
        held = Selection(domain="x.example")
        await queue.operations.hold(held, reason="r", author="a")
        at = clock.now()
        await queue.intake.accept(submission("a@x.example", at=at))
        await queue.intake.accept(submission("b@x.example", at=at, notify="NEVER"))
        clock.advance(2 * 86_400)
        await queue.store.ensure_day(clock.now().date())
        assert await queue.expiry.sweep() == 2

        async def told() -> bool:
            return len(courier.reports) == 1

        await until(told, 60)
        (report,) = courier.reports
        assert "a@x.example" in str(report)
        assert "Action: failed" in str(report)
        assert await queue.expiry.sweep() == 0

    drive(tmp_path, body, courier=courier, clock=clock)


def test_an_expired_delivery_is_reported_with_the_last_thing_that_was_said(
    tmp_path: Path,
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=4)
        await queue.intake.accept(submission("slow@x.example", expires_at=soon))
        await idle(queue)
        (report,) = courier.reports
        found = status_of(report)
        assert (found["Action"], found["Status"]) == ("failed", "4.4.7")
        assert found["Diagnostic-Code"] == "smtp; 450 4.2.0 later"
        assert found["Remote-MTA"] == "dns; mx.x.example"
        assert "Last-Attempt-Date" in found

    drive(tmp_path, body, courier=courier)


def suppress(address: str) -> object:
    return INSERT_SUPPRESSION(
        subject=subject_of(address),
        tenant=1,
        stream=0,
        reason="manual",
        evidence="",
        author="test",
        is_provisional=0,
        created_at=0,
        ends_at=None,
    )


@pytest.mark.parametrize(("notify", "reports"), [("FAILURE", 1), ("", 0)])
@pytest.mark.parametrize("others", [0, 150])
def test_a_suppressed_recipient_is_reported_only_if_that_was_asked_for(
    tmp_path: Path, notify: str, reports: int, others: int
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        await queue.store.run(unit(suppress("no@x.example")))
        recipients = [f"u{n}@y.example" for n in range(others)]
        await queue.intake.accept(
            submission("no@x.example", *recipients, notify=notify)
        )
        await idle(queue)
        found = [status_of(report) for report in courier.reports]
        assert len(found) == reports
        for each in found:
            assert (each["Action"], each["Status"]) == ("failed", "5.7.1")
            assert each["Final-Recipient"] == "rfc822; no@x.example"

    drive(tmp_path, body, courier=courier)


def test_a_recipient_suppressed_while_it_waits_is_reported_if_asked_for(
    tmp_path: Path,
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=0.2)
        await queue.intake.accept(
            submission("no@x.example", notify="FAILURE", not_before=soon)
        )
        await queue.store.run(unit(suppress("no@x.example")))
        await idle(queue)
        (report,) = courier.reports
        assert status_of(report)["Status"] == "5.7.1"

    drive(tmp_path, body, courier=courier)


def test_a_suppressed_submitter_gets_no_report(tmp_path: Path) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        await queue.store.run(unit(suppress("bounce+7@crm.example")))
        await queue.intake.accept(submission("gone@x.example"))
        await idle(queue)
        assert courier.taken == []
        assert (await queue.finished())["bounce+7@crm.example"] == State.SUPPRESSED

    drive(tmp_path, body, courier=courier)


def test_reports_leave_from_the_system_pool_if_there_is_one(tmp_path: Path) -> None:
    async def body(queue: Queue) -> None:
        await queue.intake.accept(submission("gone@x.example"))
        await idle(queue)
        found = {row["domain"]: row["pool"] for row in await rows(queue, lines)}
        assert found == {"x.example": POOL, "crm.example": SYSTEM}

    drive(tmp_path, body, settings=directory(has_system=True))


def test_a_flood_of_failures_is_reported_one_a_second_to_each_mailbox(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        clock = ManualClock(datetime.now(UTC))
        async with open_queue(
            tmp_path, courier=Mailbox(), directory=directory(), clock=clock
        ) as queue:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.scheduler.run())
                for n in range(20):
                    await queue.intake.accept(
                        submission(
                            "gone@x.example",
                            reverse_path=f"bounce+{n}@crm.example",
                            accepted_at=clock.now(),
                        )
                    )

                async def refused() -> bool:
                    return len(await queue.events()) >= 60

                await until(refused)
                queue.scheduler.stop()
            waiting = sorted(row["not_before"] for row in await rows(queue, deliveries))
            assert len(waiting) >= 19
            steps = {b - a for a, b in pairwise(waiting)}
            assert steps == {1_000_000}
            expires = {
                row["expires_at"] - row["due_at"]
                for row in await rows(queue, deliveries)
            }
            assert expires == {24 * 3600 * 1_000_000}

    asyncio.run(scenario())


def test_a_delay_is_reported_once_to_who_asked_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock(datetime.now(UTC))
        courier = Mailbox()
        async with open_queue(
            tmp_path, courier=courier, directory=directory(), clock=clock
        ) as queue:
            await queue.intake.accept(
                submission("slow@x.example", notify="DELAY", accepted_at=clock.now())
            )
            await queue.intake.accept(
                submission("slow2@x.example", accepted_at=clock.now())
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.scheduler.run())

                async def deferred(times: int) -> None:
                    async def are() -> bool:
                        kinds = Counter(kind for kind, _ in await queue.events())
                        return kinds["deferred"] >= times

                    await until(are)

                await deferred(2)
                assert courier.taken == []
                clock.advance(DELAY_AFTER.total_seconds())
                queue.scheduler.on_due(next(iter(queue.book)))
                await deferred(4)

                async def reported() -> bool:
                    return len(courier.reports) == 1

                await until(reported)
                clock.advance(3600)
                queue.scheduler.on_due(next(iter(queue.book)))
                await deferred(6)
                queue.scheduler.stop()
            (report,) = courier.reports
            found = status_of(report)
            assert (found["Action"], found["Status"]) == ("delayed", "4.2.0")
            assert found["Final-Recipient"] == "rfc822; slow@x.example"
            assert "Will-Retry-Until" in found
            marks = {
                row["recipient"]: row["is_delay_reported"]
                for row in await rows(queue, deliveries)
            }
            assert marks == {"slow@x.example": 1, "slow2@x.example": 0}

    asyncio.run(scenario())


def test_a_settle_that_matches_no_row_reports_nothing(tmp_path: Path) -> None:
    """Another owner has the delivery: the outcome is its to report."""
    from sqlalchemy import update

    async def body(queue: Queue) -> None:
        async def carry(site, source, feed):
            parcels = await feed.take(8)
            steal = Query("steal", update(deliveries).values(epoch=999_999))
            await queue.store.run(unit(steal()))
            for parcel in parcels:
                feed.settle(Attempt(parcel, End.REPLIED, NO))

        queue.courier.carry = carry
        await queue.intake.accept(submission("gone@x.example"))

        async def told() -> bool:
            return len(await queue.events()) == 2

        await until(told)
        assert len(await rows(queue, messages)) == 1
        assert len(await rows(queue, contents)) == 1
        assert all(line.accepting == 0 for line in queue.book)
        assert {line.key.domain: line.count for line in queue.book} == {
            "x.example": 1,
            "crm.example": 0,
        }

    drive(tmp_path, body)


def test_every_state_that_a_crash_can_leave_has_one_report_for_each_failure(
    tmp_path: Path,
) -> None:
    """What one snapshot shows is what a crash at that instant would leave."""
    failures, at = 300, datetime.now(UTC)

    async def scenario() -> None:
        courier = Mailbox()
        courier.unreachable["crm.example"] = local_reply(
            421, "4.4.1", "connection refused", Phase.CONNECT
        )
        async with (
            open_queue(tmp_path, courier=courier, directory=directory()) as queue,
            asyncio.TaskGroup() as tasks,
        ):
            for n in range(failures // 100):
                recipients = [f"gone{n}-{m}@x.example" for m in range(100)]
                await queue.intake.accept(submission(*recipients, accepted_at=at))
            tasks.create_task(queue.scheduler.run())
            finished = finished_of(at.date())
            seen = set()
            async with asyncio.timeout(120):
                while failures not in seen:
                    bounced, reports, queued = await queue.store.read(
                        Query("bounced", select(finished.c.id))(),
                        Query("reports", REPORTS)(),
                        Query("queued", select(deliveries.c.notify))(),
                    )
                    seen.add(len(bounced))
                    assert len(reports) == len(bounced)
                    waiting = [row for row in queued if row[0] == "NEVER"]
                    assert len(waiting) == len(bounced)
            queue.scheduler.stop()
        assert len(seen) > 2  # it was looked at on the way

    asyncio.run(scenario())


def test_a_report_that_waits_survives_a_restart(tmp_path: Path) -> None:
    async def first() -> None:
        courier = Mailbox()
        courier.unreachable["crm.example"] = local_reply(
            421, "4.4.1", "connection refused", Phase.CONNECT
        )
        async with (
            open_queue(tmp_path, courier=courier, directory=directory()) as queue,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(queue.scheduler.run())
            await queue.intake.accept(submission("gone@x.example"))

            async def is_refused() -> bool:
                return "gone@x.example" in await queue.finished()

            await until(is_refused)
            queue.scheduler.stop()

    asyncio.run(first())
    courier = Mailbox()

    async def second(queue: Queue) -> None:
        await idle(queue)
        (report,) = courier.reports
        assert status_of(report)["Action"] == "failed"

    drive(tmp_path, second, courier=courier)


def test_a_report_whose_domain_left_the_settings_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    courier = Mailbox()

    async def body(queue: Queue) -> None:
        await queue.intake.accept(submission("gone@x.example"))
        await idle(queue)
        assert courier.taken == []
        assert "gets no DSN" in caplog.text
        assert "@" not in caplog.text

    drive(tmp_path, body, courier=courier, settings=make_directory())
