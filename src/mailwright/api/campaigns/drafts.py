"""From a request's body to a new campaign. Values in, values out; thread-safe.

Everything that is wrong is told at once, each with the path of its field. Who may send it,
on which stream, from which domain and through which pool is decided by the admission of
messages, for which a campaign is a message without recipients.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from mailwright.accounts.directory import Credential, Directory
from mailwright.address import Address, AddressError, parse_address
from mailwright.api.campaigns.contents import campaign_content
from mailwright.api.campaigns.schemas import (
    CampaignIn,
    ChangeIn,
    SeedIn,
    WindowIn,
)
from mailwright.api.door import refused
from mailwright.api.ports import Gate
from mailwright.api.problems import FieldError, Kind, ProblemError, field_errors
from mailwright.api.schemas import MailboxIn
from mailwright.config.units import UnitError, parse_rate
from mailwright.envelope import Envelope
from mailwright.mta.admission import Offer, Refusal
from mailwright.mta.compose.content import to_json
from mailwright.mta.control import Choices, defect_of, json_name, parse_instant
from mailwright.outbound_http import url_defect
from mailwright.queue.campaign.job import UNCHANGED, Change, NewCampaign, Seed
from mailwright.queue.campaign.watch import ThresholdError, parse_thresholds
from mailwright.queue.campaign.window import WindowError, parse_window
from mailwright.submission import Submission

MAX_PACE_PER_HOUR: Final = 1_000_000_000
_HOUR_S: Final = 3600
_NOBODY: Final = Address("nobody", "example.invalid")
ModelT = TypeVar("ModelT", bound=BaseModel)
#: What of a campaign is shown back as it was asked for.
_ASKED: Final = {
    "author",
    "reply_to",
    "subject",
    "template",
    "headers",
    "utm",
    "strict",
    "fields",
    "defaults",
    "thresholds",
    "seeds",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a campaign, when, and by which settings.

    Attributes:
        template: JSON octets of the stored template that is named, if one is.
    """

    credential: Credential
    now: datetime
    directory: Directory
    admission: Gate
    template: bytes | None = None


def parse_body(adapter: TypeAdapter[ModelT], body: bytes) -> ModelT:
    """Return what a JSON body says.

    Raises:
        ProblemError: it is no JSON, or members are not right.
    """
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        errors = field_errors(error)
        if [found["type"] for found in error.errors()] == ["json_invalid"]:
            raise ProblemError(Kind.MALFORMED, errors[0].message) from error
        raise ProblemError(Kind.INVALID, errors=errors) from error


def campaign_of(given: CampaignIn, asking: Asking) -> NewCampaign:
    """Return the campaign that is asked for, with everything in it checked.

    Blocking: compiles its templates.

    Raises:
        ProblemError: something is not right, or not allowed.
    """
    reading = _Reading()
    author = reading.mailbox(given.author, "from")
    for place, each in enumerate(given.reply_to):
        reading.mailbox(each, f"reply_to[{place}]")
    seeds = tuple(
        reading.seed(each, f"seeds[{place}]") for place, each in enumerate(given.seeds)
    )
    choices = reading.choices(given, asking.now)
    pace = reading.pace(given.pace)
    window = reading.window(given.window)
    reading.thresholds(given.thresholds)
    reading.list_url(given.list_url)
    content, defects = campaign_content(given, asking.template)
    if reading.errors or content is None or defects:
        # Some members are looked at twice: once is enough to be told.
        told = {
            (each.field, each.message): each for each in [*reading.errors, *defects]
        }
        raise ProblemError(Kind.INVALID, errors=list(told.values()))
    admitted = _admitted(author, choices, asking)
    stream = asking.directory.streams[admitted.stream]
    return NewCampaign(
        tenant=admitted.tenant,
        credential=admitted.credential,
        stream=admitted.stream,
        sending_domain=admitted.sending_domain,
        selector=admitted.selector,
        reverse_path=author.canonical,
        content=to_json(content),
        name=given.name,
        pool=None if admitted.pool == stream.pool else admitted.pool,
        spec=given.model_dump(
            mode="json", by_alias=True, include=_ASKED, exclude_none=True
        ),
        metadata=admitted.metadata,
        tags=admitted.tags,
        send_at=admitted.not_before,
        expires_at=admitted.expires_at,
        window=window,
        pace_per_hour=_paced(pace, asking.credential),
        priority=given.priority,
        seeds=seeds,
        list_url=given.list_url,
        thresholds=given.thresholds,
    )


