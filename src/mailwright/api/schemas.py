"""What clients send, as pydantic models: JSON shapes only.

What an address, a field or a time may be is decided further in, once for every door; here
are types, members and the coarse limits that keep a hostile body cheap. A member that is
not listed is an error, since a misspelt one would otherwise be ignored in silence.
"""

import re
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import override

_STRICT: Final = ConfigDict(extra="forbid", strict=True, frozen=True)
_MAX_LIST: Final = 1000
_MAX_MAILBOX: Final = 2100  # name and address at their longest
_INSTANT: Final[dict[str, JsonValue]] = {"format": "date-time"}
#: ``Name <local@domain>`` or ``"Name" <local@domain>``; one that could be two is neither.
_NAMED: Final = re.compile(
    r'\s*(?:"((?:[^"\\]|\\.)*)"|([^<>",@]*?))\s*<([^<>]*)>\s*', re.DOTALL
)


class MailboxIn(BaseModel):
    """An address with the name that people see; or a string, `Name <local@domain>`."""

    model_config = _STRICT

    address: str = Field(description="`local@domain`, nothing else", max_length=1024)
    name: str = Field("", description="Shown to people", max_length=1024)

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # The length comes first: no pattern is tried on what cannot be one.
        named = _NAMED.fullmatch(value) if len(value) <= _MAX_MAILBOX else None
        if named is None:
            return {"address": value}
        quoted, plain, address = named.groups()
        name = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        return {"address": address, "name": name}

    @classmethod
    @override
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        description = schema.pop("description", "")
        return {
            "description": description,
            "anyOf": [{"type": "string"}, schema],
        }


class AttachmentIn(BaseModel):
    """A file that goes with the message."""

    model_config = _STRICT

    filename: str = Field(max_length=1024, examples=["offer.pdf"])
    content_type: str = Field("application/octet-stream", max_length=1024)
    content: str = Field(
        description="The file in base64 (RFC 4648 §4); line ends are allowed",
        json_schema_extra={"format": "byte"},
    )
    content_id: str = Field(
        "",
        description="Makes it an inline part that the HTML shows as `cid:…`",
        max_length=1024,
    )


Mailboxes = Annotated[list[MailboxIn], Field(max_length=_MAX_LIST)]


class MessageIn(BaseModel):
    """A message and who gets it. All recipients get the same octets."""

    model_config = _STRICT

    author: MailboxIn = Field(
        alias="from", description="One mailbox in a sending domain of the key's tenant"
    )
    to: Mailboxes = Field(default_factory=list)
    cc: Mailboxes = Field(default_factory=list)
    bcc: Mailboxes = Field(
        default_factory=list, description="Recipients that no field names"
    )
    reply_to: Mailboxes = Field(default_factory=list)
    subject: str = ""
    text: str | None = Field(None, description="Plain text; this or `html` is needed")
    html: str | None = None
    attachments: list[AttachmentIn] = Field(default_factory=list, max_length=_MAX_LIST)
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Further fields, such as `List-Unsubscribe` or `X-Order`; none that"
        " has a member of its own or that the node sets",
        max_length=_MAX_LIST,
    )
    stream: str | None = Field(
        None, description="Name of a stream of the tenant; needs the scope `control`"
    )
    tags: list[str] = Field(default_factory=list, max_length=_MAX_LIST)
    metadata: dict[str, str] = Field(
        default_factory=dict,
        description="Kept with the message and shown with it",
        max_length=_MAX_LIST,
    )
    send_at: str | None = Field(
        None,
        description="RFC 3339, at most 30 days ahead; needs the scope `control`",
        json_schema_extra=_INSTANT,
        max_length=64,
    )
    expires_at: str | None = Field(
        None,
        description="RFC 3339: given up if not delivered by then; needs the scope"
        " `control`",
        json_schema_extra=_INSTANT,
        max_length=64,
    )


class RecipientOut(BaseModel):
    """What became of one recipient."""

    delivery: str = Field(description="Public id of the delivery")
    address: str = Field(description="Canonical: what is on the wire")
    state: str = Field(description="`queued` or `suppressed`")


class AcceptedOut(BaseModel):
    """A message that is on stable storage."""

    id: str = Field(description="Public id of the message")
    message_id: str = Field(description="Value of the Message-ID field")
    recipients: list[RecipientOut]
