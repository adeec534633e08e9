"""Loading: what was claimed gets its content, within the memory there is."""

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mailwright.attempt import Attempt, End
from mailwright.permit import Permit
from mailwright.queue.claimed import Claimed, empty_parcel, parcel_of
from mailwright.queue.content import Content
from mailwright.queue.line import Line
from mailwright.queue.tools import Tools
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Profile
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

#: How long the first message of a batch waits for room in memory.
MEMORY_WAIT_S: Final = 300.0


_CONTENT_GONE: Final = local_reply(554, "5.3.0", "the content is gone", Phase.DATA)
#: It waits: a person may bring the file back, and until then nothing is sent.
_CONTENT_DAMAGED: Final = local_reply(
    451, "4.3.0", "the stored content is damaged or missing, not sent", Phase.DATA
)


class Carried(NamedTuple):
    """A delivery that may leave: claimed, with its content and under its permit."""

    claimed: Claimed
    content: Content
    permit: Permit


class Loader:
    """Loads what one lane has claimed."""

    __slots__ = ("_profile", "_rest", "_tools")

    def __init__(
        self, tools: Tools, profile: Profile, rest: Callable[[Line, str], None]
    ) -> None:
        """``rest`` lets a line rest for a moment, with the reason."""
        self._tools = tools
        self._profile = profile
        self._rest = rest

    async def load(self, claimed: Sequence[Claimed], permit: Permit) -> list[Carried]:
        """Return those of ``claimed`` whose contents are in memory, under ``permit``.

        The others end, or go back, and so does their share of the permit.
        """
        if not claimed:
            return []
        try:
            contents = await self._tools.contents.get(
                {each.message for each in claimed}
            )
        except StoreError as error:
            logger.warning("cannot read contents: %s", error)
            for each in claimed:
                self._rest(each.line, "contents cannot be read")
                self._tools.settlement.release(each)
            self._tools.permits.give_back(permit, len(claimed))
            return []
        gone = [each for each in claimed if each.message not in contents]
        damaged = [
            each
            for each in claimed
            if each.message in contents and contents[each.message] is None
        ]
        for refused, reply in ((gone, _CONTENT_GONE), (damaged, _CONTENT_DAMAGED)):
            try:
                if refused:
                    await self.refuse(refused, reply)
            except StoreError as error:
                logger.warning("cannot tell of contents that are gone: %s", error)
        loaded: list[Carried] = []
        for each in claimed:
            content = contents.get(each.message)
            if content is None:
                continue
            if await self._may_hold(content, is_first=not loaded):
                loaded.append(Carried(each, content, permit))
            else:
                self._tools.settlement.release(each)
        loaded = self._still_wanted(loaded)
        self._tools.permits.give_back(permit, len(claimed) - len(loaded))
        return loaded

    def _still_wanted(self, loaded: Sequence[Carried]) -> list[Carried]:
        """Put back what was stopped while it was loaded; return the others."""
        tools, now = self._tools, self._tools.clock.now()
        wanted = []
        for each in loaded:
            line = each.claimed.line
            if line.is_held or tools.terms.rests(line, now) is not None:
                tools.budget.release(each.content.octets)
                tools.settlement.release(each.claimed)
            else:
                wanted.append(each)
        return wanted

    async def refuse(self, refused: Sequence[Claimed], reply: Reply) -> None:
        """Let ``reply``, which is ours, end attempts of which no content went out.

        Raises:
            StoreError: what a report tells cannot be read; they were put back.
        """
        settlement = self._tools.settlement
        try:
            originals = await settlement.originals(refused, reply)
        except BaseException:
            for each in refused:
                self._tools.settlement.release(each)
            raise
        for each in refused:
            original = originals.get(each.message)
            parcel = (
                empty_parcel(each) if original is None else parcel_of(each, original)
            )
            settlement.settle(
                each,
                Attempt(parcel, End.REPLIED, reply),
                source=each.source,
                ladder=self._profile.retry,
                provider=self._profile.provider,
            )

    async def _may_hold(self, content: Content, *, is_first: bool) -> bool:
        """Take room in memory for ``content``.

        Only the first of a batch is waited for: nothing is held meanwhile, so sessions
        cannot lock each other.
        """
        budget = self._tools.budget
        if not is_first:
            return budget.try_acquire(content.octets)
        return await budget.acquire(content.octets, within_s=MEMORY_WAIT_S)
