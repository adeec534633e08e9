"""Parameters on links: ``utm_source`` and the like, on every http(s) link of a message.

Only octets of the links change, and of a link only its end: what is there, parameters of
the same names too, stays as its author wrote it, coded as it was.

Source: RFC 3986 §3.4–3.5 (query, fragment), HTML Living Standard §4.6.1 (``a``, ``area``).
"""

import re
from collections.abc import Mapping
from html import unescape
from typing import Final
from urllib.parse import quote, unquote_plus

from mailwright.mta.compose.markup import Tag, tokens

#: What links in html may be on.
_LINKING: Final = frozenset({"a", "area"})
_WEB: Final = re.compile(r"\s*https?://", re.IGNORECASE)
#: A "#" that is no part of a character reference.
_FRAGMENT: Final = re.compile(r"(?<!&)#")
_IN_TEXT: Final = re.compile(r"https?://[^\s<>\"]++", re.IGNORECASE)
#: Ends a sentence or closes a parenthesis rather than a link.
_TRAILING: Final = ".,;:!?'*_)]}"


def mark_html(html: str, parameters: Mapping[str, str]) -> str:
    """Return ``html`` with ``parameters`` on its links. Linear in its size."""
    if not parameters:
        return html
    pieces = []
    done = 0
    for token in tokens(html):
        if not isinstance(token, Tag) or token.name not in _LINKING or token.is_end:
            continue
        for attribute in token.attributes:
            if attribute.name == "href" and attribute.start >= 0:
                pieces += [
                    html[done : attribute.start],
                    _marked(attribute.value, parameters, is_html=True),
                ]
                done = attribute.start + len(attribute.value)
                break  # of two, the first counts
    return "".join([*pieces, html[done:]]) if pieces else html


def mark_text(text: str, parameters: Mapping[str, str]) -> str:
    """Return plain ``text`` with ``parameters`` on its links. Linear in its size."""
    if not parameters:
        return text

    def marked(found: re.Match[str]) -> str:
        link = found[0].rstrip(_TRAILING)
        if found[0].startswith(")", len(link)) and "(" in link:
            link = found[0][: len(link) + 1]  # a balanced one is the link's
        return _marked(link, parameters, is_html=False) + found[0][len(link) :]

    return _IN_TEXT.sub(marked, text)


def _marked(link: str, parameters: Mapping[str, str], *, is_html: bool) -> str:
    """Return ``link`` with those parameters that it has not yet."""
    shown = unescape(link) if is_html else link
    if not _WEB.match(shown):
        return link
    fragment = _FRAGMENT.search(link) if is_html else re.search("#", link)
    end = fragment.start() if fragment else len(link.rstrip())
    given = shown.partition("#")[0].partition("?")
    present = {
        unquote_plus(each.partition("=")[0]) for each in re.split("[&;]", given[2])
    }
    new = [
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in parameters.items()
        if name not in present and value
    ]
    if not new:
        return link
    joint = "&amp;" if is_html else "&"
    if not given[1]:
        lead = "?"
    elif not given[2] or shown.partition("#")[0].rstrip().endswith(("?", "&")):
        lead = ""
    else:
        lead = joint
    return link[:end] + lead + joint.join(new) + link[end:]
