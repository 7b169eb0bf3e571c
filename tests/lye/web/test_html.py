"""HTML as Markdown."""

from __future__ import annotations

import pytest

from lye._web.html import read_html

URL = "https://site.example/docs/"


def test_an_article_keeps_its_structure_and_leaves_the_menu_out() -> None:
    html = """<html><head><title>T &amp; U</title></head><body><nav><a href="/">home</a></nav><main><h1>Guide</h1>
      <p>First with <b>bold</b>, <code>code</code> and <a href="next">a link</a>.</p>
      <pre><code>x = 1\ny = 2</code></pre><ul><li>one</li><li>two</li></ul>
      <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></main>
      <footer>imprint</footer><script>alert(1)</script></body></html>"""
    title, text = read_html(html, URL)
    assert title == "T & U"
    assert "# Guide" in text
    assert "**bold**" in text
    assert "[a link](https://site.example/docs/next)" in text
    assert "x = 1\ny = 2" in text
    assert "- one\n- two" in text
    assert "| 1 | 2 |" in text
    assert not any(word in text for word in ("home", "imprint", "alert"))


def test_a_list_of_links_keeps_its_links() -> None:
    rows = "".join(f"<tr><td>{i}.</td><td><a href='/n{i}'>Headline {i}</a></td></tr>" for i in range(30))
    text = read_html(f"<title>News</title><body><table>{rows}</table>", URL)[1]
    assert text.count("](https://site.example/n") == 30


@pytest.mark.parametrize(
    "html",
    [
        "hello",
        "<p>hello",
        "<div>" * 40_000 + "hello",
        "<?xml version='1.0' encoding='iso-8859-1'?><html><body><p>hello</p></body></html>",
        "<script>var hidden = '</p>'</script><style>p {}</style><template>hidden</template><p>hello</p>",
        "<html><!-- hidden --><body onload='hidden()'>hello</body></html>",
        "</p></div></html>hello",
        "<p>hel<b></i>lo",
    ],
)
def test_odd_html_still_gives_its_text(html: str) -> None:
    text = read_html(html, URL)[1]
    assert text.replace("**", "") == "hello"


def test_deep_nesting_does_not_hide_the_text() -> None:
    assert read_html("<table><tr><td>" * 30_000 + "hello", URL)[1].endswith("hello")


@pytest.mark.parametrize("filler", ["", "<i></i>" * 30_000])
def test_links_are_relative_to_the_page_or_its_base_element(filler: str) -> None:
    body = "<p>A paragraph with <a href='next'>a link</a> in it.</p>" + filler
    assert "(https://site.example/docs/next)" in read_html(body, URL)[1]
    assert "(https://site.example/v2/next)" in read_html(f"<base href='/v2/'>{body}", URL)[1]


@pytest.mark.parametrize("html", ["", " ", "<", "<!doctype html>", "<html>", "<!--", "<a href=", "\ufffd", "&#0;"])
def test_html_without_text_gives_next_to_none(html: str) -> None:
    assert len(read_html(html, URL)[1]) <= 2


def test_a_page_with_too_many_elements_is_read_plainly() -> None:
    html = "<title>Big</title><h2>Head</h2>" + "<p>one <a href='/x'>two</a>\n three</p>" * 20_000 + "<p>end"
    title, text = read_html(html, URL)
    assert title == "Big"
    assert text.startswith("## Head\n\none [two](https://site.example/x) three\n\none")
    assert text.endswith("end")


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "http://[", "/a)b", "/a b"])
def test_the_plain_reader_keeps_only_addresses_that_markdown_and_the_web_can_hold(address: str) -> None:
    html = f"<p>x</p><a href='{address}'>words</a>" + "<i></i>" * 30_000
    assert read_html(html, URL)[1] == "x\n\nwords"
