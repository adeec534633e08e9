"""The wall clock jumps, while a node runs and between two starts, and comes back.

A node takes letters at noon: some to a receiver that defers them, some to a domain with
an allowance of a few a day. The clock jumps; the node sees it, is killed, starts again in
the wrong time, still delivers, is killed, and all that once more. Then the clock is right
again and the receiver accepts: every letter must arrive at once, none may have expired,
and no allowance may have begun anew. Control: a node that believes every clock.
"""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fakes.node_process import SERVE, NodeProcess, query, query_days, write_node
from fakes.submitting import Book, Letter
from faults.ledger import Row, Size
from faults.sync import submit_smtp
from faults.under_faketime import under_faketime
from mailwright.queue.delivery import State
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

_CONTROL = (str(Path(__file__).with_name("trustful_clock_node.py")),)
#: A year ahead also shows what a jump costs that a running node never saw.
JUMPS = {
    "+1h": timedelta(hours=1),
    "-1h": timedelta(hours=-1),
    "+1y": timedelta(days=365),
    "-1y": timedelta(days=-365),
}
_LETTERS = 8
_DAILY = 5
_THROTTLE = f'\n[[throttle]]\nlimit = "{_DAILY}/day"\ndomain = "daily.example"\n'
#: The node compares its clocks every minute.
_SEEN_S = 300.0
_ARRIVES_S = 240.0


@dataclass(slots=True)
class _Jump:
    name: str
    by: timedelta
    acknowledged: int = 0
    lost: int = 0
    complaints: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Stage:
    """One node, its receivers and its clock."""

    settings: Path
    net: Internet
    offsets: Path
    command: Sequence[str]
    noon: timedelta

    def set_clock(self, by: timedelta) -> None:
        self.offsets.write_text(f"{(self.noon + by).total_seconds():+.0f}\n")

    def count(self, domain: str) -> int:
        return sum(
            copies
            for (recipient, _), copies in self.net.inbox.copies.items()
            if recipient.endswith(f"@{domain}")
        )

    @asynccontextmanager
    async def node(self):
        run = under_faketime(self.offsets, self.command)
        async with NodeProcess(self.settings, run) as node:
            yield node

    async def submit(self, node: NodeProcess, domain: str, many: int) -> Book:
        book = Book()
        letters = [Letter(f"n{n}", (f"n{n}@{domain}",)) for n in range(many)]
        await submit_smtp(node, letters, book)
        return book

    async def wait(self, domain: str, many: int) -> bool:
        """Return whether so many came; what is no longer queued does not come."""
        try:
            async with asyncio.timeout(_ARRIVES_S):
                while self.count(domain) < many:
                    if not self._is_queued(domain):
                        break
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pass
        return self.count(domain) >= many

    def _is_queued(self, domain: str) -> bool:
        rows = query(
            self.settings,
            "SELECT 1 FROM deliveries WHERE recipient LIKE ? LIMIT 1",
            f"%@{domain}",
        )
        return bool(rows)

    async def wait_tried_again(self) -> None:
        """Return when each letter that is deferred was tried in the wrong time."""
        async with asyncio.timeout(_ARRIVES_S):
            while query(
                self.settings,
                "SELECT 1 FROM deliveries WHERE recipient LIKE '%@later.example' "
                "AND due_at < accepted_at + 1800000000",
            ):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _stage(parent: Path, name: str, command: Sequence[str]):
    folder = parent / name
    folder.mkdir()
    later = SandboxDomain("later.example", Behaviour(defer_first=None))
    async with Internet(
        [later, "daily.example", "quick.example"], inbox=InboxSettings(verify_share=0)
    ) as net:
        settings = write_node(
            folder, nameserver=net.nameserver, smtp_port=net.smtp_port
        )
        setup = folder / "setup.toml"
        setup.write_text(setup.read_text() + _THROTTLE)
        now = datetime.now(UTC)
        noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
        stage = _Stage(settings, net, folder / "offsets", command, noon - now)
        stage.set_clock(timedelta(0))
        yield stage


async def _play(
    folder: Path, name: str, command: Sequence[str], *, while_running: bool
) -> _Jump:
    jump = _Jump(name, JUMPS[name])
    async with _stage(folder, f"jump{name}{len(command)}", command) as stage:
        async with stage.node() as node:
            quick = Book()
            taken = await stage.submit(node, "later.example", _LETTERS)
            daily = await stage.submit(node, "daily.example", _LETTERS)
            assert await stage.wait("daily.example", _DAILY), node.text
            if while_running:
                stage.set_clock(jump.by)
                await node.wait_log("the clock is suspect", within_s=_SEEN_S)
        stage.set_clock(jump.by)
        for number in range(2):  # the second finds events of the wrong time
            async with stage.node() as node:
                letter = Letter(f"q{number}", (f"q{number}@quick.example",))
                await submit_smtp(node, [letter], quick)
                if not await stage.wait("quick.example", number + 1):
                    jump.complaints.append(f"{name}: nothing is delivered meanwhile")
                if jump.by > timedelta(0):  # else it is not due yet
                    await stage.wait_tried_again()
        stage.set_clock(timedelta(0))
        stage.net.conduct.behaviours["later.example"] = Behaviour()
        async with stage.node() as node:
            if not await stage.wait("later.example", _LETTERS):
                jump.complaints.append(
                    f"{name}: {stage.count('later.example')} of {_LETTERS} arrived"
                )
            text = node.text
        jump.acknowledged = sum(
            len(book.acknowledged) for book in (taken, daily, quick)
        )
        _judge(stage, jump, text)
    return jump


def _judge(stage: _Stage, jump: _Jump, text: str) -> None:
    queued = {
        row[0] for row in query(stage.settings, "SELECT recipient FROM deliveries")
    }
    arrived = {recipient for recipient, _ in stage.net.inbox.copies}
    jump.lost = jump.acknowledged - len(queued | arrived)
    states = {state for (state,) in query_days(stage.settings, "finished", "state")}
    if states - {State.DELIVERED}:
        jump.complaints.append(f"{jump.name}: ended as {states}")
    if stage.count("daily.example") > _DAILY:
        jump.complaints.append(
            f"{jump.name}: {stage.count('daily.example')} of {_DAILY} left in a day"
        )
    if "Traceback" in text:
        jump.complaints.append(f"{jump.name}: {text.splitlines()[-1]}")


async def run(folder: Path, size: Size) -> Row:
    """Let the clock jump in each way."""
    jumps: list[_Jump] = []
    names = JUMPS if size is Size.FULL else ("+1y",)

    async def play(name: str) -> None:
        jumps.append(await _play(folder, name, SERVE, while_running=size is Size.FULL))

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(play(name))
        failing = tasks.create_task(_play(folder, "+1y", _CONTROL, while_running=False))
    control = failing.result()
    return Row(
        "clock jumps and comes back",
        len(jumps) * 2,
        sum(jump.acknowledged for jump in jumps),
        sum(jump.lost for jump in jumps),
        sum(len(jump.complaints) for jump in jumps),
        control.lost > 0,
        {"jumps": ",".join(jump.name for jump in jumps), "control_lost": control.lost},
        tuple(text for jump in jumps for text in jump.complaints),
    )
