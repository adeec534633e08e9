"""What clients send about campaigns, as pydantic models: JSON shapes and coarse limits.

What a template, a window or a threshold may be is decided by the parts that use them;
their reasons come back with the same paths.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from mailwright.api.schemas import AttachmentIn, Mailboxes, MailboxIn

_STRICT: Final = ConfigDict(
    extra="forbid", strict=True, frozen=True, populate_by_name=True
)
MAX_INLINE_ROWS: Final = 1000
MAX_TEST_RECIPIENTS: Final = 20
_MAX_NAME: Final = 200
_MAX_LIST: Final = 1000
_MAX_ADDRESS: Final = 1024
_MAX_VARIANTS: Final = 20
_INSTANT: Final[dict[str, JsonValue]] = {"format": "date-time"}
_MERGE: Final = "A template (MiniJinja), rendered for each recipient"

Instant = Annotated[str, Field(max_length=64, json_schema_extra=_INSTANT)]
Fields = Annotated[
    dict[str, JsonValue],
    Field(
        default_factory=dict,
        description="Values by name; strings, numbers, booleans, null, lists, objects",
        max_length=_MAX_LIST,
        examples=[{"first_name": "Ada", "points": 120}],
    ),
]
Labels = Annotated[dict[str, str], Field(default_factory=dict, max_length=_MAX_LIST)]
Pace = Annotated[
    str,
    Field(
        description="Recipients an hour, such as `500/h`; also per `min` or `s`",
        max_length=32,
        examples=["5000/h"],
    ),
]
Priority = Annotated[
    int, Field(ge=0, le=7, description="Among the tenant's campaigns; 0 goes first")
]


class TemplateRefIn(BaseModel):
    """A stored template."""

    model_config = _STRICT

    name: str = Field(max_length=_MAX_NAME)
    version: int | None = Field(None, ge=1, description="Without it, the newest one")


class ContentIn(BaseModel):
    """What a recipient gets: templates and what goes with them."""

    model_config = _STRICT

    subject: str | None = Field(None, description=_MERGE, examples=["Hello {{ name }}"])
    html: str | None = Field(
        None,
        description=f"{_MERGE}; values are escaped",
        examples=["<p>Dear {{ first_name }},</p>"],
    )
    text: str | None = Field(
        None, description=f"{_MERGE}. Without it, it is made from `html`"
    )
    to_name: str | None = Field(
        None, description="Name of the recipient in To; a template", max_length=8192
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Further fields, each value a template; none that has a member of"
        " its own or that the node sets",
        max_length=_MAX_LIST,
    )
    fields: Fields = Field(
        default_factory=dict,
        description="Of the campaign: in force where a recipient has no field so named",
    )
    defaults: Fields = Field(
        default_factory=dict, description="In force where neither has a field so named"
    )
    attachments: list[AttachmentIn] = Field(default_factory=list, max_length=100)
    utm: dict[str, str] | None = Field(
        None,
        description="Parameters to add to links, by name; each value a template",
        max_length=20,
        examples=[{"utm_source": "newsletter", "utm_campaign": "{{ campaign }}"}],
    )
    strict: bool = Field(
        False,
        description="A recipient for whom a field is missing gets nothing, instead of"
        " an empty place",
    )
    variants: "dict[str, VariantIn]" = Field(
        default_factory=dict,
        description="By name; a recipient's `variant` chooses one",
        max_length=_MAX_VARIANTS,
    )


class VariantIn(BaseModel):
    """What is otherwise in one variant; what is left out is as in the rest."""

    model_config = _STRICT

    subject: str | None = None
    html: str | None = None
    text: str | None = None
    from_name: str | None = None


class OpeningIn(BaseModel):
    """Hours of some days."""

    model_config = _STRICT

    days: list[str] | None = Field(
        None,
        description="Of mon, tue, wed, thu, fri, sat, sun; without it every day",
        max_length=7,
    )
    since: str = Field(alias="from", max_length=5, examples=["09:00"])
    to: str = Field(
        max_length=5,
        description="`24:00` is the day's end; not after `from`: on the next day",
        examples=["18:00"],
    )


class WindowIn(BaseModel):
    """When a campaign's mail may leave."""

    model_config = _STRICT

    timezone: str = Field("UTC", description="IANA name", max_length=64)
    recipient_timezone: bool = Field(
        False, description="By the recipient's own time where its row has a `timezone`"
    )
    ranges: list[OpeningIn] = Field(min_length=1, max_length=50)


