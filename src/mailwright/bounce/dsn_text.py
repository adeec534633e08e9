"""What a delivery status notification tells people: plain English sentences.

Kept apart from the fields for programs: nobody parses this, so it may be reworded.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from mailwright.reply import Origin
from mailwright.report import Action, Cause, Report

SUBJECTS: Final = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.RELAYED: "Your message was passed on",
}
_OPENINGS: Final = {
    Action.FAILED: "Your message could not be delivered to",
    Action.DELAYED: "Your message has not been delivered yet to",
    Action.RELAYED: "Your message was passed on to the mail server of",
}
#: Of a quoted answer, so that a line with its indent stays below 78.
_QUOTE_CHARS: Final = 70
#: A word with the blanks before it. Longer ones are cut: no line may have more than 998
#: octets (RFC 5322 §2.1.1), in UTF-8.
_WORDS: Final = re.compile(r" {0,40}[^ ]{1,200}")
#: C0, DEL and C1 controls, line and paragraph separators, lone surrogates.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def clean(text: str) -> str:
    """Return ``text`` with a blank for each character that could end or break a line."""
    return _CONTROLS.sub(" ", text)


def folded(text: str, limit: int) -> list[str]:
    """Return ``text`` in lines of ``limit`` characters where its words allow that.

    Each line but the first begins with a blank. The first word never stands alone.
    """
    if len(text) <= limit:
        return [text]
    lines = [""]
    for word in _WORDS.findall(text):
        piece = word if word.startswith(" ") or lines == [""] else f" {word}"
        if len(lines[-1]) + len(piece) > limit and (len(lines) > 1 or " " in lines[0]):
            lines.append(piece)
        else:
            lines[-1] += piece
    return lines


def explain(report: Report, reporting_mta: str) -> Iterator[str]:
    """Yield the lines, without line ends, none over 300 characters."""
    yield _OPENINGS[report.action]
    yield ""
    yield f"    {clean(report.recipient)}"
    yield ""
    yield from _reason(report)
    if report.action is Action.DELAYED:
        until = _until(report.retry_until)
        yield f"It will be tried again{until}. You need not send it again."
        yield ""
    if report.header:
        whole = "The header of your message" if report.body is None else "Your message"
        yield f"{whole} is attached."
        yield ""
    yield f"This is an automatic report by {clean(reporting_mta)}."


def _reason(report: Report) -> Iterator[str]:
    if report.cause is Cause.SUPPRESSED:
        yield "This address is on the list of those that must not be mailed."
        yield "The message was not sent."
        yield ""
        return
    if report.action is Action.RELAYED:
        yield "That server makes no delivery reports of its own: this one is the last."
        yield ""
    if report.cause is Cause.LOST:
        yield "The connection broke after the message had been sent, more than once."
        yield "It may have arrived all the same; it is not sent again."
        yield ""
    if report.cause is Cause.EXPIRED:
        yield "It was tried until its time ran out."
        yield ""
    yield from _quoted(report)


def _quoted(report: Report) -> Iterator[str]:
    last = report.last
    if last is None:
        return
    if last.reply.origin is Origin.REMOTE and last.hop:
        yield f"The server {clean(last.hop)} answered:"
    elif last.reply.origin is Origin.REMOTE:
        yield "The receiving server answered:"
    else:
        yield "The reason is:"
    yield ""
    for line in folded(clean(str(last.reply)), _QUOTE_CHARS):
        yield f"    {line.strip()}"
    yield ""


def _until(at: datetime | None) -> str:
    return "" if at is None else f" until {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
