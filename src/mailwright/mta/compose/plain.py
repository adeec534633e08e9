"""Plain text from html, for readers without html and for filters that look for it.

Links keep their addresses, lists their marks and order, tables their cells in reading
order; scripts, styles and the fillers of previews are left out. Deterministic, linear in the
size of the input, total.
"""

import re
from html import unescape
from typing import Final

from mailwright.mta.compose.markup import RAW_TEXT, Tag, tokens

#: Stand for a value while a template is read; private use, so in no template.
_OPENS: Final = "\ue000"
_CLOSES: Final = "\ue001"
_PRINTED: Final = re.compile(r"\{\{(?![-+])((?:(?!\}\}).)*?)(?<![-+])\}\}", re.DOTALL)
_NEEDS_HTML: Final = re.compile(
    rf"\{{%|\{{#|\{{\{{[-+]|\|\s*safe\b|[{_OPENS}{_CLOSES}]|<[/!?]?\{{\{{"
)
_BRACES: Final = re.compile(r"\{[{%#]")
_SKIPPED: Final = RAW_TEXT | {"head", "template", "noscript", "svg"}
#: Begin and end with an empty line.
_PARAGRAPHS: Final = frozenset(
    (
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "pre"),
        *("blockquote", "form", "fieldset", "figure"),
    )
)
#: Begin and end a line.
_LINES: Final = frozenset(
    (
        *("div", "tr", "li", "dt", "dd", "section", "article", "header", "footer"),
        *("main", "nav", "aside", "address", "center", "figcaption", "caption"),
        *("thead", "tbody", "tfoot", "html", "body", "option"),
    )
)
_CELLS: Final = frozenset({"td", "th"})
_LISTS: Final = frozenset({"ul", "ol"})
_BLANKS: Final = re.compile(r"[\s\u00a0]++")
#: Invisible: soft hyphens, joiners, the fillers that push text out of a preview.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u2060-\u2064\ufeff]"
)
_MANY_LINES: Final = re.compile(r"\n{3,}")
_SHOWN_LINK: Final = re.compile(r"\s*(?:https?://|mailto:|tel:)", re.IGNORECASE)
_WEB_LINK: Final = re.compile(rf"https?://[^{_OPENS}]", re.IGNORECASE)
_INNER_BLANKS: Final = re.compile(r"(?<=\S) {2,}")
_LAST_BLANKS: Final = re.compile(r" +$", re.MULTILINE)
_MAX_INDENT: Final = 8


def from_html(html: str) -> str:
    """Return ``html`` as text; lines end in LF, the last one too."""
    writer = _Writer()
    skipped = 0
    for token in tokens(html):
        if not isinstance(token, Tag):
            if not skipped:
                writer.text(unescape(token.raw))
        elif token.name in _SKIPPED:
            skipped = max(skipped - 1, 0) if token.is_end else skipped + 1
        elif not skipped:
            if token.is_end:
                writer.end(token.name)
            else:
                writer.start(token)
    return writer.whole()


def template_from_html(source: str) -> str | None:
    """Return a template of the text of what an html template renders to.

    A value stands in the text where it stands in the html, so the html is read once
    instead of once for each recipient, at a third of the cost. ``None`` when only the
    rendered html can tell: with tags beside ``{{ … }}``, values that are html, or values
    that decide what a link or a tag is.

    :func:`tidy` finishes what it renders to; values go through the filter ``_plain``.
    """
    if _NEEDS_HTML.search(source):
        return None
    expressions: dict[str, str] = {}

    def mark(found: re.Match[str]) -> str:
        return expressions.setdefault(
            found[1].strip(), f"{_OPENS}{len(expressions)}{_CLOSES}"
        )

    marked = _PRINTED.sub(mark, source)
    if "{{" in marked or "}}" in marked or not _is_readable(marked):
        return None
    text = from_html(marked)
    if _BRACES.search(text):
        return None
    for expression, marker in expressions.items():
        text = text.replace(marker, f"{{{{ ({expression})|_plain }}}}")
    return text


def plain_value(value: object) -> str:
    """Return a value as it comes out of html: blanks are one, fillers are none."""
    text = value if isinstance(value, str) else str(value)
    return _BLANKS.sub(" ", _INVISIBLE.sub("", text))


