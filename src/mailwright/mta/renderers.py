"""Rendering in processes of their own, from any thread.

A template is its author's program. Fuel bounds its steps but not its memory, so it runs
where it can do no harm (:mod:`mailwright.mta.render_worker`): a process that dies of one
recipient's message is replaced, the recipient is refused, the others of the batch are
rendered again. A content that kills process after process is refused as a whole.

It also takes the work off the node's interpreter: composing a message takes longer than
sending it.
"""

import logging
import os
import select
import signal
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from threading import Condition
from typing import Final, NamedTuple, TypeAlias

from mailwright.errors import MailwrightError
from mailwright.merge import Merge
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.lint import Preview, preview_of_json
from mailwright.mta.compose.template import RenderError
from mailwright.mta.render_frames import (
    HEAD,
    Job,
    Kind,
    content_frame,
    forget_frame,
    frame,
    job_frame,
    parse_made,
    parse_previewed,
    parse_refused,
)

logger = logging.getLogger(__name__)

#: Contents that a process knows, in octets of their JSON; the one in use stays.
KNOWN_OCTETS: Final = 16_000_000
#: Octets of jobs that are handed over at once: they fit into an empty pipe, so that the
#: process is never stuck with an answer that nobody reads yet.
_TOGETHER_OCTETS: Final = 49_152
#: For the answers to what was handed over together. Each job ends itself by CPU time long
#: before; this is for a machine that gives the process none.
_PATIENCE_S: Final = 60.0
#: A content that ended so many processes in a row, or so many at all, gets no more of them:
#: who shares them with it would wait too long.
_MAX_DEATHS_IN_A_ROW: Final = 3
_MAX_DEATHS: Final = 20
#: Between the end of a process's answers and its own.
_END_S: Final = 1.0
#: Out of CPU time, and out of memory: Rust aborts where Python would raise.
_OWN_ENDS: Final = frozenset({-signal.SIGPROF, -signal.SIGABRT})
_READ_OCTETS: Final = 1_048_576
_LIMIT: Final = RenderError("content", "takes too much time or memory")


class NoRendererError(MailwrightError):
    """No process can be had: the mail waits."""


Rendered: TypeAlias = Composed | RenderError


class Order(NamedTuple):
    """One message to make, of a content that is at hand.

    Attributes:
        body: the content's JSON.
    """

    body: bytes
    merge: Merge
    dated_at: datetime


class _WorkerDiedError(MailwrightError):
    """The process ended, or does not answer.

    Attributes:
        is_own: it was ended by what bounds its jobs, and by nothing from outside.
    """

    def __init__(self, *, is_own: bool) -> None:
        super().__init__()
        self.is_own = is_own


