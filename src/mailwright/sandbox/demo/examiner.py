"""Looks at what the receivers took: is it signed, and is it what was sent?"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailwright.sandbox.demo.ledger import Copy, Ledger
from mailwright.sandbox.demo.letters import Composed, Expected, alteration_of
from mailwright.sandbox.inbox import Inbox, Letter

#: Of the letters that the node composed, those that are parsed for the comparison, at a
#: millisecond of Python each. What a client composed is compared octet by octet, always.
MAX_PARSED: Final = 1_000
_BATCH: Final = 200  # compared in one hop to a thread


@dataclass(slots=True)
class Examined:
    """What was found so far.

    Attributes:
        copies: that arrived; a letter to two recipients is two.
        compared: of the letters, with what was sent.
        altered: those that differ, in words.
        by_tls: letters that came encrypted.
        sources: letters by the address that they came from.
    """

    copies: int
    compared: int
    altered: list[str]
    by_tls: int
    sources: Counter[str]


class Examiner:
    """Takes letters out of ``inbox`` and enters their copies into ``ledger``.

    Contents are forgotten as soon as they are compared.
    """

    def __init__(self, inbox: Inbox, ledger: Ledger) -> None:
        self._inbox = inbox
        self._ledger = ledger
        self._expected: dict[str, Expected] = {}
        self._uncompared: list[Letter] = []
        self._unverified: list[Letter] = []
        self._parsed = 0
        self.found = Examined(0, 0, [], 0, Counter())

    def expect(self, message_id: str, expected: Expected) -> None:
        """Note what letters with this Message-ID have to be."""
        self._expected[message_id] = expected

    async def examine(self) -> None:
        """Examine what has come since; what is not verified yet waits for next time."""
        while self._inbox.letters:
            self._uncompared.append(self._inbox.letters.popleft())
        known = [each for each in self._uncompared if each.message_id in self._expected]
        self._uncompared = [
            each for each in self._uncompared if each.message_id not in self._expected
        ]
        for start in range(0, len(known), _BATCH):
            await self._compare(known[start : start + _BATCH])
        self._enter_verified()

    async def finish(self) -> None:
        """Examine all that has come. Letters that nobody sent are entered too."""
        await self._inbox.wait_verified()
        await self.examine()
        for letter in self._uncompared:
            self._count(letter)
        self._unverified += self._uncompared
        self._uncompared = []
        self._enter_verified()

    async def _compare(self, letters: Sequence[Letter]) -> None:
        chosen = [each for each in letters if self._is_worth_it(each)]
        pairs = [
            (each.content or b"", self._expected[each.message_id]) for each in chosen
        ]
        found = await asyncio.to_thread(
            lambda: [alteration_of(content, expected) for content, expected in pairs]
        )
        self.found.compared += len(chosen)
        for letter, alteration in zip(chosen, found, strict=True):
            if alteration:
                self.found.altered.append(f"{letter.message_id}: {alteration}")
        for letter in letters:
            self._count(letter)
        self._unverified += letters

    def _is_worth_it(self, letter: Letter) -> bool:
        if isinstance(self._expected[letter.message_id], Composed):
            self._parsed += 1
            return self._parsed <= MAX_PARSED
        return True

    def _count(self, letter: Letter) -> None:
        letter.content = None
        found = self.found
        found.copies += len(letter.recipients)
        found.by_tls += letter.is_tls
        found.sources[letter.source] += 1

    def _enter_verified(self) -> None:
        waiting = []
        for letter in self._unverified:
            verification = letter.verification
            if verification is None:
                waiting.append(letter)
                continue
            for recipient in letter.recipients:
                copy = Copy(letter.message_id, recipient)
                self._ledger.arrived(copy, verification.domain)
        self._unverified = waiting
