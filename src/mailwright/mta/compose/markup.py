"""HTML as a row of tokens: enough to find links, images and text, whatever it looks like.

Not a parser: no tree, no repair. Every function is total, and linear in the size of the
input: what is opened and never closed ends the document.

Source: HTML Living Standard §13.2.5 (how tags, attributes and comments are delimited).
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final, NamedTuple, TypeAlias


class Attribute(NamedTuple):
    """An attribute of a tag.

    Attributes:
        name: in lower case.
        value: as it is written, without quotes.
        start: offset of the value in the document; -1 without one.
    """

    name: str
    value: str
    start: int


class Tag(NamedTuple):
    """A start or end tag; ``name`` is in lower case."""

    name: str
    is_end: bool
    attributes: tuple[Attribute, ...] = ()

    def attribute(self, name: str) -> str | None:
        """Return an attribute's value, its character references resolved."""
        for each in self.attributes:
            if each.name == name:
                return unescape(each.value)
        return None


class Text(NamedTuple):
    """Text between tags; ``raw`` has character references."""

    raw: str


Token: TypeAlias = Tag | Text

#: Elements whose content is no markup.
RAW_TEXT: Final = frozenset({"script", "style", "textarea", "title", "xmp"})
_TAG_NAME: Final = re.compile(r"</?([A-Za-z][^\s/>]*+)")
_ATTRIBUTE: Final = re.compile(r"[\s/]*+([^\s/>=][^\s/>=]*+)")
_ASSIGNMENT: Final = re.compile(r"\s*+=\s*+")
_UNQUOTED: Final = re.compile(r"[^\s>]*+")
_BLANK: Final = re.compile(r"[\s/]*+")
_TAG_END: Final = re.compile(r"[\s/]*+>")


def tokens(html: str) -> Iterator[Token]:
    """Yield the tags and texts of ``html`` in their order; comments are left out."""
    at, size = 0, len(html)
    while at < size:
        opening = html.find("<", at)
        if opening < 0:
            opening = size
        if opening > at:
            yield Text(html[at:opening])
        if opening == size:
            return
        named = _TAG_NAME.match(html, opening)
        if named is None:
            at = _after_other(html, opening)
            if at == opening:  # a "<" that is only that
                yield Text("<")
                at += 1
            continue
        tag, at = _tag(html, named)
        if tag is None:
            return
        yield tag
        if tag.name in RAW_TEXT and not tag.is_end:
            closing = re.compile(rf"</{tag.name}(?=[\s/>])", re.IGNORECASE)
            end = closing.search(html, at)
            if end is None:
                return
            at = end.start()


def _after_other(html: str, at: int) -> int:
    """Return the offset after a comment or declaration; ``at`` itself when it is none."""
    if html.startswith("<!--", at):
        end = html.find("-->", at + 2)  # "<!-->" is a whole comment
        return end + 3 if end >= 0 else len(html)
    if html.startswith(("<!", "<?", "</"), at):
        end = html.find(">", at)
        return end + 1 if end >= 0 else len(html)
    return at


def _tag(html: str, named: re.Match[str]) -> tuple[Tag | None, int]:
    """Return the tag that ``named`` begins, and the offset after it."""
    at = named.end()
    attributes: list[Attribute] = []
    while True:
        end = _TAG_END.match(html, at)
        if end is not None:
            is_end = html.startswith("</", named.start())
            return Tag(named[1].lower(), is_end, tuple(attributes)), end.end()
        found = _ATTRIBUTE.match(html, at)
        if found is None:
            blank = _BLANK.match(html, at)
            at = (blank.end() if blank else at) + 1  # a stray "="
            if at > len(html):
                return None, len(html)
            continue
        at = found.end()
        assigned = _ASSIGNMENT.match(html, at)
        if assigned is None:
            attributes.append(Attribute(found[1].lower(), "", -1))
            continue
        at = assigned.end()
        quote = html[at : at + 1]
        if quote in ('"', "'"):
            closing = html.find(quote, at + 1)
            if closing < 0:
                return None, len(html)
            attributes.append(
                Attribute(found[1].lower(), html[at + 1 : closing], at + 1)
            )
            at = closing + 1
        else:
            value = _UNQUOTED.match(html, at)
            text = value[0] if value is not None else ""
            attributes.append(Attribute(found[1].lower(), text, at))
            at += len(text)
