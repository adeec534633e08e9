"""Claims on a real store: what several at once leave behind."""

import asyncio
from datetime import timedelta
from pathlib import Path

from fakes.queueing import make_submission, open_queue
from mailwright.bounce import suppression
from mailwright.clock import ManualClock
from mailwright.queue.claimed import Claimed
from mailwright.queue.claims import Claims
from mailwright.queue.in_flight import InFlight
from mailwright.queue.statements import queue_statements


def test_a_line_whose_waiting_mail_is_over_stays_due_for_the_rest(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        now = clock.now()
        later = now + timedelta(hours=1)
        async with open_queue(tmp_path, clock=clock) as queue:
            accept = queue.intake.accept
            await accept(make_submission("good@x.example", at=now))
            over = make_submission(
                "over@x.example", at=now, expires_at=now + timedelta(seconds=10)
            )
            await accept(over)
            await accept(make_submission("later@x.example", at=now, not_before=later))
            clock.advance(60)
            statements = queue_statements(suppression)
            claims = Claims(
                queue.store,
                statements,
                clock,
                lambda claimed: None,
                InFlight(clock, lambda: 1),
            )
            [line] = queue.book
            taken: list[list[Claimed]] = []

            async def claim(want: int) -> None:
                taken.append(await claims.claim(line, want, None))

            # The first takes what there is while the second still asks for the rest,
            # and what the second finds is over.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(claim(1))
                tasks.create_task(claim(2))
            assert [len(each) for each in taken] == [1, 0]
            assert line.ready_at() <= clock.now()
            assert await claims.claim(line, 1, None) == []
            assert line.ready_at() == later

    asyncio.run(scenario())
