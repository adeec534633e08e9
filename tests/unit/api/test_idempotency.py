"""A create with an ``Idempotency-Key`` happens once, however it is repeated."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from fakes.api import OURS, START, Rig, drive
from mailwright.api.idempotency import (
    PURGE_ROWS,
    Create,
    hash_request,
    keep,
    purge,
)
from mailwright.reply import Phase, local_reply
from mailwright.store.statements import unit
from mailwright.submission import NotAcceptedError, PatienceOverError

SMALL = {"from": "a@example.com", "to": ["b@example.org"], "text": "x"}
REPLAYED = "Idempotent-Replayed"


async def post(rig: Rig, key: str = "k1", *, by: str = "crm") -> httpx.Response:
    return await rig.post(SMALL, by=by, Idempotency_Key=key)


def test_the_same_request_gets_the_first_answer_again(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        first = await post(rig)
        rig.clock.advance(6 * 86_400)
        again = await post(rig)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert REPLAYED not in first.headers
        assert again.headers[REPLAYED] == "true"
        assert again.headers["Content-Type"] == first.headers["Content-Type"]
        assert again.headers["Location"] == first.headers["Location"]
        assert len(rig.intake.submissions) == 1

    drive(test, tmp_path)


def test_without_a_key_every_request_is_one_message() -> None:
    async def test(rig: Rig) -> None:
        answers = [(await rig.post(SMALL)).json()["id"] for _ in range(3)]
        assert len(set(answers)) == 3

    drive(test)


def test_another_request_under_the_key_is_refused(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await post(rig)
        for other in (SMALL | {"text": "y"}, {**SMALL, "tags": ["a"]}):
            response = await rig.post(other, Idempotency_Key="k1")
            assert response.status_code == 422
            assert response.json()["type"] == "/docs#key-reused"
        raw = b"From: a@example.com\r\n\r\n"
        for query in ("?rcpt=a%40x.org", "?rcpt=b%40x.org"):
            response = await rig.post_raw(raw, query=query, Idempotency_Key="k2")
        # The recipients of a whole message are in the query: they count too.
        assert response.status_code == 422
        assert len(rig.intake.submissions) == 2

    drive(test, tmp_path)


def test_keys_of_other_tenants_and_credentials(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await post(rig)
        theirs = SMALL | {"from": "a@theirs.example"}
        response = await rig.post(theirs, by="neighbour", Idempotency_Key="k1")
        assert response.status_code == 201
        assert REPLAYED not in response.headers
        # A key belongs to the tenant: its other credentials repeat the same create.
        assert (await post(rig, by="sender")).headers[REPLAYED] == "true"

    drive(test, tmp_path)


def test_a_repeat_while_the_first_is_in_progress_conflicts(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.intake.gate = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(post(rig))
            await rig.intake.reached.wait()
            second = await post(rig)
            assert second.status_code == 409
            assert second.json()["type"] == "/docs#in-progress"
            assert second.headers["Retry-After"] == "1"
            rig.intake.gate.set()
        assert first.result().status_code == 201
        assert (await post(rig)).content == first.result().content
        assert len(rig.intake.submissions) == 1

    drive(test, tmp_path)


def test_of_many_at_once_one_is_created(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        async with asyncio.TaskGroup() as tasks:
            posts = [tasks.create_task(post(rig)) for _ in range(20)]
        statuses = [each.result().status_code for each in posts]
        assert set(statuses) <= {201, 409}
        assert 201 in statuses
        assert len(rig.intake.submissions) == 1

    drive(test, tmp_path)


def test_a_commit_that_comes_from_elsewhere_first_is_replayed(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        """Two nodes on one database: the other's row is there when ours would be."""
        rig.intake.gate = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(post(rig))
            await rig.intake.reached.wait()
            body = httpx.Request("POST", "http://x", json=SMALL).content
            digest = hash_request("application/json", "", body)
            create = Create(OURS, "/v1/messages", "k1", digest)
            answer = '{"id":"of the other node"}'
            await rig.store.run(unit(*keep(create, 201, answer, START)))
            rig.intake.gate.set()
        assert waiting.result().json() == {"id": "of the other node"}
        assert waiting.result().headers[REPLAYED] == "true"
        assert not rig.intake.submissions

    drive(test, tmp_path)


def test_errors_are_not_kept(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        full = NotAcceptedError(local_reply(452, "4.3.1", "full", Phase.DOT))
        rig.intake.error = full
        assert (await post(rig)).status_code == 507
        bad = await rig.post(SMALL | {"to": []}, Idempotency_Key="k1")
        assert bad.status_code == 422
        rig.intake.error = None
        assert (await post(rig)).status_code == 201

    drive(test, tmp_path)


def test_an_unknown_outcome_is_learnt_by_repeating(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.intake.error_after = PatienceOverError()
        assert (await post(rig)).status_code == 504
        rig.intake.error_after = None
        again = await post(rig)
        assert (again.status_code, again.headers[REPLAYED]) == (201, "true")
        assert len(rig.intake.submissions) == 1

    drive(test, tmp_path)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\x7f"])
def test_a_key_is_a_word_of_printable_characters(key: str) -> None:
    async def test(rig: Rig) -> None:
        response = await post(rig, key)
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "Idempotency-Key"
        assert not rig.intake.submissions

    drive(test)


def test_answers_are_purged_in_slices_after_seven_days(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rows = [
            bound
            for number in range(PURGE_ROWS + 1)
            for bound in keep(
                Create(OURS, "/v1/messages", f"k{number}", b"h"), 201, "{}", START
            )
        ]
        await rig.store.run(unit(*rows))
        young = Create(OURS, "/v1/messages", "young", b"h")
        week = timedelta(days=7)
        await rig.store.run(unit(*keep(young, 201, "{}", START + week)))
        counts = []
        for _ in range(3):
            [gone] = await rig.store.run(purge(START + week + timedelta(seconds=1)))
            counts.append(len(gone))
        assert counts == [PURGE_ROWS, 1, 0]

    drive(test, tmp_path)
