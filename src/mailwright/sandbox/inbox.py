"""What the receivers took: who got how many copies of what, and whether it is signed.

The ledger of the demo and of the crash tests: a message is lost when a recipient has no
copy and duplicated when one has two, so copies are counted without bound (about 200
octets each); the letters themselves are bounded.
"""

import asyncio
import hashlib
import multiprocessing
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from mailwright.sandbox.verification import Verification, prepare_worker, verify_all

BATCH: Final = 16  # messages handed to a worker at once
BATCH_WAIT_S: Final = 0.05  # for a batch to fill
MAX_WAITING_OCTETS: Final = 64 << 20  # of messages whose verification is not done
_HEADER_OCTETS: Final = 65_536  # looked at for a Message-ID
_MESSAGE_ID: Final = re.compile(
    rb"^message-id:[ \t]*(?:\r\n[ \t]+)?([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)


@dataclass(slots=True)
class Letter:
    """One accepted transaction.

    Attributes:
        recipients: as given in RCPT, lower-case domain.
        message_id: the header field, with its angle brackets; ``""``: none.
        digest: SHA-256 of the content.
        octets: of the content, dots unstuffed.
        content: if the inbox keeps it.
        verification: ``None`` while it is not done, or when it is not wanted.
        is_undeclared_8bit: 8-bit content without ``BODY=8BITMIME`` (RFC 6152 §3).
    """

    recipients: tuple[str, ...]
    reverse_path: str
    message_id: str
    digest: bytes
    octets: int
    source: str
    is_tls: bool
    is_undeclared_8bit: bool
    content: bytes | None = None
    verification: Verification | None = None

    @property
    def identity(self) -> str:
        """What two copies of one message have in common."""
        return self.message_id or self.digest.hex()


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of copies: a letter to three recipients is three.

    Attributes:
        copies: accepted.
        distinct: of them, different (recipient, message) pairs.
        verified: with a DKIM signature that holds.
        unverified: without one.
    """

    copies: int
    distinct: int
    verified: int
    unverified: int

    @property
    def duplicates(self) -> int:
        """Copies beyond the first."""
        return self.copies - self.distinct


@dataclass(frozen=True, slots=True)
class InboxSettings:
    """What an inbox keeps and verifies.

    Attributes:
        keep_content: whether letters keep their octets.
        letters_max: letters remembered; the oldest go first.
        verify_share: of the letters, chosen by their digest; 0 verifies none.
        workers: processes that verify.
    """

    keep_content: bool = False
    letters_max: int = 100_000
    verify_share: float = 1.0
    workers: int = 1


@dataclass(slots=True)
class _Verdicts:
    verified: int = 0
    unverified: int = 0
    failures: deque[tuple[Letter, str]] = field(
        default_factory=lambda: deque(maxlen=100)
    )


class Inbox:
    """Takes letters. Use as ``async with Inbox(…) as inbox``.

    Args:
        keys: returns the TXT records with DKIM keys, by name.
        executor: for the verifications; made of ``settings.workers`` processes when
            none is given, and then closed with the inbox.

    Attributes:
        copies: by (recipient, identity of the message).
        letters: the latest.
    """

    def __init__(
        self,
        keys: Callable[[], Mapping[str, str]],
        settings: InboxSettings | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._keys = keys
        self._settings = settings or InboxSettings()
        self._given_executor = executor
        self._executor = executor
        self.copies: Counter[tuple[str, str]] = Counter()
        self.letters: deque[Letter] = deque(maxlen=self._settings.letters_max)
        self._total = 0
        self._verdicts = _Verdicts()
        self._batch: list[tuple[Letter, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_octets = 0
        self._changed = asyncio.Event()
        self._when_free: list[Callable[[], None]] = []

    @property
    def totals(self) -> Totals:
        """The counts as they are now."""
        verdicts = self._verdicts
        return Totals(
            self._total, len(self.copies), verdicts.verified, verdicts.unverified
        )

    @property
    def failures(self) -> list[tuple[Letter, str]]:
        """The last hundred letters without a valid signature, and why."""
        return list(self._verdicts.failures)

    @property
    def is_full(self) -> bool:
        """Whether receivers should wait for verifications to catch up."""
        return self._waiting_octets > MAX_WAITING_OCTETS

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once when the inbox is not full any more."""
        self._when_free.append(callback)

    def count_of(self, recipient: str) -> int:
        """Return the copies of all messages to ``recipient``. Cost: a full scan."""
        return sum(number for key, number in self.copies.items() if key[0] == recipient)

    def take(self, letter: Letter, content: bytes) -> None:
        """Record ``letter``; its content is kept or forgotten as the settings say."""
        identity = letter.identity
        for recipient in letter.recipients:
            self.copies[recipient, identity] += 1
        self._total += len(letter.recipients)
        if self._settings.keep_content:
            letter.content = content
        self.letters.append(letter)
        # The digest is as good as chance, and the same in every run.
        if letter.digest[0] < 256 * self._settings.verify_share:
            self._enqueue(letter, content)
        self._changed.set()

    async def wait_copies(self, count: int) -> None:
        """Return when ``count`` copies were taken; give it a deadline."""
        while self._total < count:
            self._changed.clear()
            await self._changed.wait()

    async def wait_verified(self) -> None:
        """Return when every letter taken so far that is to be verified is."""
        while self._waiting_octets:
            self._submit()
            self._changed.clear()
            await self._changed.wait()

    def _enqueue(self, letter: Letter, content: bytes) -> None:
        self._waiting_octets += max(letter.octets, 1)
        self._batch.append((letter, content))
        if len(self._batch) >= BATCH:
            self._submit()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(BATCH_WAIT_S, self._submit)

    def _submit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._batch or self._executor is None:
            return
        letters = [letter for letter, _ in self._batch]
        contents = [content for _, content in self._batch]
        self._batch = []
        loop = asyncio.get_running_loop()
        try:
            future = self._executor.submit(verify_all, contents, dict(self._keys()))
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._verified, letters, done)
        )

    def _verified(
        self, letters: list[Letter], done: Future[list[Verification]]
    ) -> None:
        if done.cancelled():
            results = [Verification("", "not verified")] * len(letters)
        elif (error := done.exception()) is not None:
            results = [Verification("", f"the verifier died: {error}")] * len(letters)
        else:
            results = done.result()
        for letter, result in zip(letters, results, strict=True):
            letter.verification = result
            self._waiting_octets -= max(letter.octets, 1)
            if result.is_valid:
                self._verdicts.verified += len(letter.recipients)
            else:
                self._verdicts.unverified += len(letter.recipients)
                self._verdicts.failures.append((letter, result.reason))
        self._changed.set()
        if not self.is_full:
            callbacks, self._when_free = self._when_free, []
            for callback in callbacks:
                callback()

    async def __aenter__(self) -> Self:
        if self._executor is None and self._settings.verify_share > 0:
            # Not forked: the parent has threads and an event loop.
            self._executor = ProcessPoolExecutor(
                self._settings.workers,
                multiprocessing.get_context("spawn"),
                prepare_worker,
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        own = self._executor if self._given_executor is None else None
        self._executor = None
        if own is not None:
            await asyncio.to_thread(own.shutdown, wait=True, cancel_futures=True)


def letter_of(
    content: bytes,
    *,
    recipients: tuple[str, ...],
    reverse_path: str,
    source: str,
    is_tls: bool,
    is_8bit_declared: bool,
) -> Letter:
    """Return the letter that ``content`` makes. Pure."""
    end = content.find(b"\r\n\r\n", 0, _HEADER_OCTETS)
    found = _MESSAGE_ID.search(content, 0, end if end >= 0 else _HEADER_OCTETS)
    message_id = "" if found is None else found[1].decode("utf-8", "replace").strip()
    return Letter(
        recipients=recipients,
        reverse_path=reverse_path,
        message_id=message_id,
        digest=hashlib.sha256(content).digest(),
        octets=len(content),
        source=source,
        is_tls=is_tls,
        is_undeclared_8bit=not is_8bit_declared and not content.isascii(),
    )
