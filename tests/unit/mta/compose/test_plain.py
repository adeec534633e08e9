"""Text from html."""

from time import perf_counter

import pytest

from mailwright.mta.compose.links import mark_html
from mailwright.mta.compose.plain import from_html

LETTER = """<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body>
<div style="display:none">Preview&zwnj;&nbsp;&zwnj;&nbsp;</div>
<h1>News &amp; more</h1><p>Dear   Ann,<br>see
<a href="https://x.example/?a=1&amp;b=2">our <b>offer</b></a>.</p>
<ul><li>one</li><li>two<ol><li>a</li><li>b</li></ol></li></ul>
<table><tr><td>Pen</td><td>1&#46;50</td></tr><tr><th>Sum</th><th>1.50</th></tr></table>
<p><a href="https://x.example/"><img src="l.png" alt="Logo"></a><img src="s.gif"></p>
<pre>a  b
 c</pre><hr><a href="https://y.example/">https://y.example/</a>
<a href="mailto:a@b.example">a@b.example</a> <a href="#x">up</a>
<script>if (a < b) "</p>"</script></body></html>"""

TEXT = """\
Preview

News & more

Dear Ann,
see our offer <https://x.example/?a=1&b=2>.

* one
* two
  1. a
  2. b

Pen 1.50
Sum 1.50

Logo <https://x.example/>

a  b
 c

----------

https://y.example/ a@b.example up
"""


def test_a_letter_keeps_its_links_lists_and_tables() -> None:
    assert from_html(LETTER) == TEXT


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("<p></p><div>  </div>", ""),
        ("plain", "plain\n"),
        ("1 < 2 &lt; 3", "1 < 2 < 3\n"),
        ("a<p>b<p>c", "a\n\nb\n\nc\n"),
        ("<li>a</ul></ol></a></pre>b", "* a\n\nb\n"),
        ("a<b", "a\n"),
        ("a<!-- b", "a\n"),
        ("a<script>b", "a\n"),
        ("<a href='https://x.example'></a>", "https://x.example\n"),
        ("<a href='javascript:x'>y</a>", "y\n"),
        ("<ol><li>a<li>b</ol><ol><li>c</ol>", "1. a\n2. b\n\n1. c\n"),
    ],
)
def test_odd_html_is_text_too(html: str, text: str) -> None:
    assert from_html(html) == text


HOSTILE = [
    '<a href="x',
    "<",
    "<a ",
    "<a =",
    "<!--",
    "<script>",
    "&",
    "<li><ul>",
    "</",
    "<a / ",
    "<title>",
    "&#",
    "<p>",
    "<td>x",
    "<a href='https://x.example'>",
    '<a b="',
    "<![CDATA[",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_work_is_linear(piece: str) -> None:
    def took(count: int) -> float:
        began = perf_counter()
        html = piece * count
        from_html(html)
        mark_html(html, {"a": "b"})
        return perf_counter() - began

    few = min(took(2_000) for _ in range(3))
    # Sixteen times as much; a quadratic one takes 256 times as long.
    assert min(took(32_000) for _ in range(2)) < 80 * few + 0.05
