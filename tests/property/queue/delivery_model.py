"""What a delivery may do, as DESIGN says it: no SQL, no batches, no book.

The machine tells it what was committed; it says what must be in the database then.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mailwright.attempt import End
from mailwright.queue.delivery import FINAL, MOVES, SILENT, State

RETRY = timedelta(minutes=2)
AMBIGUOUS_RETRY = timedelta(minutes=3)
UNSIGNABLE_REST = timedelta(minutes=5)


@dataclass
class Known:
    """A delivery; ``lost`` counts connections that died between dot and reply."""

    recipient: str
    due_at: datetime
    expires_at: datetime
    state: State | None = None
    attempt: int = 0
    ambiguous: int = 0
    lost: int = 0
    epoch: int | None = None
    source: int | None = None
    is_of_campaign: bool = False
    events: list[str] = field(default_factory=list)

    def move(self, state: State, *, silent: bool = False) -> None:
        assert self.state not in FINAL
        if silent:
            assert (self.state, state) in SILENT
        else:
            self.events.append(MOVES[self.state, state].value)
        self.state = state

    def requeue(self, due_at: datetime, *, silent: bool = False) -> None:
        self.move(State.QUEUED, silent=silent)
        self.due_at = min(due_at, self.expires_at)
        self.epoch = None

    def uncount(self) -> None:
        self.attempt -= 1
        if not self.attempt:
            self.source = None  # never offered: nothing binds it to a source

    def accept(self, *, is_suppressed: bool) -> None:
        self.move(State.SUPPRESSED if is_suppressed else State.QUEUED)

    def claim(self, epoch: int, source: int, now: datetime) -> None:
        assert self.due_at <= now < self.expires_at
        self.move(State.SENDING, silent=True)
        self.attempt += 1
        self.epoch = epoch
        self.source = self.source or source

    def settle(self, end: End, code: int, now: datetime) -> None:
        match end, code // 100:
            case End.NOT_OFFERED, _:
                self.uncount()
                self.requeue(now, silent=True)
                self.due_at = now
            case End.UNSIGNABLE, _:
                self.uncount()
                self.requeue(now + UNSIGNABLE_REST, silent=True)
            case End.UNRENDERED, _:
                self.move(State.BOUNCED)
            case End.AMBIGUOUS, _:
                self.ambiguous += 1
                self.lost += 1
                if self.lost == 2:
                    self.move(State.EXPIRED)
                else:
                    self.requeue(now + AMBIGUOUS_RETRY)
            case End.ORPHANED, _:
                self.recover(now)  # as if the node itself had died
            case End.REPLIED, 2:
                self.move(State.DELIVERED)
            case End.REPLIED, 5:
                self.move(State.BOUNCED)
            case _:
                self.requeue(now + RETRY)

    def recover(self, now: datetime) -> None:
        self.ambiguous += 1
        self.requeue(now + AMBIGUOUS_RETRY)

    def doom(self, now: datetime, *, is_suppressed: bool) -> None:
        assert is_suppressed or now >= self.expires_at
        self.move(State.SUPPRESSED if is_suppressed else State.EXPIRED)