def change_of(given: ChangeIn, asking: Asking) -> Change:
    """Return the change that is asked for.

    Raises:
        ProblemError: something is not right.
    """
    reading = _Reading()
    said = given.model_fields_set
    for field in ("name", "priority"):
        if field in said and getattr(given, field) is None:
            reading.errors.append(FieldError(field, "cannot be taken away"))
    pool = None
    if given.pool is not None:
        found = asking.directory.pool_for(asking.credential.tenant, given.pool)
        if found is None:
            reading.errors.append(FieldError("pool", "no such pool"))
        else:
            pool = found.id
    expires_at = reading.instant(given.expires_at, "expires_at")
    reading.defect(Choices(expires_at=expires_at), asking.now)
    pace = reading.pace(given.pace)
    window = reading.window(given.window)
    if reading.errors:
        raise ProblemError(Kind.INVALID, errors=reading.errors)
    return Change(
        name=UNCHANGED if given.name is None else given.name,
        pace_per_hour=(
            _paced(pace, asking.credential) if "pace" in said else UNCHANGED
        ),
        pool=pool if "pool" in said else UNCHANGED,
        window=window if "window" in said else UNCHANGED,
        expires_at=expires_at if "expires_at" in said else UNCHANGED,
        priority=UNCHANGED if given.priority is None else given.priority,
    )


def _admitted(author: Address, choices: Choices, asking: Asking) -> Submission:
    """Return what admission makes of a message of the campaign.

    Raises:
        ProblemError: it refuses.
    """
    header = b"From: <" + author.canonical.encode() + b">\r\n\r\n"
    offer = Offer(
        asking.credential,
        Envelope(author, ()),
        header,
        b"",
        choices=choices,
    )
    judged = asking.admission.judge(offer, now=asking.now, fresh_id=lambda: "campaign")
    if isinstance(judged, Refusal):
        raise refused(judged)
    return judged


def _paced(pace: int | None, credential: Credential) -> int | None:
    """Return how many may leave an hour: no more than its credential may submit."""
    limit = credential.limits.hourly
    if limit is None or pace is None:
        return limit if pace is None else pace
    return min(limit, pace)


class _Reading:
    """Reads members and collects what is wrong with them."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def mailbox(self, given: MailboxIn, path: str) -> Address:
        return self.address(given.address, f"{path}.address")

    def address(self, text: str, path: str) -> Address:
        try:
            return parse_address(text)
        except AddressError as error:
            self.errors.append(FieldError(path, error.reason))
            return _NOBODY

    def seed(self, given: SeedIn, path: str) -> Seed:
        address = self.address(given.email, f"{path}.email")
        positions = given.positions or []
        if (given.every is None) == (not positions):
            self.errors.append(FieldError(path, "needs every or positions"))
        if any(position < 1 for position in positions):
            self.errors.append(FieldError(f"{path}.positions", "count from 1"))
        return Seed(address.canonical, given.fields, given.every, tuple(positions))

    def choices(self, given: CampaignIn, now: datetime) -> Choices:
        choices = Choices(
            stream=given.stream,
            pool=given.pool,
            tags=tuple(given.tags),
            metadata=given.metadata,
            not_before=self.instant(given.send_at, "send_at"),
            expires_at=self.instant(given.expires_at, "expires_at"),
        )
        self.defect(choices, now)
        return choices

    def defect(self, choices: Choices, now: datetime) -> None:
        defect = defect_of(choices, now=now)
        if defect is not None:
            self.errors.append(FieldError(json_name(defect.choice), defect.reason))

    def instant(self, text: str | None, path: str) -> datetime | None:
        if text is None:
            return None
        try:
            return parse_instant(text)
        except ValueError as error:
            self.errors.append(FieldError(path, str(error)))
            return None

    def pace(self, text: str | None) -> int | None:
        if text is None:
            return None
        try:
            rate = parse_rate(text)
        except UnitError as error:
            self.errors.append(FieldError("pace", error.remedy))
            return None
        an_hour = rate.count * _HOUR_S // rate.period_s
        if not 1 <= an_hour <= MAX_PACE_PER_HOUR:
            self.errors.append(
                FieldError("pace", f"needs 1 to {MAX_PACE_PER_HOUR} an hour")
            )
        return an_hour

    def window(self, given: WindowIn | None) -> Mapping[str, object] | None:
        if given is None:
            return None
        try:
            return parse_window(
                given.model_dump(mode="json", by_alias=True, exclude_none=True)
            ).to_json()
        except WindowError as error:
            self.errors.append(FieldError(error.field, error.reason))
            return None

    def thresholds(self, given: Mapping[str, object] | None) -> None:
        try:
            parse_thresholds(given)
        except ThresholdError as error:
            self.errors.append(FieldError(error.field, error.reason))

    def list_url(self, text: str | None) -> None:
        defect = "" if text is None else url_defect(text)
        if defect:
            self.errors.append(FieldError("list_url", defect))
