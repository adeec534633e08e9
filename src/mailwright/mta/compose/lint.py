"""A look at a campaign before it leaves: what it renders to, and what is wrong with it.

Findings are about what a recipient or a receiver would mind. Only ``error`` says that mail
would not leave or not work; nobody is refused for a finding.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from mailwright.merge import Merge
from mailwright.mta.compose.content import parse_json_object
from mailwright.mta.compose.markup import Tag, Text, tokens
from mailwright.mta.compose.rendering import (
    CompiledContent,
    compile_content,
    composed,
    context_of,
    render,
    spec_of,
    template_names,
)
from mailwright.mta.compose.spec import Attachment, MessageSpec
from mailwright.mta.compose.template import Context, RenderError, missing_of

#: Gmail shows this much of a message's html and hides the rest behind a link.
CLIPPED_OCTETS: Final = 102 * 1024
#: More than any list of messages shows.
LONG_SUBJECT_CHARS: Final = 120
#: Many receivers take no more.
LARGE_OCTETS: Final = 10_000_000
MAX_FINDINGS: Final = 100
_MAX_SHOWN_CHARS: Final = 80

_UNSAFE: Final = frozenset({"javascript", "vbscript", "data", "file", "blob", "about"})
_CALLING: Final = frozenset({"mailto", "tel", "sms"})
_UNSUBSCRIBE: Final = re.compile(
    "unsubscri|opt-?out|abmeld|abbestell|austrag|désabon|desabon|désinscri|desinscri"
    "|desuscri|darse de baja|darme de baja|cancelar (?:la )?suscri|cancelar inscri"
    "|disiscri|cancella iscri|uitschrij|afmeld|avregistr|avprenumer|afmeld|avmeld"
    "|wypisz|rezygn|odhl[aá]s|leiratk|peruuta tilaus|отпис|відпис|配信停止|退订|수신거부",
    re.IGNORECASE,
)


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that its author should know.

    Attributes:
        code: of a closed list, for programs.
        where: field, with the line where there is one: ``html:12``.
        text: a sentence for people.
    """

    code: str
    severity: Severity
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a recipient would get; without ``octets`` nothing would leave.

    Attributes:
        author: the From field, decoded.
        octets: size of the message before it is signed.
    """

    subject: str = ""
    author: str = ""
    to: str = ""
    html: str | None = None
    text: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    octets: int = 0
    lint: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def preview_of_json(value: Mapping[str, Any]) -> Preview:
    """Return the preview that :meth:`Preview.to_json` wrote."""
    return Preview(
        **{
            **value,
            "headers": tuple((name, text) for name, text in value["headers"]),
            "lint": tuple(
                Finding(**{**each, "severity": Severity(each["severity"])})
                for each in value["lint"]
            ),
        }
    )


def preview(compiled: CompiledContent, merge: Merge, *, dated_at: datetime) -> Preview:
    """Return what ``merge``'s recipient would get, with what is wrong about it.

    Of a message that cannot be rendered strictly, the parts are shown as far as they go.
    """
    findings: list[Finding] = []
    octets = 0
    try:
        octets = len(render(compiled, merge, dated_at=dated_at).octets)
    except RenderError as error:
        findings.append(
            Finding("not_rendered", Severity.ERROR, error.field, error.reason)
        )
    if compiled.content.is_strict:
        compiled = compile_content(replace(compiled.content, is_strict=False))
    try:
        context = context_of(compiled, parse_json_object(merge.fields), merge.recipient)
        spec = spec_of(compiled, context, merge.recipient, merge.variant)
        composed(spec, merge.message_id, dated_at=dated_at)
    except (ValueError, RenderError):
        return Preview(lint=tuple(findings))  # the finding has said why
    for found in (
        *_missing(compiled, context, merge.variant),
        *lint(spec, has_text=_has_text(compiled, merge.variant)),
    ):
        if len(findings) < MAX_FINDINGS:
            findings.append(found)
    if octets > LARGE_OCTETS:
        findings.append(_warning("message_large", "", "many receivers refuse 10 MB"))
    author = spec.author
    return Preview(
        spec.subject,
        f"{author.name} <{author.address}>" if author.name else str(author.address),
        str(spec.to[0].address),
        spec.html,
        spec.text,
        spec.headers,
        octets,
        tuple(findings),
    )


def lint(spec: MessageSpec, *, has_text: bool = True) -> Iterator[Finding]:
    """Yield what is wrong with a rendered message.

    Args:
        spec: the message.
        has_text: its text was written, not made from the html.
    """
    yield from _of_subject(spec.subject)
    yield from _of_text(spec, has_text=has_text)
    can_leave = any(name.lower() == "list-unsubscribe" for name, _ in spec.headers)
    if spec.html is not None:
        yield from _of_html(spec.html, spec.attachments)
    said = (spec.text or "", *_links_of(spec.html or ""))
    if not can_leave and not any(map(_UNSUBSCRIBE.search, said)):
        yield Finding(
            "unsubscribe_missing",
            Severity.ERROR,
            "html" if spec.html is not None else "text",
            "no link and no List-Unsubscribe lets a recipient leave",
        )


def _warning(code: str, where: str, text: str) -> Finding:
    return Finding(code, Severity.WARNING, where, text)


def _has_text(compiled: CompiledContent, variant: str) -> bool:
    return any(
        name == "text" or name.endswith(".text")
        for name in template_names(compiled, variant)
    )


def _missing(
    compiled: CompiledContent, context: Context, variant: str
) -> Iterator[Finding]:
    for template in template_names(compiled, variant):
        for name in missing_of(compiled.templates.names(template), context):
            shown = name[:_MAX_SHOWN_CHARS]
            yield _warning("missing_field", template, f"{shown} has no value")


def _of_subject(subject: str) -> Iterator[Finding]:
    if not subject:
        yield Finding("subject_empty", Severity.ERROR, "subject", "there is no subject")
    elif len(subject) > LONG_SUBJECT_CHARS:
        text = f"over {LONG_SUBJECT_CHARS} characters: readers cut it"
        yield _warning("subject_long", "subject", text)


def _of_text(spec: MessageSpec, *, has_text: bool) -> Iterator[Finding]:
    if not has_text:
        text = "no text part was given; it is made from the html"
        yield Finding("text_made", Severity.INFO, "text", text)
    if spec.text is not None and not spec.text.strip():
        text = "the text part is empty: images alone look like spam"
        yield _warning("text_empty", "text", text)


def _of_html(html: str, attachments: Iterable[Attachment]) -> Iterator[Finding]:
    if len(html.encode()) > CLIPPED_OCTETS:
        text = "over 102 KB: Gmail hides the end, with the unsubscribe link"
        yield _warning("html_clipped", "html", text)
    inline = {each.content_id for each in attachments}
    for token in tokens(html):
        if not isinstance(token, Tag) or token.is_end:
            continue
        starts = [each.start for each in token.attributes if each.start >= 0]
        line = html.count("\n", 0, min(starts)) + 1 if starts else 0
        where = f"html:{line}" if line else "html"
        if token.name in ("a", "area"):
            yield from _of_link(token.attribute("href"), where)
        elif token.name == "img":
            yield from _of_image(token, where, inline)
        elif token.name in ("script", "form", "iframe"):
            text = f"{token.name} is taken out by receivers, or taken for an attack"
            yield _warning("element_unsafe", where, text)


def _of_link(link: str | None, where: str) -> Iterator[Finding]:
    if link is None:
        return
    shown = link.strip()[:_MAX_SHOWN_CHARS]
    scheme, address = _scheme_of(link)
    fault = None
    if not link.strip():
        fault = "link_broken", "a link to nowhere"
    elif scheme in _UNSAFE:
        fault = "link_unsafe", f"{scheme}: links are taken out, or taken for an attack"
    elif scheme in ("http", "https"):
        if "{{" in link or "{%" in link or re.search(r"\s", link.strip()):
            fault = "link_broken", f"not a URL: {shown}"
        elif "." not in address:
            fault = "link_broken", f"no host: {shown}"
    elif scheme not in _CALLING and not link.startswith("#"):
        fault = "link_relative", f"has no meaning in a message: {shown}"
    if fault is not None:
        yield Finding(fault[0], Severity.ERROR, where, fault[1])


def _of_image(image: Tag, where: str, inline: set[str]) -> Iterator[Finding]:
    if image.attribute("alt") is None:
        text = "without alt it is nothing to who does not load images"
        yield _warning("image_alt_missing", where, text)
    source = (image.attribute("src") or "").strip()
    scheme, rest = _scheme_of(source)
    if scheme == "cid":
        if source.partition(":")[2] not in inline:
            text = "no attachment has this content_id"
            yield Finding("image_unknown", Severity.ERROR, where, text)
    elif scheme == "data":
        yield _warning("image_data", where, "many readers do not show data: images")
    elif scheme not in ("http", "https") or "." not in rest:
        text = f"is not found from a message: {source[:_MAX_SHOWN_CHARS]}"
        yield Finding("image_broken", Severity.ERROR, where, text)


def _scheme_of(link: str) -> tuple[str, str]:
    """Return scheme and host; both empty for what is no URL."""
    try:
        # Readers ignore controls inside a scheme: java\tscript.
        parts = urlsplit(re.sub(r"[\x00-\x20]", "", link))
        return parts.scheme.lower(), parts.hostname or ""
    except ValueError:
        return "http", ""


def _links_of(html: str) -> Iterator[str]:
    """Yield addresses and texts of the links in ``html``."""
    is_inside = False
    for token in tokens(html):
        if isinstance(token, Text):
            if is_inside:
                yield token.raw
        elif token.name == "a":
            is_inside = not token.is_end
            yield token.attribute("href") or ""
