"""Real mail, broken and hostile, by way of a node: refused as it is, delivered as ours.

``MAILWRIGHT_CORPUS`` names a folder of ``.eml`` files. As they are, submission refuses
them: nobody writes in a foreign name, or in none. With our author instead of theirs they
are taken, stored, signed, delivered to both receivers, compared and judged; what intake
edits is foretold from the octets, and printed.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fakes.dkim_judges import Judges
from fakes.submitting import RefusedError, SmtpClient
from mailwright.mta.edits.removals import removal_of
from mailwright.mta.preparing import Preparer
from outbound.comparing import FIELD, Copy, faults
from outbound.differences import known_refusals
from outbound.letters import AUTHOR, CRLF, EIGHT, SEVEN, Door, HeaderField, Letter
from outbound.truth import JUDGES, Bench, Keys, submit

CORPUS: Final = "MAILWRIGHT_CORPUS"
NOT_RUN: Final = f"corpus not run: {CORPUS} names no folder of mails"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


@dataclass(slots=True)
class Outcome:
    """What became of the mails.

    Attributes:
        mails: in the folder.
        refused: as they are, by the reason that was given.
        identical: delivered with our author, every copy as it must be.
        verified: mails that verify, by judge.
        known: mails that a judge refuses, as is known of it, by judge.
        edits: what intake and sessions say that they did, by text; it was foretold.
        complaints: what was wrong.
    """

    mails: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    identical: int = 0
    verified: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    edits: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every mail was refused, then delivered, and judged as foreseen."""
        counts = {sum(self.refused.values()), self.identical}
        counts |= {self.verified[name] + self.known[name] for name in JUDGES}
        return self.mails > 0 and counts == {self.mails} and not self.complaints

    def __str__(self) -> str:
        judged = " ".join(
            f"{name} {self.verified[name]}+{self.known[name]}" for name in JUDGES
        )
        return (
            f"corpus: mails {self.mails} refused as they are "
            f"{sum(self.refused.values())} delivered as ours and identical "
            f"{self.identical} {judged} (verified + known to differ)"
        )

    def details(self) -> Iterator[str]:
        """Give the reasons and the edits, one line each."""
        for title, counts in (("refused", self.refused), ("edit", self.edits)):
            for text, number in counts.most_common():
                yield f"{title} {number:>4} x {text}"


def mails() -> list[Path]:
    """Return the mails of the corpus; none if there is no corpus."""
    folder = os.environ.get(CORPUS)
    return sorted(Path(folder).rglob("*.eml")) if folder else []


def octets_of(path: Path) -> bytes:
    """Return a mail as SMTP can carry it: CRLF line ends, the last one there, no NUL."""
    octets = _LINE_END.sub(CRLF, path.read_bytes()).replace(b"\0", b"")
    return octets if octets.endswith(CRLF) else octets + CRLF


async def send(bench: Bench, judges: Judges, paths: Sequence[Path]) -> Outcome:
    """Offer each mail as it is, then with our author; return what became of them."""
    outcome = Outcome(len(paths))
    for path in paths:
        outcome.refused[await _refusal(bench.node.smtp, path)] += 1
    outcome.refused.pop("", None)
    letters = [ours(octets_of(path), f"c{place}") for place, path in enumerate(paths)]
    copies = await bench.deliver(letters)
    for copy in copies:
        if copy.kept.recipients[0].endswith(EIGHT):  # each letter once
            outcome.edits.update(copy.edits)
        outcome.edits.update(f"for a receiver: {each}" for each in copy.session_edits)
    return await _judged(outcome, copies, judges)


def ours(octets: bytes, token: str) -> Letter:
    """Return a mail as a letter with our author in place of its own."""
    if octets.startswith(CRLF):
        head, blank, body = b"", CRLF, octets[2:]
    else:
        head, blank, body = octets.partition(CRLF * 2)
        head += CRLF if blank else b""
    fields = [HeaderField(b"From: %b\r\n" % AUTHOR.encode())]
    for each in FIELD.findall(head):
        key = HeaderField(each).name.lower()
        if key != b"from":
            fields.append(HeaderField(each, leaves=removal_of(key) is None))
    recipients = (f"{token}@{EIGHT}", f"{token}@{SEVEN}")
    return Letter(token, Door.SMTP, recipients, tuple(fields), body, bool(blank))


async def _refusal(address: tuple[str, int], path: Path) -> str:
    """Return the reason for which a mail is refused, ``""`` if it is taken."""
    client = await SmtpClient.connect(address)
    try:
        await submit(client, ("b@eight.example",), octets_of(path))
    except RefusedError as error:
        said = str(error).strip()
        if not said.startswith("550 5.7.1 "):
            return ""
        foreign = "is not a proven sending domain of this credential"
        return f"a foreign From: {foreign}" if foreign in said else said
    finally:
        await client.close()
    return ""


async def _judged(outcome: Outcome, copies: Sequence[Copy], judges: Judges) -> Outcome:
    preparer = Preparer(Keys())
    tokens = {each.letter.token for each in copies}
    wrong = set()
    for each in copies:
        if found := faults(each, preparer):
            wrong.add(each.letter.token)
            outcome.complaints += found
    outcome.identical = len(tokens - wrong)
    verdicts = await judges.judge([each.kept.content for each in copies])
    for name, said in verdicts.items():
        unknown, known = set(), set()
        for copy, text in zip(copies, said, strict=True):
            is_known = name in known_refusals(copy.kept.content)
            if bool(text) is not is_known:
                unknown.add(copy.letter.token)
                outcome.complaints.append(
                    f"{name} {copy.kept.recipients[0]}: "
                    f"{text or 'verified, but should not'}"
                )
            elif text:
                known.add(copy.letter.token)
        outcome.known[name] = len(known - unknown)
        outcome.verified[name] = len(tokens - known - unknown)
    return outcome
