"""Plain text from html, for readers without html and for filters that look for it.

Links keep their addresses, lists their marks and order, tables their cells in reading
order; scripts, styles and the fillers of previews are left out. Deterministic, linear in the
size of the input, total.
"""

import re
from html import unescape
from typing import Final

from mailwright.mta.compose.markup import RAW_TEXT, Tag, tokens

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
