"""★ The demo's campaign: who is in it, what it says, what must become of each row. Pure.

Newsletters that a large batch would send one by one through HTTP go as one job instead,
to the same recipients. Beside them the list has what lists have: rows twice, rows that
are no addresses, and people who have left; each must get its outcome.
"""

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mailwright.sandbox.demo.content import NEWS, Content
from mailwright.sandbox.demo.domains import CAST, Treatment
from mailwright.sandbox.demo.plan import Door, Draft, Kind, Person

#: Batches below this have no campaign: there would be nobody in it.
MIN_RECIPIENTS: Final = 40
_TWICE_EVERY: Final = 5
_INVALID: Final = ("no address", "nobody@", "a b@mail.test")
_LEFT: Final = ("left.already@left.test", "gone.by@left.test")
_AUTHOR: Final = f"hello@{NEWS}"
_AUTHOR_NAME: Final = "Acme News 🌿"
_LINK: Final = f"https://{NEWS}/leave"
_SUBJECT: Final = "{{ name }}, spring is here 🌷"
_TEXT: Final = """\
Dear {{ name }},

your {{ points }} points are worth {{ points // 10 }} € until Sunday.

Unsubscribe: {{ leave }}
"""
_HTML: Final = """\
<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Spring</title></head>
<body><h1>Dear {{ name }},</h1>
{% if points > 50 %}<p>Your {{ points }} points count double.</p>
{% endif %}<p><small><a href="https://news.acme.test/leave">Unsubscribe</a></small></p>
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in the campaign."""

    person: Person
    points: int

    @property
    def name(self) -> str:
        """What it is greeted by."""
        return self.person.name or "friend"

    def row(self) -> dict[str, Any]:
        """Return the row that is uploaded."""
        return {
            "email": self.person.address,
            "fields": {"name": self.name, "points": self.points},
            "metadata": {"points": str(self.points)},
        }

    def content(self) -> Content:
        """Return what its message says: rendered here once more, by other means."""
        name, points = html.escape(self.name), self.points
        double = f"<p>Your {points} points count double.</p>\n" if points > 50 else ""
        return Content(
            author=_AUTHOR,
            author_name=_AUTHOR_NAME,
            subject=_SUBJECT.replace("{{ name }}", self.name),
            text=(
                f"Dear {self.name},\n\nyour {points} points are worth {points // 10} € "
                f"until Sunday.\n\nUnsubscribe: {_LINK}\n"
            ),
            html=(
                "<!DOCTYPE html>\n"
                '<html><head><meta charset="utf-8"><title>Spring</title></head>\n'
                f"<body><h1>Dear {name},</h1>\n{double}"
                f'<p><small><a href="{_LINK}">Unsubscribe</a></small></p>\n'
                "</body></html>\n"
            ),
            headers=(("List-Unsubscribe", f"<{_LINK}>"),),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A campaign, and what must become of its rows.

    Attributes:
        members: those who get it, each once.
        suppressed: canonical addresses that must be suppressed beforehand.
    """

    members: tuple[Member, ...]
    suppressed: tuple[str, ...] = _LEFT

    @property
    def outcomes(self) -> dict[str, int]:
        """How many rows must get which outcome, and how many there are."""
        found = {
            "accepted": len(self.members),
            "duplicate": len(self._twice),
            "invalid": len(_INVALID),
            "suppressed": len(self.suppressed),
        }
        return {"uploaded": sum(found.values()), **found}

    @property
    def _twice(self) -> Sequence[Member]:
        return self.members[::_TWICE_EVERY]

    def rows(self) -> Iterator[bytes]:
        """Yield the list as it is uploaded: lines of NDJSON."""
        rows = [each.row() for each in self.members]
        # A repeat of somebody spelt otherwise, with other fields: the first row wins.
        rows += [
            {"email": each.person.address.upper(), "fields": {"name": "x", "points": 0}}
            for each in self._twice
        ]
        rows += [{"email": each} for each in (*_INVALID, *self.suppressed)]
        for row in rows:
            yield json.dumps(row, ensure_ascii=False).encode()


def request() -> dict[str, Any]:
    """Return the body that creates the campaign."""
    return {
        "name": "Spring, for everyone",
        "from": {"address": _AUTHOR, "name": _AUTHOR_NAME},
        "subject": _SUBJECT,
        "text": _TEXT,
        "html": _HTML,
        "headers": {"List-Unsubscribe": f"<{_LINK}>"},
        "fields": {"leave": _LINK},
        "strict": True,
        "tags": ["spring"],
    }


def with_job(drafts: Sequence[Draft]) -> tuple[list[Draft], Job | None]:
    """Return the drafts that are sent one by one, and the job of the others."""
    if sum(len(each.recipients) for each in drafts) < MIN_RECIPIENTS:
        return list(drafts), None
    ordinary = {each.label for each in CAST if each.treatment is Treatment.ORDINARY}
    single: list[Draft] = []
    people: list[Person] = []
    for draft in drafts:
        labels = {each.canonical.rpartition("@")[2] for each in draft.recipients}
        is_news = draft.kind is Kind.NEWSLETTER and draft.door is Door.HTTP_JSON
        if is_news and not draft.is_repeated and labels <= ordinary:
            people += draft.recipients
        else:
            single.append(draft)
    if not people:
        return single, None
    members = (Member(each, at * 7 % 100) for at, each in enumerate(people))
    return single, Job(tuple(members))
