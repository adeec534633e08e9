"""Rendering: from a compiled content and a recipient's part to the octets of a message.

A function: the same content, merge and date give the same octets, on every try and every
machine. A value can change the text of the field that it stands in and nothing else: what
it would make of a header field is checked before it becomes one, and when it does not fit,
the recipient is refused rather than the field changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from mailwright.address import parse_address
from mailwright.merge import Merge
from mailwright.mta.compose import links, plain
from mailwright.mta.compose.composing import Composed, base64_lines, compose
from mailwright.mta.compose.content import (
    CampaignContent,
    Json,
    Variant,
    parse_json_object,
)
from mailwright.mta.compose.spec import ComposeError, Mailbox, MessageSpec
from mailwright.mta.compose.template import Context, RenderError, Templates
from mailwright.mta.compose.values import Plain, ValueDepthError
from mailwright.mta.compose.values import plain as plain_value

#: Header fields whose value is read by programs: no encoded words in them.
_FOR_PROGRAMS: Final = frozenset(
    (
        *("list-unsubscribe", "list-unsubscribe-post", "list-help", "list-owner"),
        *("list-post", "list-subscribe", "list-archive", "feedback-id"),
        *("auto-submitted", "precedence", "in-reply-to", "references"),
        *("cfbl-address", "cfbl-feedback-id"),
    )
)
_EMAIL: Final = "email"
#: Ends the name of a text template that was made of an html template.
_MADE_TEXT: Final = " as text"
_NO_VARIANT: Final = Variant()


@dataclass(frozen=True, slots=True)
class CompiledContent:
    """A content whose templates are compiled. One rendering at a time.

    Attributes:
        campaign: what the campaign's fields and defaults come to.
    """

    content: CampaignContent
    templates: Templates
    campaign: Mapping[str, Plain]


def compile_content(content: CampaignContent) -> CompiledContent:
    """Compile the templates of ``content``, and encode its attachments.

    Blocking: about a millisecond for each 100 KB of templates.

    Raises:
        TemplateError: one of them is no template.
    """
    sources = {
        "from.name": content.author_name,
        "to_name": content.to_name,
        "subject": content.subject,
        "html": content.html,
        "text": content.text,
    }
    sources |= {f"headers.{name}": each for name, each in content.headers.items()}
    sources |= {f"utm.{name}": each for name, each in content.utm.items()}
    for name, variant in content.variants.items():
        path = f"variants.{name}"
        sources |= {
            f"{path}.subject": variant.subject,
            f"{path}.html": variant.html,
            f"{path}.text": variant.text,
            f"{path}.from_name": variant.from_name,
        }
    given = {name: each for name, each in sources.items() if each is not None}
    templates = Templates(given, is_strict=content.is_strict)
    for name in sources:
        if name.endswith("html"):
            templates.add_text_of(name, f"{name}{_MADE_TEXT}")
    content = replace(
        content,
        attachments=tuple(
            replace(each, encoded=base64_lines(each.content))
            for each in content.attachments
        ),
    )
    campaign = _layered(content.defaults, content.fields)
    return CompiledContent(content, templates, campaign)


def context_of(
    compiled: CompiledContent, fields: Mapping[str, Any], recipient: str
) -> Context:
    """Return what templates see: a recipient's fields over the campaign's over defaults.

    A field that is null, or an empty text, leaves the one beneath it in place. ``email``
    is the canonical address, whatever the fields say.

    Raises:
        RenderError: a field nests too deep.
    """
    try:
        values = _layered(fields)
    except ValueDepthError as error:
        raise RenderError("fields", str(error)) from error
    merged = {**values, **compiled.campaign}
    merged |= {name: each for name, each in values.items() if each != ""}
    merged[_EMAIL] = recipient
    return Context(merged)


def spec_of(
    compiled: CompiledContent, context: Context, recipient: str, variant: str
) -> MessageSpec:
    """Return what a recipient's message says.

    Raises:
        RenderError: a template cannot be rendered, or the variant is unknown.
    """
    content = compiled.content
    if variant and variant not in content.variants:
        raise RenderError("variant", "the content has no such variant")
    name_of = _Names(content.variants.get(variant, _NO_VARIANT), variant)
    render = compiled.templates.render
    subject = render(name_of.subject, context).strip(" ")
    author_name = render(name_of.author_name, context).strip(" ")
    html, text = _texts(compiled, context, name_of)
    return MessageSpec(
        author=Mailbox(content.author, author_name),
        subject=subject,
        text=text,
        html=html,
        to=(Mailbox(parse_address(recipient), render("to_name", context).strip(" ")),),
        reply_to=content.reply_to,
        attachments=content.attachments,
        headers=tuple(
            (name, _header(compiled, name, context)) for name in content.headers
        ),
    )


def render(compiled: CompiledContent, merge: Merge, *, dated_at: datetime) -> Composed:
    """Return the message of ``merge``'s recipient.

    Args:
        compiled: the content that ``merge`` names.
        merge: what is the recipient's own.
        dated_at: the campaign's date: value of Date.

    Blocking: some 0.4 ms for 5 KB.

    Raises:
        RenderError: there is none, and why.
    """
    try:
        fields = parse_json_object(merge.fields)
    except ValueError as error:
        raise RenderError("fields", str(error)) from error
    context = context_of(compiled, fields, merge.recipient)
    spec = spec_of(compiled, context, merge.recipient, merge.variant)
    return composed(spec, merge.message_id, dated_at=dated_at)


def composed(spec: MessageSpec, message_id: str, *, dated_at: datetime) -> Composed:
    """Return the octets of ``spec``; the seed of its boundaries is ``message_id``.

    Raises:
        RenderError: what templates came to does not fit its field.
    """
    try:
        return compose(
            spec,
            date=dated_at,
            message_id=message_id,
            boundary_seed=message_id.encode(),
        )
    except ComposeError as error:
        defect = error.defects[0]
        raise RenderError(defect.field, defect.reason) from error


def template_names(compiled: CompiledContent, variant: str) -> tuple[str, ...]:
    """Return the names of the templates that make a variant's message."""
    name_of = _Names(compiled.content.variants.get(variant, _NO_VARIANT), variant)
    names = (
        name_of.author_name,
        "to_name",
        name_of.subject,
        name_of.html,
        name_of.text,
        *(f"headers.{name}" for name in compiled.content.headers),
        *(f"utm.{name}" for name in compiled.content.utm),
    )
    return tuple(name for name in names if name in compiled.templates)


