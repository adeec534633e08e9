"""What a campaign says: its content as JSON, read strictly and written canonically.

A content is what all recipients share: templates, the campaign's fields, attachments. It
is read once (:mod:`mailwright.mta.compose.reading`), stored as :func:`to_json` writes it,
and never changed.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from mailwright.address import Address
from mailwright.errors import MailwrightError
from mailwright.mta.compose.spec import Attachment, Defect, Mailbox

#: A plain JSON value.
Json: TypeAlias = (
    bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
)


class ContentError(MailwrightError):
    """A content is not right; ``defects`` says where and why, with paths of fields."""

    def __init__(self, defects: Sequence[Defect]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.reason}" for each in defects))
        self.defects = tuple(defects)


@dataclass(frozen=True, slots=True)
class Variant:
    """What one variant says in place of the content; ``None``: the same."""

    subject: str | None = None
    html: str | None = None
    text: str | None = None
    from_name: str | None = None


@dataclass(frozen=True, slots=True)
class CampaignContent:
    """What a campaign says.

    Attributes:
        author: the From address.
        author_name: template of its display name; ``""`` for none.
        subject: template.
        html: template, or ``None``.
        text: template, or ``None``: then it is made from the html.
        reply_to: mailboxes as they are, no templates.
        to_name: template of the recipient's display name.
        headers: further fields: name → template of its value.
        fields: the campaign's own, beneath those of a recipient.
        defaults: stand in for what neither has, or has empty.
        utm: parameter → template of its value, added to links.
        is_strict: a field that is missing is an error, else it is empty.
        variants: name → what differs.
    """

    author: Address
    subject: str
    html: str | None = None
    text: str | None = None
    author_name: str = ""
    reply_to: tuple[Mailbox, ...] = ()
    to_name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Json] = field(default_factory=dict)
    defaults: Mapping[str, Json] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    utm: Mapping[str, str] = field(default_factory=dict)
    is_strict: bool = False
    variants: Mapping[str, Variant] = field(default_factory=dict)


def parse_json_object(octets: bytes) -> dict[str, Any]:
    """Return the JSON object in ``octets``; no NaN, no lone surrogates.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(octets, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - broken input
    # A surrogate can only come from an escape.
    if b"\\u" in octets and _has_surrogate(value):
        raise ValueError("has a lone surrogate")
    return value


def to_json(content: CampaignContent) -> bytes:
    """Return ``content`` as canonical JSON: one content has one spelling."""
    value: dict[str, Any] = {
        "from": {"address": content.author.canonical, "name": content.author_name},
        "reply_to": [
            {"address": each.address.canonical, "name": each.name}
            for each in content.reply_to
        ],
        "to_name": content.to_name,
        "subject": content.subject,
        "html": content.html,
        "text": content.text,
        "headers": dict(content.headers),
        "fields": content.fields,
        "defaults": content.defaults,
        "attachments": [
            {
                "filename": each.filename,
                "content_type": each.content_type,
                "content": b64encode(each.content).decode(),
                "content_id": each.content_id,
            }
            for each in content.attachments
        ],
        "utm": dict(content.utm),
        "strict": content.is_strict,
        "variants": {
            name: {
                key: text
                for key, text in (
                    ("subject", each.subject),
                    ("html", each.html),
                    ("text", each.text),
                    ("from_name", each.from_name),
                )
                if text is not None
            }
            for name, each in content.variants.items()
        },
    }
    # The order of headers is the author's, and so is that of the parameters.
    kept = {
        key: each
        for key, each in value.items()
        if each not in ("", None, [], {}) or key == "subject"
    }
    return json.dumps(
        kept, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _has_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
