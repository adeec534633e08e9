"""Preparing in processes: the same octets as in threads, and what happens when one dies."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from fakes.campaign_contents import content_json, merge_of
from mailwright.accounts.signing_keys import DkimSecret, SigningKeys
from mailwright.attempt import End, Parcel
from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.mta.dkim.records import record_text
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.workers import pool
from mailwright.mta.workers.pool import ProcessWorkers
from mailwright.mta.workers.ready import Outcome, Ready, Refused
from mailwright.mta.workers.threads import ThreadWorkers

PATIENCE_S = 120
HEADER = (
    b"From: a@example.com\r\nTo: b@example.org\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
)


def parcel(number: int, body: bytes = b"text\r\n") -> Parcel:
    return Parcel(
        delivery=DeliveryId(number),
        attempt=1,
        message=MessageId(number),
        header=HEADER,
        body=body,
        recipient="b@example.org",
        reverse_path="a@example.com",
        accepted_at=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC),
        sending_domain=SendingDomainId(7),
        selector="s1",
    )


def campaign_parcel(number: int, field: str) -> Parcel:
    fields = {field: f"N{number}"}
    merge = replace(merge_of(fields), message_id=f"<{number}@example.com>")
    author = {"address": "a@example.com"}
    body = content_json(**{"from": author}, strict=True)
    return replace(parcel(number, body), header=b"", merge=merge)


class Keys:
    """A key ring whose keys can be replaced."""

    def __init__(self, *secrets: DkimSecret, note: str = "") -> None:
        self.secrets = secrets
        self.note = note

    def keys_for(
        self, _sending_domain: SendingDomainId, selector: str, _accepted_at: datetime
    ) -> SigningKeys | str:
        if not self.secrets:
            return f"no DKIM key has the selector {selector}"
        return SigningKeys(self.secrets, self.note)


def rsa(selector: str = "s1") -> DkimSecret:
    key = generate_private_key(65_537, 2048)
    return DkimSecret("rsa-sha256", "example.com", selector, key)


@pytest.fixture(scope="module")
def secret() -> DkimSecret:
    return rsa()


def verifies(outcome: Outcome, secret: DkimSecret) -> bool:
    assert isinstance(outcome, Ready)
    record = record_text(secret.private_key).encode()
    content = outcome.wire.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
    verified: bool = dkim.DKIM(content).verify(dnsfunc=lambda *_, **__: record)
    return verified


def pool_of(keys: Keys, count: int, **changes: Any) -> ProcessWorkers:
    beside = ThreadWorkers(Preparer(keys), 1)
    return ProcessWorkers(keys, count, beside, **changes)


@asynccontextmanager
async def running(workers: ProcessWorkers) -> AsyncIterator[ProcessWorkers]:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(workers.run())
        try:
            yield workers
        finally:
            workers.stop()


async def prepared(
    workers: ProcessWorkers, *parcels: Parcel, has_8bitmime: bool = True
) -> Sequence[Outcome]:
    return await workers.prepare(parcels, has_8bitmime=has_8bitmime)


def test_processes_and_threads_give_the_same_octets(secret: DkimSecret) -> None:
    ed25519 = DkimSecret(
        "ed25519-sha256", "example.com", "s2", Ed25519PrivateKey.generate()
    )
    keys = Keys(secret, ed25519, note="signed with two")
    parcels = [
        parcel(1),
        parcel(2, "Привет\r\n".encode()),
        parcel(3, b".\r\n..\r\n"),
        parcel(4, b"no end"),
        parcel(5, b"text\r\n" * 100_000),
        replace(parcel(6), message=MessageId(1)),
        replace(parcel(7), header=b"To: b@example.org\r\n\r\n"),  # without From
        parcel(8, b"bare\nLF\r\n"),
        *(campaign_parcel(number, "name") for number in (9, 10)),
        campaign_parcel(11, "other field"),
    ]

    async def scene() -> None:
        renderers = Renderers(1)
        threads = ThreadWorkers(Preparer(keys, renderers), 2, renderers.close)
        async with running(pool_of(keys, 2)) as processes:
            for has_8bitmime in (True, False):
                here = await threads.prepare(parcels, has_8bitmime=has_8bitmime)
                there = await prepared(processes, *parcels, has_8bitmime=has_8bitmime)
                assert there == here
                kinds = [*[Ready] * 6, *[Refused] * 2, *[Ready] * 2, Refused]
                assert [type(each) for each in there] == kinds
                assert verifies(there[2], secret)
                assert verifies(there[9], secret)
                assert there[10].end is End.UNRENDERED
        threads.stop()
        await threads.run()

    asyncio.run(scene())


#: The control: a process that does one batch after the other.
ONE_BY_ONE = (
    sys.executable,
    "-c",
    "import sys; from mailwright.mta.workers import process;"
    "process.Task.renders = False; process.main(int(sys.argv[1]))",
)


def kept_waiting(workers: ProcessWorkers) -> bool:
    """Return whether a single message waits for a campaign of bombs before it."""
    source = "{% for i in range(100000) %}{{ range(100000)|sort }}{% endfor %}"
    bombs = [
        replace(campaign_parcel(number, "name"), body=content_json(text=source))
        for number in range(1, 21)
    ]

    async def scene() -> bool:
        async with running(workers):
            await prepared(workers, parcel(99))  # it has started
            async with asyncio.TaskGroup() as tasks:
                campaign = tasks.create_task(prepared(workers, *bombs))
                await asyncio.sleep(0)
                [single] = await prepared(workers, parcel(100))
                assert isinstance(single, Ready)
                is_kept_waiting = campaign.done()
            assert {each.end for each in campaign.result()} == {End.UNRENDERED}
            return is_kept_waiting

    return asyncio.run(scene())


def test_a_campaign_that_takes_long_keeps_no_other_mail_waiting(
    secret: DkimSecret,
) -> None:
    assert not kept_waiting(pool_of(Keys(secret), 1))
    assert kept_waiting(pool_of(Keys(secret), 1, command=ONE_BY_ONE))


def test_a_replaced_key_of_the_same_name_signs_from_then_on(
    secret: DkimSecret,
) -> None:
    async def scene() -> None:
        keys = Keys(secret)
        async with running(pool_of(keys, 1)) as workers:
            [before] = await prepared(workers, parcel(1))
            keys.secrets = (rsa(),)
            [after] = await prepared(workers, parcel(1))
            assert verifies(before, secret)
            assert verifies(after, keys.secrets[0])
            assert not verifies(after, secret)

    asyncio.run(scene())


def test_a_message_without_a_key_is_refused_with_the_reason() -> None:
    async def scene() -> None:
        async with running(pool_of(Keys(), 1)) as workers:
            [refused] = await prepared(workers, parcel(1))
            assert isinstance(refused, Refused)
            assert refused.end is End.UNSIGNABLE
            assert "no DKIM key has the selector s1" in refused.reply.text

    asyncio.run(scene())


def test_more_keys_than_are_kept_all_sign(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    monkeypatch.setattr(pool, "KEYS_MAX", 1)
    secrets = [secret, rsa(), rsa(), secret]

    async def scene() -> None:
        keys = Keys()
        async with running(pool_of(keys, 1)) as workers:
            for each in secrets:
                keys.secrets = (each,)
                [outcome] = await prepared(workers, parcel(1))
                assert verifies(outcome, each)

    asyncio.run(scene())


def test_many_at_once_come_back_to_who_asked(secret: DkimSecret) -> None:
    async def scene() -> None:
        async with running(pool_of(Keys(secret), 2)) as workers:
            async with asyncio.TaskGroup() as tasks:
                asked = [
                    tasks.create_task(
                        prepared(workers, parcel(number, b"body %d\r\n" % number))
                    )
                    for number in range(60)
                ]
            for number, task in enumerate(asked):
                [outcome] = task.result()
                assert isinstance(outcome, Ready)
                assert b"\r\n\r\nbody %d\r\n.\r\n" % number in outcome.wire

    asyncio.run(scene())


def test_who_goes_away_does_not_disturb_the_others(secret: DkimSecret) -> None:
    async def scene() -> None:
        async with running(pool_of(Keys(secret), 1)) as workers:
            gone = asyncio.ensure_future(prepared(workers, parcel(1)))
            await asyncio.sleep(0)
            gone.cancel()
            [outcome] = await prepared(workers, parcel(2))
            assert verifies(outcome, secret)

    asyncio.run(scene())


def children() -> list[int]:
    task = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    threads = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for path in {task, *threads} for pid in path.read_text().split()]


def test_what_a_dead_process_had_is_refused_for_now_and_another_one_signs(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    monkeypatch.setattr(pool, "RESTART_S", 0.01)

    async def scene() -> None:
        async with running(pool_of(Keys(secret), 1)) as workers:
            await prepared(workers, parcel(1))
            [child] = children()
            os.kill(child, signal.SIGSTOP)  # it holds what it is given
            asked = asyncio.ensure_future(prepared(workers, parcel(2), parcel(3)))
            await asyncio.sleep(0)
            os.kill(child, signal.SIGKILL)
            for refused in await asked:
                assert isinstance(refused, Refused)
                assert refused.end is End.UNSIGNABLE
                assert refused.reply.is_transient
            [outcome] = await prepared(workers, parcel(2))
            assert verifies(outcome, secret)
            assert workers.deaths == 1
            assert children() != [child]

    asyncio.run(scene())


def test_signals_for_the_node_do_not_end_its_processes(secret: DkimSecret) -> None:
    async def scene() -> None:
        async with running(pool_of(Keys(secret), 1)) as workers:
            await prepared(workers, parcel(1))
            [child] = children()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(child, number)
            [outcome] = await prepared(workers, parcel(2))
            assert verifies(outcome, secret)
            assert children() == [child]

    asyncio.run(scene())


def test_processes_are_gone_after_the_end(secret: DkimSecret) -> None:
    async def scene() -> None:
        async with running(pool_of(Keys(secret), 2)) as workers:
            await prepared(workers, parcel(1))
            assert len(children()) == 2
        assert children() == []

    asyncio.run(scene())


def test_a_process_that_never_starts_refuses_for_now_and_goes_on_trying(
    monkeypatch: pytest.MonkeyPatch, secret: DkimSecret
) -> None:
    monkeypatch.setattr(pool, "RESTART_S", 0.01)
    command = [sys.executable, "-c", "raise SystemExit(1)"]

    async def scene() -> None:
        workers = pool_of(Keys(secret), 1, command=command, start_within_s=0.1)
        async with running(workers):
            while workers.deaths < 2:
                for refused in await prepared(workers, parcel(1), parcel(2)):
                    assert isinstance(refused, Refused)
                    assert refused.end is End.UNSIGNABLE
                    assert refused.reply.is_transient

    asyncio.run(scene())


def open_files(process: int) -> list[str]:
    return [os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir()]


def test_large_messages_stay_in_the_node(secret: DkimSecret) -> None:
    command = [sys.executable, "-c", "raise SystemExit(1)"]
    large = parcel(2, b"text\r\n" * 50_000)

    async def scene() -> None:
        workers = pool_of(Keys(secret), 1, command=command, start_within_s=0.1)
        async with running(workers):
            found = await prepared(workers, parcel(1), large, parcel(3))
            assert [type(each) for each in found] == [Refused, Ready, Refused]
            assert verifies(found[1], secret)

    asyncio.run(scene())


def test_a_process_sees_nothing_of_the_node_but_its_socket(secret: DkimSecret) -> None:
    async def scene() -> list[str]:
        async with running(pool_of(Keys(secret), 1)) as workers:
            await prepared(workers, parcel(1))
            [child] = children()
            return open_files(child)

    with Path(os.devnull).open("rb") as ours:
        os.set_inheritable(ours.fileno(), True)
        seen = asyncio.run(scene())
    assert len([each for each in seen if each.startswith("socket:")]) == 1
    assert seen.count(os.devnull) == 2
