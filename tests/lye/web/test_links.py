"""A page's links, as a model gets them."""

from __future__ import annotations

import pytest

from lye._web.links import MAX_LINKS, read_links
from lye._web.page import read_page
from lye._web.page_process import read_page_aside
from lye.errors import FetchFailed

URL = "https://site.example/docs/"


def test_links_are_absolute_numbered_and_each_once() -> None:
    html = """<title>T</title><a href="a">One <b>link</b></a><a href='/b?x=1#part'>Two</a><a href="a#top">again</a>
      <a href="https://other.example">Other</a><a href="c"><img alt="A picture"></a><a href="d"></a>
      <area href=e alt=Map>"""
    assert read_links(html, URL).split("\n") == [
        "1. [One link](https://site.example/docs/a)",
        "2. [Two](https://site.example/b?x=1)",
        "3. [Other](https://other.example/)",
        "4. [A picture](https://site.example/docs/c)",
        "5. [](https://site.example/docs/d)",
        "6. [Map](https://site.example/docs/e)",
    ]


def test_a_base_element_counts_once() -> None:
    html = "<base href='https://cdn.example/x/'><base href='https://evil.example/'><a href='a'>A</a>"
    assert read_links(html, URL) == "1. [A](https://cdn.example/x/a)"


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,hi",
        "mailto:me@site.example",
        "file:///etc/passwd",
        "ftp://site.example/",
        "https://user:pw@site.example/",
        "https://site.example\\@evil.example/",
        "http://[::1",
        "//",
        "#part",
        "",
        "https://site.example/" + "a" * 2_000,
        "https://site.example/" + "ü" * 900,
        "https://site.example/docs/#top",
        " ",
    ],
    ids=lambda href: repr(href[:30]),
)
def test_what_fetch_page_would_not_take_is_left_out(href: str) -> None:
    assert read_links(f'<a href="{href}">words</a>', URL) == "(the page has no links)"


def test_an_address_shows_no_hidden_characters() -> None:
    assert read_links("<a href='/\u202e\U000e0041'>A</a>", URL) == "1. [A](https://site.example/%E2%80%AE%F3%A0%81%81)"


def test_words_cannot_forge_a_link_or_a_line() -> None:
    html = "<a href='/a'>click](https://evil.example)\n2. [here\u202e\x1b[31m\U000e0041" + "w" * 500 + "</a>"
    (line,) = read_links(html, URL).split("\n")
    assert line.startswith("1. [click https://evil.example 2. here 31mwww")
    assert line.endswith("](https://site.example/a)")
    assert len(line) < 200


def test_an_address_cannot_end_its_own_link() -> None:
    assert read_links("<a href='/a)[x](https://evil.example/b'>A</a>", URL).count("](") == 1


def test_links_in_scripts_and_templates_are_not_the_pages() -> None:
    html = "<script><a href='/s'>s</a></script><template><a href='/t'>t</a></template><svg><a href='/v'>v</a></svg>"
    assert read_links(html, URL) == "(the page has no links)"


def test_there_are_at_most_500_and_the_list_says_so() -> None:
    lines = read_links("".join(f"<a href='/{i}'>{i}</a>" for i in range(3 * MAX_LINKS)), URL).split("\n")
    assert len(lines) == MAX_LINKS + 1
    assert lines[-1] == "(only the first 500 links are listed)"


async def test_a_large_pages_links_come_from_the_process_too() -> None:
    body = b"<p>words</p>" * 30_000 + b"<a href=/end>end</a>"
    page = await read_page_aside(body, "text/html", URL, links=True)
    assert page.text == "1. [end](https://site.example/end)"


def test_what_is_not_html_has_no_list_of_links() -> None:
    with pytest.raises(FetchFailed, match="call with links=false"):
        read_page(b"{}", "application/json", URL, links=True)


@pytest.mark.parametrize(
    "href", ["/" + "a" * 1_980, "/" + "\u00e4" * 700, "/" + "../" * 700 + "x"], ids=["joined", "encoded", "as written"]
)
def test_addresses_that_are_long_in_any_form_are_left_out(href: str) -> None:
    page = f"<a href='{href}'>long</a><a href='/b'>b</a>"
    assert read_links(page, "https://docs.example/a") == "1. [b](https://docs.example/b)"
