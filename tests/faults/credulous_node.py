"""A node that takes silence for consent: ``credulous_node.py FILE``; a control.

A connection that is lost after the dot counts as delivered, and a reply may be as long as
it likes.
"""

import sys
from dataclasses import replace

from mailwright.attempt import End
from mailwright.cli.main import main
from mailwright.mta.smtp import pipeline, replies
from mailwright.mta.smtp.pipeline import Ended
from mailwright.reply import Phase, Reply

_interrupted = pipeline._Flight.interrupted


def interrupted(self: pipeline._Flight, text: str, *, counts: bool) -> Ended:
    """Say that all is well, if nobody said otherwise."""
    ended = _interrupted(self, text, counts=counts)
    if ended.end is not End.AMBIGUOUS:
        return ended
    taken = Reply(250, "2.0.0", "surely taken", Phase.DOT)
    return replace(ended, end=End.REPLIED, reply=taken)


pipeline._Flight.interrupted = interrupted  # type: ignore[method-assign]
for limit in ("MAX_LINE_OCTETS", "MAX_LINES", "MAX_REPLY_OCTETS"):
    setattr(replies, limit, 1 << 40)
sys.argv.insert(1, "serve")
main()
