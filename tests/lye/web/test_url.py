"""One URL, one meaning."""

from __future__ import annotations

import re

import pytest

from lye._web.url import join, normalise_host, parse_url
from lye.errors import UrlRefused

LOOPBACK_IN_DISGUISE = """127.0.0.1 127.0.0.1. 127.1 127.1. 127.0.1 2130706433 2130706433. 0x7f.1 0x7f000001
    0X7F.0X0.0X0.0X1 0x7F.0.0.1 0x7f.0x0.1 017700000001 0177.0.0.1 0177.1 00177.0.0.0x1 0177.0.0.01 127.0x0.0.1
    00000000177.0.0.1 0x0000007f.0.0.1 １２７.０.０.１ １２７。０。０。１ 127。0。0。1 127．0．0．1 127｡0｡0｡1
    ①②⑦.⓪.⓪.① 𝟏𝟐𝟕.𝟎.𝟎.𝟏 127.0.0.\u00ad1 127.0.\u200b0.1 ０ｘ７ｆ.1 ２１３０７０６４３３"""
OTHER_ADDRESSES = {
    "0": "0.0.0.0",
    "0x": "0.0.0.0",
    "0xa9fea9fe": "169.254.169.254",
    "2852039166": "169.254.169.254",
    "169.254.43518": "169.254.169.254",
    "0251.0376.0251.0376": "169.254.169.254",
    "010.0.0.1": "8.0.0.1",
    "0:0:0:0:0:0:0:1": "::1",
    "::ffff:127.0.0.1": "::ffff:7f00:1",
    "FD00:EC2:0::254": "fd00:ec2::254",
}
NO_HOSTS = """256.0.0.1 127.0.0.256 1.2.3.4.5 4294967296 0x100000000 127.0.0.08 1.2.3.0x1g.1 09 example.0xg.1 a.b.1
    127.0.0.1.. .127.0.0.1 . .. a..b -a.example a-.example a%2eexample %31%32%37.0.0.1 fe80::1%eth0 ::1::
    12345::1 :::1 ex*mple [::1] xn--\u00e9 \u202eexample"""
BAD_URLS = [
    "",
    "example.com",
    "//example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "data:text/html,hi",
    "javascript:alert(1)",
    "jar:http://example.com!/",
    "http:///path",
    "http://",
    "http:example.com",
    "http://?q",
    "http://:80/",
    "http://example.com:port/",
    "http://example.com:99999/",
    "http://example.com:-1/",
    "http://exa mple.com/",
    "http://exam\tple.com/",
    "http://exam\nple.com/",
    "http://example.com/\r\nHost: evil",
    "http://example.com\\@127.0.0.1/",
    "http:\\\\example.com/",
    "http://user@example.com/",
    "http://@example.com/",
    "http://[::1/",
    "http://[::1]x/",
    "http://[127.0.0.1]/",
    "http://[v1.x]/",
    "http://[fe80::1%25eth0]/",
    "http://example.com\u2100/",
    "http://a\u2044b.example/",
    "http://example.com/" + "a" * 9000,
    "http://" + "a" * 64 + ".example/",
    "http://" + "a." * 200 + "example/",
    "http://\ud800.example/",
]


@pytest.mark.parametrize("host", LOOPBACK_IN_DISGUISE.split())
def test_each_notation_of_an_address_becomes_the_plain_one(host: str) -> None:
    assert normalise_host(host) == "127.0.0.1"
    assert parse_url(f"http://{host}:8000/x").host == "127.0.0.1"


@pytest.mark.parametrize(("host", "plain"), OTHER_ADDRESSES.items())
def test_other_addresses_are_read_as_browsers_read_them(host: str, plain: str) -> None:
    assert normalise_host(host) == plain


@pytest.mark.parametrize("host", NO_HOSTS.split())
def test_what_is_no_host_is_refused_by_name(host: str) -> None:
    with pytest.raises(UrlRefused, match="host"):
        normalise_host(host)


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("https://example.com.:443/a?b=1#c", "https://example.com/a?b=1"),
        ("http://example.com:8080/a b/ü?q=ü x", "http://example.com:8080/a%20b/%C3%BC?q=%C3%BC%20x"),
        ("http://[2606:4700::1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ("https://Bücher.example/", "https://xn--bcher-kva.example/"),
        (" https://my_host.example//a/../b?x=%2F ", "https://my_host.example//a/../b?x=%2F"),
        ("http://example.com:/", "http://example.com/"),
    ],
)
def test_a_good_url_is_shown_in_its_one_form(url: str, shown: str) -> None:
    assert str(parse_url(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@site.example/",
        "user:hunter2@site.example",
        "http://u:hunter2@ho\u2100st/",
        "http://u:hunter2?@site.example/",
        "http://u:x#hunter2@site.example/",
        "http://u:x@hunter2@site.example/?a@b",
        "ftp://site.example/?token=hunter2",
        "http://site.example/\\?mail=a@b.example&token=hunter2",
        "http://site.example/\\?password=p@hunter2",
        "http://site.example/\\#token=hunter2",
    ],
)
def test_no_password_and_no_token_is_repeated(url: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        parse_url(url)
    assert "hunter2" not in str(refusal.value)


def test_a_refusal_still_names_the_place() -> None:
    with pytest.raises(UrlRefused, match=re.escape("'ftp://site.example/a?...' is not an http")):
        parse_url("ftp://site.example/a?token=hunter2")
    with pytest.raises(UrlRefused, match=re.escape("'...@site.example/' holds a user name")):
        parse_url("http://me:hunter2@site.example/")


@pytest.mark.parametrize("url", ["https://site.example:8443/", "http://site.example/", "http://other.example:8443/"])
def test_another_scheme_port_or_host_is_another_origin(url: str) -> None:
    assert parse_url(url).origin != parse_url("http://site.example:8443/").origin


def test_a_redirect_is_relative_to_where_it_came_from() -> None:
    base = parse_url("https://example.com/a/b?c")
    assert str(join(base, "../d")) == "https://example.com/d"
    assert str(join(base, "//other.example/x")) == "https://other.example/x"


@pytest.mark.parametrize(
    "location", ["http://example.com/", "http://other.example/", "file:///etc/passwd", "http://u:p@x.example/", "//["]
)
def test_a_redirect_down_to_http_or_out_of_the_web_is_refused(location: str) -> None:
    with pytest.raises(UrlRefused):
        join(parse_url("https://example.com/"), location)
