r"""What a submitter may choose for a message: by ``X-Mailwright-*`` fields, or by JSON.

Both doors end in the same :class:`Choices` and the same checks, so a stream or a time
means the same thing whichever way it was given. What a choice needs beyond the right to
send is in :data:`NEEDS_CONTROL`; tags and metadata only label a message and need nothing.

Control fields (RFC 5322 fields; always removed before the message is stored):

========================  ==========================================================
X-Mailwright-Stream       name of a stream of the tenant
X-Mailwright-Pool         name of a pool
X-Mailwright-Campaign     a name; kept as the metadata key ``campaign``
X-Mailwright-Send-At      RFC 3339 instant, at most 30 days ahead
X-Mailwright-Expires-At   RFC 3339 instant, after send-at, at most 37 days ahead
X-Mailwright-Tags         names separated by commas
X-Mailwright-Metadata     JSON object of strings
========================  ==========================================================
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mailwright.mta.compose.words import has_controls

MAX_TAGS: Final = 10
MAX_TAG_CHARS: Final = 64
MAX_METADATA_KEYS: Final = 20
MAX_METADATA_VALUE_CHARS: Final = 1024
MAX_METADATA_CHARS: Final = 8192  # of all keys and values together
MAX_NAME_CHARS: Final = 64  # of a stream, a pool, a campaign
MAX_SEND_AHEAD: Final = timedelta(days=30)
#: The send-ahead and a week for trying.
MAX_EXPIRY_AHEAD: Final = timedelta(days=37)

_PREFIX: Final = "x-mailwright-"
_METADATA_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
#: RFC 3339 §5.6, ``date-time``; a zone is demanded.
_INSTANT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)"
)


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen; ``None`` or empty is what the credential has by default.

    Attributes:
        stream: name.
        pool: name.
        campaign: name.
        not_before: earliest delivery; aware.
        expires_at: when queued deliveries are given up; aware.
    """

    stream: str | None = None
    pool: str | None = None
    campaign: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    not_before: datetime | None = None
    expires_at: datetime | None = None


#: The attributes of :class:`Choices` that only a credential with that scope may set.
NEEDS_CONTROL: Final = ("stream", "pool", "campaign", "not_before", "expires_at")

#: What nobody chose.
NOTHING: Final = Choices()


@dataclass(frozen=True, slots=True)
class Defect:
    """A choice that cannot be honoured.

    Attributes:
        choice: the attribute of :class:`Choices`.
        reason: a short text without any part of the input.
    """

    choice: str
    reason: str


def field_name(choice: str) -> str:
    """Return the control field that sets ``choice``."""
    return _FIELD_NAMES[choice]


def json_name(choice: str) -> str:
    """Return the JSON member that sets ``choice``."""
    return "send_at" if choice == "not_before" else choice


@dataclass(frozen=True, slots=True)
class Controls:
    """What the control fields of a message said.

    Attributes:
        unknown: names of fields with our prefix that mean nothing, as they were written.
    """

    choices: Choices
    unknown: tuple[str, ...] = ()


def parse_controls(controls: Sequence[tuple[str, str]]) -> Controls | Defect:
    """Return what control fields choose, unchecked but for their grammar.

    Args:
        controls: (name, unfolded value) of removed fields, in order. Names without our
            prefix (vendors' control fields) are passed over.

    A field that is given twice is a defect: which one counts could not be told.
    """
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in controls:
        key = name.lower()
        if not key.startswith(_PREFIX):
            continue
        reader = _READERS.get(key)
        if reader is None:
            unknown.append(name)
            continue
        choice, read = reader
        if choice in values:
            return Defect(choice, "given twice")
        try:
            values[choice] = read(value.strip())
        except ValueError as error:
            return Defect(choice, str(error))
    return Controls(replace(NOTHING, **values) if values else NOTHING, tuple(unknown))


def merge(first: Choices, second: Choices) -> Choices:
    """Return ``first`` with its gaps filled from ``second``."""
    if second is NOTHING or second == NOTHING:
        return first
    return Choices(
        **{
            part.name: getattr(first, part.name) or getattr(second, part.name)
            for part in fields(Choices)
        }
    )