class _Worker:
    """One process. Used by one thread at a time."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            OSError: there is no room for a process.
        """
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", "mailwright.mta.render_worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for the node, which then ends it
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101 - PIPE says so
        assert self._process.stdout is not None  # noqa: S101
        self._jobs, self._answers = self._process.stdin, self._process.stdout
        self._known: OrderedDict[int, int] = OrderedDict()
        self._buffer = bytearray()

    def do(
        self, kind: Kind, jobs: Sequence[Job], bodies: Mapping[int, bytes]
    ) -> list[tuple[Kind, bytes]]:
        """Return the answers to ``jobs``.

        Raises:
            _WorkerDiedError: some of them ended the process.
        """
        try:
            for number, body in bodies.items():
                self._learn(number, body)
            handed = [job_frame(kind, job) for job in jobs]
            self._write(b"".join((*handed, frame(Kind.ANSWER, b""))))
            return [self._answer() for _ in jobs]
        except (OSError, EOFError) as error:
            raise _WorkerDiedError(is_own=self._ended() in _OWN_ENDS) from error

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._jobs.close()
        self._answers.close()
        self._process.wait()

    def _ended(self) -> int | None:
        """Return how the process ended; ``None`` when it has not."""
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return None

    def _learn(self, number: int, body: bytes) -> None:
        if number in self._known:
            self._known.move_to_end(number)
            return
        self._known[number] = len(body)
        while sum(self._known.values()) > KNOWN_OCTETS and len(self._known) > 1:
            forgotten, _ = self._known.popitem(last=False)
            self._write(forget_frame(forgotten))
        self._write(content_frame(number, body))

    def _write(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            view = view[os.write(self._jobs.fileno(), view) :]

    def _answer(self) -> tuple[Kind, bytes]:
        kind, length = HEAD.unpack(self._take(HEAD.size))
        return Kind(kind), self._take(length)

    def _take(self, size: int) -> bytes:
        buffer = self._buffer
        poll = select.poll()
        poll.register(self._answers.fileno(), select.POLLIN)
        while len(buffer) < size:
            if not poll.poll(_PATIENCE_S * 1000):
                raise TimeoutError
            octets = os.read(self._answers.fileno(), _READ_OCTETS)
            if not octets:
                raise EOFError
            buffer += octets
        taken = bytes(memoryview(buffer)[:size])
        del buffer[:size]
        return taken


class Renderers:
    """A few processes, started when they are first needed. Thread-safe; blocks."""

    def __init__(self, processes: int) -> None:
        """``processes``: at most; as many as there are threads that call."""
        self._room = processes
        self._idle: list[_Worker] = []
        self._is_closed = False
        self._changed = Condition()
        #: Of contents that ended processes: how often at all, and how often in a row.
        self._deaths: dict[int, tuple[int, int]] = {}
        self._refused: set[int] = set()
        #: Numbers of contents that are only previewed.
        self._passing = count(-1, -1)

    def render(self, orders: Sequence[Order]) -> list[Rendered]:
        """Return for each order its message, or why there is none.

        Raises:
            NoRendererError: no process can be had, or they are closed.
        """
        made: list[Rendered | None] = [None] * len(orders)
        waiting = []
        for place, order in enumerate(orders):
            if order.merge.content in self._refused:
                made[place] = _LIMIT
            else:
                waiting.append(place)
        for places in _groups(orders, waiting):
            answers = self._render([orders[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                made[place] = answer
        return [each for each in made if each is not None]

    def preview(self, order: Order) -> Preview:
        """Return a preview; the number of the order's content does not matter.

        Raises:
            NoRendererError: no process can be had, or they are closed.
            RenderError: it takes too much time or memory.
        """
        number = next(self._passing)
        merge = order.merge
        job = Job(
            Merge(
                number, merge.fields, merge.variant, merge.recipient, merge.message_id
            ),
            order.dated_at,
        )
        try:
            with self._borrowed() as worker:
                ((kind, payload),) = worker.do(
                    Kind.PREVIEW, [job], {number: order.body}
                )
        except _WorkerDiedError:
            raise _LIMIT from None
        if kind is Kind.REFUSED:
            raise parse_refused(payload)
        return preview_of_json(parse_previewed(payload))

    def close(self) -> None:
        """End all processes; who renders meanwhile ends with an error."""
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for worker in idle:
            worker.close()

    def _render(
        self, orders: Sequence[Order], *, is_again: bool = False
    ) -> list[Rendered]:
        jobs = [Job(order.merge, order.dated_at) for order in orders]
        bodies = {order.merge.content: order.body for order in orders}
        try:
            with self._borrowed() as worker:
                answers = worker.do(Kind.RENDER, jobs, bodies)
        except _WorkerDiedError as error:
            if is_again or (error.is_own and len(orders) == 1):
                return [self._died(orders[0].merge.content)]
            # Whose fault it was shows one by one; nobody is refused for one end that
            # came from outside.
            return [
                each
                for order in orders
                for each in self._render([order], is_again=True)
            ]
        for content in bodies:
            if content in self._deaths:
                self._deaths[content] = self._deaths[content][0], 0
        return [
            parse_made(payload) if kind is Kind.MADE else parse_refused(payload)
            for kind, payload in answers
        ]

    def _died(self, content: int) -> RenderError:
        total, in_a_row = self._deaths.get(content, (0, 0))
        total, in_a_row = self._deaths[content] = total + 1, in_a_row + 1
        logger.warning("a message of content %d ended its renderer", content)
        if total >= _MAX_DEATHS or in_a_row >= _MAX_DEATHS_IN_A_ROW:
            self._refused.add(content)
            logger.error("content %d is refused: it ended %d", content, total)
        return _LIMIT

    @contextmanager
    def _borrowed(self) -> Iterator[_Worker]:
        worker = self._borrow()
        try:
            yield worker
        except BaseException:
            worker.close()
            with self._changed:
                self._room += 1
                self._changed.notify()
            raise
        with self._changed:
            if not self._is_closed:
                self._idle.append(worker)
                self._changed.notify()
                return
        worker.close()

    def _borrow(self) -> _Worker:
        with self._changed:
            while not (self._idle or self._room or self._is_closed):
                self._changed.wait()
            if self._is_closed:
                raise NoRendererError("rendering has ended")
            if self._idle:
                return self._idle.pop()
            self._room -= 1
        try:
            return _Worker()
        except OSError as error:
            with self._changed:
                self._room += 1
                self._changed.notify()
            raise NoRendererError(f"no process to render in: {error}") from error


def _groups(orders: Sequence[Order], places: Sequence[int]) -> Iterator[list[int]]:
    """Yield places of orders that go to a process together."""
    group: list[int] = []
    octets = 0
    for place in places:
        size = len(orders[place].merge.fields) + 1_000
        if group and octets + size > _TOGETHER_OCTETS:
            yield group
            group, octets = [], 0
        group.append(place)
        octets += size
    if group:
        yield group
