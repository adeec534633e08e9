"""Parameters on links."""

import pytest

from mailwright.mta.compose.links import mark_html, mark_text

UTM = {"utm_source": "news", "utm_content": "a b&c/ü", "utm_term": ""}
ADDED = "utm_source=news{}utm_content=a%20b%26c%2F%C3%BC"
IN_HTML = ADDED.format("&amp;")
IN_TEXT = ADDED.format("&")


@pytest.mark.parametrize(
    ("link", "marked"),
    [
        ("https://x.example", f"https://x.example?{IN_HTML}"),
        ("HTTP://x.example/", f"HTTP://x.example/?{IN_HTML}"),
        ("https://x.example/?", f"https://x.example/?{IN_HTML}"),
        ("https://x.example/?a=1", f"https://x.example/?a=1&amp;{IN_HTML}"),
        ("https://x.example/?a=1&", f"https://x.example/?a=1&{IN_HTML}"),
        (
            "https://x.example/?a=%C3%A4%20",
            f"https://x.example/?a=%C3%A4%20&amp;{IN_HTML}",
        ),
        ("https://x.example/#top", f"https://x.example/?{IN_HTML}#top"),
        (
            "https://x.example/?a&#38;b#t?x",
            f"https://x.example/?a&#38;b&amp;{IN_HTML}#t?x",
        ),
        (
            "https://x.example/?utm_source=mine",
            "https://x.example/?utm_source=mine&amp;" + IN_HTML.partition("&amp;")[2],
        ),
        (
            "https://x.example/?utm%5Fsource=mine&amp;utm_content=",
            "https://x.example/?utm%5Fsource=mine&amp;utm_content=",
        ),
        ("mailto:a@b.example", "mailto:a@b.example"),
        ("tel:+1", "tel:+1"),
        ("#top", "#top"),
        ("/relative", "/relative"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("", ""),
    ],
)
def test_a_link_gets_what_it_has_not(link: str, marked: str) -> None:
    for before, after in (('<a href="', '">'), ("<A class=x HREF = '", "' id=y>")):
        assert (
            mark_html(f"p{before}{link}{after}q", UTM) == f"p{before}{marked}{after}q"
        )


@pytest.mark.parametrize(
    "html",
    [
        "<!-- <a href='https://x.example/'> -->",
        "<script>'<a href=\"https://x.example/\">'</script>",
        "<img src='https://x.example/'><link href='https://x.example/'>",
        "<p>https://x.example/</p>",
        "<a data-href='https://x.example/'>",
        "<a href>",
        "<a href='https://x.example/",
        "</a href='https://x.example/'>",
        "<a title='<a href=\"https://x.example/\">'>",
    ],
)
def test_what_is_no_link_stays_as_it_is(html: str) -> None:
    assert mark_html(html, UTM) == html


def test_of_two_addresses_the_first_counts() -> None:
    html = "<a href=https://x.example/a href='https://y.example/'>"
    marked = f"<a href=https://x.example/a?{IN_HTML} href='https://y.example/'>"
    assert mark_html(html, UTM) == marked


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("See https://x.example/a.", f"See https://x.example/a?{IN_TEXT}."),
        ("(https://x.example/a)", f"(https://x.example/a?{IN_TEXT})"),
        ("https://x.example/_(y)", f"https://x.example/_(y)?{IN_TEXT}"),
        ("<https://x.example/?a=1#f>", f"<https://x.example/?a=1&{IN_TEXT}#f>"),
        ("ftp://x.example www.x.example", "ftp://x.example www.x.example"),
    ],
)
def test_links_in_text_end_where_a_reader_sees_their_end(
    text: str, marked: str
) -> None:
    assert mark_text(text, UTM) == marked


def test_without_parameters_nothing_changes() -> None:
    assert (
        mark_html("<a href='https://x.example/'>", {})
        == "<a href='https://x.example/'>"
    )
    assert mark_text("https://x.example/", {}) == "https://x.example/"
