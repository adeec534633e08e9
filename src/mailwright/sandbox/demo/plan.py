"""★ Who gets what by which door. Pure, and the same for the same size.

Recipients are drawn by the weights of their domains, each domain once before any comes
again, and every address is used once. About half of them go through SMTP and half
through HTTP. Mail that is to expire leaves first, alone with its recipient, so that the
demo does not wait for it in the end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from mailwright.address import parse_address
from mailwright.sandbox.demo.domains import CAST, DemoDomain, Treatment

#: What receivers are asked to do once; ``drop`` is a FIN, ``reset`` an RST.
_LOSSES: Final = ("drop-rcpt", "drop-data", "reset-data", "drop-dot", "reset-dot")
_SIZES: Final = (1, 1, 1, 1, 2, 2, 3, 5)  # recipients of a message
_REPEAT_EVERY: Final = 8  # HTTP creates that are sent twice, with one key
_NAMES: Final = (
    ("anna.kuznetsova", "Анна Кузнецова"),
    ("ben.carter", "Ben Carter"),
    ("chloe.martin", "Chloé Martin"),
    ("d.okafor", "Okafor, David"),
    ("elif", "Elif Yılmaz 🌷"),
    ("frank", ""),
    ("grace.hopper", 'Grace "Amazing" Hopper'),
    ("hiroshi", "佐藤 博"),
    ("ivan.petrov", "Иван Петров"),
    ("julia", "Julia 📮"),
)


class Door(Enum):
    """How a message enters the node."""

    SMTP_LOGIN = "SMTP with STARTTLS and AUTH"
    SMTP_NETWORK = "SMTP from a named network"
    HTTP_JSON = "HTTP, as JSON"
    HTTP_MESSAGE = "HTTP, as a whole message"

    @property
    def is_http(self) -> bool:
        """Whether it is one of the HTTP doors."""
        return self in {Door.HTTP_JSON, Door.HTTP_MESSAGE}


class Kind(Enum):
    """What a message is."""

    NEWSLETTER = "newsletter"  # multipart/alternative, one-click unsubscribe
    INVOICE = "invoice"  # with a PDF
    ILLUSTRATED = "illustrated"  # HTML with an inline image
    REPORT = "report"  # with a CSV
    REPLY = "reply"  # in a thread
    EIGHT_BIT = "eight-bit"  # Windows-1251
    QUOTED = "quoted-printable"
    LONG_LINES = "long lines"  # over 998 octets
    DOTS = "dots"  # lines that begin with dots
    BARE = "bare"  # neither Date nor Message-ID nor MIME
    BROCHURE = "brochure"  # with a large PDF: its body becomes a file


_SMTP_DOORS: Final = (Door.SMTP_LOGIN, Door.SMTP_NETWORK)
_HTTP_DOORS: Final = (Door.HTTP_JSON, Door.HTTP_JSON, Door.HTTP_MESSAGE)
_KINDS: Final = (
    *(Kind.NEWSLETTER, Kind.INVOICE, Kind.EIGHT_BIT, Kind.NEWSLETTER, Kind.REPLY),
    *(Kind.ILLUSTRATED, Kind.QUOTED, Kind.BARE, Kind.NEWSLETTER, Kind.REPORT),
    *(Kind.LONG_LINES, Kind.DOTS, Kind.NEWSLETTER, Kind.INVOICE, Kind.REPLY),
)
_BROCHURE_EVERY: Final = 50


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient: a name for people, ``""`` for none, and the address as written."""

    name: str
    address: str

    @property
    def canonical(self) -> str:
        """The address as it is on the wire."""
        return parse_address(self.address).canonical


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to send.

    Attributes:
        number: from 1; makes everything about it.
        expires_soon: given up after some seconds.
        is_repeated: sent a second time with the same ``Idempotency-Key``.
    """

    number: int
    door: Door
    kind: Kind
    to: tuple[Person, ...]
    cc: tuple[Person, ...] = ()
    bcc: tuple[Person, ...] = ()
    expires_soon: bool = False
    is_repeated: bool = False

    @property
    def recipients(self) -> tuple[Person, ...]:
        """Everyone who gets it."""
        return (*self.to, *self.cc, *self.bcc)


def plan(recipients: int, seed: int = 1) -> list[Draft]:
    """Return the drafts of a demo with this many recipients, in the order of sending."""
    random = Random(seed)  # noqa: S311 - the same batch every time
    domains = list(_drawn(recipients, random))
    ordinary: list[Person] = []
    groups: list[tuple[Person, ...]] = []
    early: list[tuple[Person, ...]] = []
    size = random.choice(_SIZES)
    for number, domain in enumerate(domains, 1):
        person = _person(number, domain)
        if domain.treatment is Treatment.EXPIRES:
            early.append((person,))
            continue
        ordinary.append(person)
        if len(ordinary) >= size:
            groups.append(tuple(ordinary))
            ordinary.clear()
            size = random.choice(_SIZES)
    if ordinary:
        groups.append(tuple(ordinary))
    return list(_drafts(early, groups, random))


def suppressed(drafts: Sequence[Draft]) -> Iterator[str]:
    """Yield the canonical addresses that have to be suppressed before the batch."""
    labels = {each.label for each in CAST if each.treatment is Treatment.SUPPRESSED}
    for draft in drafts:
        for person in draft.recipients:
            if person.canonical.rpartition("@")[2] in labels:
                yield person.canonical


def _drawn(count: int, random: Random) -> Iterator[DemoDomain]:
    yield from CAST[:count]
    weights = [domain.weight for domain in CAST]
    yield from random.choices(CAST, weights, k=max(count - len(CAST), 0))


def _person(number: int, domain: DemoDomain) -> Person:
    local_part, name = _NAMES[number % len(_NAMES)]
    if not domain.name.isascii() and number % 2:
        local_part = "иван.петров"
    if domain.treatment is Treatment.UNSTEADY:
        # A "-x1" of the receivers' own language: once, then never again.
        local_part = f"{_LOSSES[number % len(_LOSSES)]}-x1"
    return Person(name, f"{local_part}+{number}@{domain.name}")


def _drafts(
    early: Sequence[tuple[Person, ...]],
    groups: Sequence[tuple[Person, ...]],
    random: Random,
) -> Iterator[Draft]:
    by_http = by_smtp = 0
    for number, people in enumerate((*early, *groups), 1):
        if by_http < by_smtp:
            by_http += len(people)
            door = random.choice(_HTTP_DOORS)
        else:
            by_smtp += len(people)
            door = random.choice(_SMTP_DOORS)
        is_large = number % _BROCHURE_EVERY == 0
        kind = Kind.BROCHURE if is_large else random.choice(_KINDS)
        yield Draft(
            number,
            door,
            kind,
            to=people[:2],
            cc=people[2:3],
            bcc=people[3:],
            expires_soon=number <= len(early),
            is_repeated=door.is_http and number % _REPEAT_EVERY == 0,
        )