def tidy(text: str) -> str:
    """Take out what values that are empty leave: blanks in a row, lines in a row."""
    # To look for a text is ten times as fast as to look for a pattern.
    if " \n" in text:
        text = _LAST_BLANKS.sub("", text)
    if "  " in text:
        text = _INNER_BLANKS.sub(" ", text)
    if "\n\n\n" in text:
        text = _MANY_LINES.sub("\n\n", text)
    text = text.strip("\n")
    return f"{text}\n" if text else ""


def _is_readable(marked: str) -> bool:
    """Whether no value decides what a tag or a link is."""
    for token in tokens(marked):
        if not isinstance(token, Tag):
            continue
        if _OPENS in token.name or token.name == "pre":
            return False
        for each in token.attributes:
            if _OPENS in each.name:
                return False
            if _OPENS in each.value and (
                marked[each.start - 1] not in "'\""
                or (each.name == "href" and not _WEB_LINK.match(each.value))
            ):
                return False
    return True


class _Writer:
    """Writes lines; collapses blanks; knows in which list and link it is."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._line: list[str] = []
        self._has_blank = True  # none is needed before what comes
        self._lists: list[int] = []  # of each the next number; -1: not numbered
        self._link: str | None = None
        self._link_text: list[str] = []
        self._pre = 0

    def text(self, text: str) -> None:
        text = _INVISIBLE.sub("", text)
        if self._pre:
            first, *others = text.replace("\r", "").split("\n")
            self._add(first)
            for each in others:
                self._break()
                self._add(each)
            return
        text = _BLANKS.sub(" ", text)
        if self._has_blank:
            text = text.removeprefix(" ")
        if text:
            self._add(text)

    def start(self, tag: Tag) -> None:
        name = tag.name
        if name == "br":
            self._break()
        elif name == "hr":
            self._paragraph()
            self._add("----------")
            self._paragraph()
        elif name == "img":
            self.text(tag.attribute("alt") or "")
        elif name == "a":
            self._end_link()
            self._link, self._link_text = tag.attribute("href"), []
        elif name in _CELLS:
            self._cell()
        elif name == "li":
            self._item()
        elif name in _PARAGRAPHS:
            if name in _LISTS and self._lists:
                self._line_end()  # a list in a list
            else:
                self._paragraph()
            if name in _LISTS:
                self._lists.append(1 if name == "ol" else -1)
            self._pre += name == "pre"
        elif name in _LINES:
            self._line_end()

    def end(self, name: str) -> None:
        if name == "a":
            self._end_link()
        elif name in _LISTS:
            if self._lists:
                self._lists.pop()
            if self._lists:
                self._line_end()
            else:
                self._paragraph()
        elif name in _PARAGRAPHS:
            self._pre = max(self._pre - (name == "pre"), 0)
            self._paragraph()
        elif name in _LINES:
            self._line_end()

    def whole(self) -> str:
        self._end_link()
        self._line_end()
        text = _MANY_LINES.sub("\n\n", "\n".join(self._done)).strip("\n")
        return f"{text}\n" if text else ""

    def _add(self, text: str) -> None:
        if not text:
            return
        self._line.append(text)
        if self._link is not None:
            self._link_text.append(text)
        self._has_blank = text.endswith(" ")

    def _break(self) -> None:
        self._done.append("".join(self._line).rstrip())
        self._line.clear()
        self._has_blank = True

    def _line_end(self) -> None:
        if self._line:
            self._break()

    def _paragraph(self) -> None:
        self._line_end()
        if self._done and self._done[-1]:
            self._done.append("")

    def _cell(self) -> None:
        if self._line and not self._has_blank:
            self._add(" ")

    def _item(self) -> None:
        self._line_end()
        depth = min(max(len(self._lists) - 1, 0), _MAX_INDENT)
        number = self._lists[-1] if self._lists else -1
        mark = "*"
        if number >= 0:
            mark = f"{number}."
            self._lists[-1] += 1
        self._line.append("  " * depth + mark + " ")
        self._has_blank = True

    def _end_link(self) -> None:
        link, self._link = self._link, None
        if link is None or not _SHOWN_LINK.match(link):
            return
        link = _BLANKS.sub("", _INVISIBLE.sub("", link))
        shown = "".join(self._link_text).strip()
        if shown in (link, link.removeprefix("mailto:"), link.removeprefix("tel:")):
            return
        if not shown:
            self._add(link)
        else:
            before = "" if self._has_blank else " "
            self._add(f"{before}<{link}>")