def defect_of(choices: Choices, *, now: datetime) -> Defect | None:
    """Return the first thing in ``choices`` that no credential may ask for.

    Whether names exist and whether the credential may choose them is for the caller.
    """
    return (
        _name_defect(choices)
        or _tags_defect(choices.tags)
        or _metadata_defect(choices)
        or _times_defect(choices, now)
    )


def parse_instant(text: str) -> datetime:
    """Return the aware UTC instant that ``text`` spells (RFC 3339 §5.6).

    Raises:
        ValueError: no such instant; the text is a reason without any part of the input.
    """
    reason = "needs an RFC 3339 time with a zone, such as 2026-05-01T09:00:00+03:00"
    if not _INSTANT.fullmatch(text):
        raise ValueError(reason)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(reason) from error


def _name_defect(choices: Choices) -> Defect | None:
    for choice in ("stream", "pool", "campaign"):
        name: str | None = getattr(choices, choice)
        if name is not None and (
            not 0 < len(name) <= MAX_NAME_CHARS or has_controls(name)
        ):
            return Defect(
                choice, f"needs a name of at most {MAX_NAME_CHARS} characters"
            )
    return None


def _tags_defect(tags: Sequence[str]) -> Defect | None:
    if len(tags) > MAX_TAGS:
        return Defect("tags", f"more than {MAX_TAGS} tags")
    for tag in tags:
        if not 0 < len(tag) <= MAX_TAG_CHARS or "," in tag or has_controls(tag):
            return Defect(
                "tags", f"a tag has 1 to {MAX_TAG_CHARS} characters and no comma"
            )
    return None


def _metadata_defect(choices: Choices) -> Defect | None:
    metadata = choices.metadata
    if len(metadata) > MAX_METADATA_KEYS:
        return Defect("metadata", f"more than {MAX_METADATA_KEYS} keys")
    total = 0
    for key, value in metadata.items():
        if not _METADATA_KEY.fullmatch(key):
            return Defect(
                "metadata",
                "a key has 1 to 64 letters, digits, dots, hyphens, underlines",
            )
        if len(value) > MAX_METADATA_VALUE_CHARS or has_controls(value):
            return Defect(
                "metadata",
                f"a value has at most {MAX_METADATA_VALUE_CHARS} characters,"
                " no control characters",
            )
        total += len(key) + len(value)
    if total > MAX_METADATA_CHARS:
        return Defect("metadata", f"more than {MAX_METADATA_CHARS} characters in total")
    if metadata.get("campaign", choices.campaign) != choices.campaign is not None:
        return Defect("campaign", "metadata names another campaign")
    return None


def _times_defect(choices: Choices, now: datetime) -> Defect | None:
    starts_at, expires_at = choices.not_before, choices.expires_at
    if starts_at is not None and starts_at > now + MAX_SEND_AHEAD:
        return Defect("not_before", f"more than {MAX_SEND_AHEAD.days} days ahead")
    if expires_at is None:
        return None
    if expires_at <= max(now, starts_at or now):
        return Defect("expires_at", "not after the time of sending")
    if expires_at > now + MAX_EXPIRY_AHEAD:
        return Defect("expires_at", f"more than {MAX_EXPIRY_AHEAD.days} days ahead")
    return None


def _read_tags(value: str) -> tuple[str, ...]:
    return tuple(tag for part in value.split(",") if (tag := part.strip()))


def _read_metadata(value: str) -> Mapping[str, str]:
    reason = "needs a JSON object of strings"
    if len(value) > 2 * MAX_METADATA_CHARS:
        raise ValueError(reason)
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(reason) from error
    if not isinstance(found, dict) or not all(
        isinstance(item, str) for item in found.values()
    ):
        raise ValueError(reason)
    return found


_READERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "x-mailwright-stream": ("stream", str),
    "x-mailwright-pool": ("pool", str),
    "x-mailwright-campaign": ("campaign", str),
    "x-mailwright-send-at": ("not_before", parse_instant),
    "x-mailwright-expires-at": ("expires_at", parse_instant),
    "x-mailwright-tags": ("tags", _read_tags),
    "x-mailwright-metadata": ("metadata", _read_metadata),
}
_FIELD_NAMES: Final = {choice: name.title() for name, (choice, _) in _READERS.items()}