def _layered(*layers: Mapping[str, Json]) -> dict[str, Plain]:
    """Return ``layers`` as one, the last on top; what is null or empty covers nothing."""
    found: dict[str, Plain] = {}
    for layer in layers:
        for name, value in layer.items():
            seen = plain_value(value)
            if seen is not None and (seen != "" or name not in found):
                found[name] = seen
    return found


class _Names:
    """Which templates a variant uses."""

    __slots__ = ("author_name", "html", "subject", "text")

    def __init__(self, variant: Variant, name: str) -> None:
        path = f"variants.{name}."
        self.subject = "subject" if variant.subject is None else f"{path}subject"
        self.html = "html" if variant.html is None else f"{path}html"
        self.text = "text" if variant.text is None else f"{path}text"
        own = f"{path}from_name"
        self.author_name = "from.name" if variant.from_name is None else own
        if variant.html is not None and variant.text is None:
            # The content's text would say what the content's html says.
            self.text = ""


def _texts(
    compiled: CompiledContent, context: Context, name_of: _Names
) -> tuple[str | None, str | None]:
    templates = compiled.templates
    utm = {
        name: templates.render(f"utm.{name}", context).strip()
        for name in compiled.content.utm
    }
    html = text = None
    if name_of.html in templates:
        html = links.mark_html(templates.render(name_of.html, context), utm)
    if name_of.text in templates:
        text = links.mark_text(templates.render(name_of.text, context), utm)
    elif not utm and f"{name_of.html}{_MADE_TEXT}" in templates:
        made = templates.render(f"{name_of.html}{_MADE_TEXT}", context)
        text = plain.tidy(made)
    elif html is not None:
        text = plain.from_html(html)
    return html, text


def _header(compiled: CompiledContent, name: str, context: Context) -> str:
    field = f"headers.{name}"
    value = compiled.templates.render(field, context).strip(" ")
    if name.lower() in _FOR_PROGRAMS and not (value.isascii() and "=?" not in value):
        raise RenderError(field, "has characters that this field must not have")
    return value
