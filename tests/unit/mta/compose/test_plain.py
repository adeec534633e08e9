"""Text from html."""

from time import process_time

import pytest

from mailwright.mta.compose.links import mark_html
from mailwright.mta.compose.plain import from_html, template_from_html, tidy

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


@pytest.mark.parametrize(
    ("html", "template"),
    [
        ("<p>Dear {{ name }},</p>", "Dear {{ (name)|_plain }},\n"),
        (
            "{{a}} &amp; {{ b.c|upper }}",
            "{{ (a)|_plain }} & {{ (b.c|upper)|_plain }}\n",
        ),
        (
            "<a class='{{ x }}' href='https://x.example/{{ x }}'>go</a>",
            "go <https://x.example/{{ (x)|_plain }}>\n",
        ),
        ("<style>{{ x }}</style><!-- {{ y }} -->z", "z\n"),
        ("{{ 'a' if x else 'b' }}", "{{ ('a' if x else 'b')|_plain }}\n"),
    ],
)
def test_a_template_of_the_text_has_values_where_the_html_has_them(
    html: str, template: str
) -> None:
    assert template_from_html(html) == template


@pytest.mark.parametrize(
    "html",
    [
        "{% if x %}<p>{% endif %}y",
        "{# <p> #}x",
        "{{ x|safe }}",
        "{{ x| safe }}",
        "<p>{{- x }}</p>",
        "<p>{{ x -}}</p>",
        "<{{ x }}>",
        "<p {{ x }}>",
        "<a href='{{ x }}'>y</a>",
        "<a href='https://{{ x }}'>y</a>",
        "<a href=https://x.example/{{ x }}>y</a>",
        "<pre>{{ x }}</pre>",
        "{{ '}}' }}",
        "&#123;&#123; x }}",
        "\ue000{{ x }}",
    ],
)
def test_only_the_rendered_html_tells_the_text(html: str) -> None:
    assert template_from_html(html) is None


def test_what_empty_values_leave_is_tidied() -> None:
    assert tidy("a  b \n\n\n\n* c\n  1. d  \n\n") == "a b\n\n* c\n  1. d\n"
    assert tidy("\n \n") == ""


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
        began = process_time()
        html = piece * count
        from_html(html)
        mark_html(html, {"a": "b"})
        return process_time() - began

    few = min(took(2_000) for _ in range(3))
    # Sixteen times as much; a quadratic one takes 256 times as long.
    assert min(took(32_000) for _ in range(2)) < 80 * few + 0.05