class SeedIn(BaseModel):
    """A recipient of one's own, put among the others to see what arrives."""

    model_config = _STRICT

    email: str = Field(max_length=_MAX_ADDRESS)
    fields: Fields = Field(default_factory=dict)
    every: int | None = Field(None, ge=1, description="After each so many recipients")
    positions: list[int] | None = Field(
        None, description="Or at these positions, from 1", max_length=_MAX_LIST
    )


class RowIn(BaseModel):
    """A recipient of a small campaign; a bad one is rejected by itself, when sealed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    email: str = Field(max_length=4096)
    fields: Fields = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Strings by name; comes back with its events"
    )
    engaged_at: str | None = Field(
        None, description="When it last opened or bought: RFC 3339 or a date"
    )
    timezone: str | None = Field(None, description="IANA name")
    variant: str | None = None


class CampaignIn(ContentIn):
    """A campaign: one content for many recipients, who may be uploaded later."""

    name: str = Field(min_length=1, max_length=_MAX_NAME)
    author: MailboxIn = Field(
        alias="from",
        description="One mailbox in a sending domain of the key's tenant; the name may"
        " be a template",
    )
    reply_to: Mailboxes = Field(default_factory=list)
    template: TemplateRefIn | None = Field(
        None, description="Instead of `subject`, `html`, `text` and what goes with them"
    )
    stream: str | None = Field(
        None, description="Name of a stream of the tenant; needs the scope `control`"
    )
    pool: str | None = Field(None, description="Needs the scope `control`")
    send_at: Instant | None = Field(
        None, description="RFC 3339, at most 30 days ahead; needs the scope `control`"
    )
    window: WindowIn | None = None
    expires_at: Instant | None = Field(
        None,
        description="RFC 3339: given up if not delivered by then; needs the scope"
        " `control`",
    )
    pace: Pace | None = None
    priority: Priority = 4
    thresholds: dict[str, JsonValue] | None = Field(
        None, description="Rates over which the campaign is held, other than the usual"
    )
    metadata: Labels = Field(default_factory=dict, description="Shown with its events")
    tags: list[str] = Field(default_factory=list, max_length=_MAX_LIST)
    seeds: list[SeedIn] = Field(default_factory=list, max_length=50)
    list_url: str | None = Field(
        None,
        description="Where its recipients are read from when it starts: NDJSON or CSV",
        max_length=2048,
    )
    recipients: list[RowIn] | None = Field(
        None,
        description="All of them, when there are few; otherwise upload them",
        max_length=MAX_INLINE_ROWS,
    )
    start: bool = Field(False, description="Seal and start it at once")

    @model_validator(mode="after")
    def _one_source(self) -> "CampaignIn":
        """Refuse what says twice where recipients come from."""
        if self.list_url is not None and self.recipients is not None:
            raise ValueError("has both recipients and list_url")
        return self


class ChangeIn(BaseModel):
    """What changes while it runs; ``null`` takes a limit away. Acts within 2 s."""

    model_config = _STRICT

    name: str | None = Field(None, min_length=1, max_length=_MAX_NAME)
    pace: Pace | None = None
    pool: str | None = Field(None, description="`null`: the stream's")
    window: WindowIn | None = None
    expires_at: Instant | None = None
    priority: Priority | None = None


class TemplateIn(ContentIn):
    """A version of a template."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        examples=["spring-sale"],
    )
    from_name: str | None = Field(None, description="Shown as author; a template")
    note: str = Field("", description="What is new in this version", max_length=500)


class PreviewIn(BaseModel):
    """For whom to render."""

    model_config = _STRICT

    email: str = Field("someone@example.com", max_length=_MAX_ADDRESS)
    fields: Fields = Field(default_factory=dict)
    variant: str | None = Field(None, max_length=64)


class TestIn(BaseModel):
    """To whom to send rendered copies."""

    model_config = _STRICT

    to: list[str] = Field(min_length=1, max_length=MAX_TEST_RECIPIENTS)
    fields: Fields = Field(default_factory=dict)
    variant: str | None = Field(None, max_length=64)
