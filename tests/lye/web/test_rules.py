"""What a developer opens is open, and nothing beside it."""

from __future__ import annotations

import pytest

from lye._web.rules import Rules
from lye._web.url import parse_url
from lye.errors import UrlRefused


def allows(rules: Rules, url: str, *addresses: str) -> bool:
    target = parse_url(url)
    try:
        rules.check_port(target)
        rules.check_addresses(target, addresses or [target.host])
    except UrlRefused:
        return False
    return True


@pytest.mark.parametrize("port", [22, 25, 81, 3306, 5432, 6379, 8000, 9200, 65535, 0])
def test_only_web_ports_are_open(port: int) -> None:
    assert not allows(Rules(), f"http://1.1.1.1:{port}/")


@pytest.mark.parametrize("port", [80, 443, 8080, 8443])
def test_web_ports_are_open(port: int) -> None:
    assert allows(Rules(), f"http://1.1.1.1:{port}/")


def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    assert allows(Rules(), "http://site.example/", "1.1.1.1", "2606:4700::1111")
    assert not allows(Rules(), "http://site.example/", "1.1.1.1", "10.0.0.1")


@pytest.mark.parametrize(
    ("entry", "opened", "closed"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/", "http://127.0.0.2:8000/"),
        ("127.0.0.1", "http://0x7f.1/", "http://127.0.0.2/"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8001/"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1/"),
        ("[::1]:8000", "http://[::1]:8000/", "http://[::1]/"),
        ("::1", "http://[::1]:9000/", "http://127.0.0.1/"),
        ("169.254.169.254", "http://169.254.169.254/", "http://169.254.169.253/"),
    ],
)
def test_an_entry_opens_its_host_and_port_only(entry: str, opened: str, closed: str) -> None:
    rules = Rules.of([entry])
    assert allows(rules, opened)
    assert not allows(rules, closed)


def test_a_name_opens_the_private_addresses_behind_it_but_not_metadata() -> None:
    rules = Rules.of(["Intranet.Example.", "*.corp.example"])
    assert allows(rules, "http://intranet.example:9000/", "10.0.0.1")
    assert allows(rules, "http://a.b.corp.example/", "10.0.0.1")
    assert not allows(rules, "http://corp.example/", "10.0.0.1")
    assert not allows(rules, "http://evilcorp.example/", "10.0.0.1")
    assert not allows(rules, "http://intranet.example.evil.example/", "10.0.0.1")
    assert not allows(rules, "http://intranet.example/", "169.254.169.254")


def test_allow_private_opens_private_addresses_but_no_ports_metadata_or_transition_ones() -> None:
    rules = Rules.of(allow_private=True)
    assert all(allows(rules, f"http://{host}/") for host in ("127.0.0.1", "10.0.0.1", "[::1]", "[fd00::1]"))
    closed = ("169.254.169.254", "[fd00:ec2::254]", "[::ffff:10.0.0.1]", "0.0.0.0", "[fe80::1]", "127.0.0.1:6379")
    assert not any(allows(rules, f"http://{host}/") for host in closed)


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "http://localhost", "localhost:0", "a:b", "localhost:99999", "a/b", "a b"]
)
def test_an_entry_that_is_no_host_is_refused_by_name(entry: str) -> None:
    with pytest.raises(ValueError, match="allow_hosts entry"):
        Rules.of([entry])


def test_a_bare_string_is_refused_since_it_would_be_read_letter_by_letter() -> None:
    with pytest.raises(ValueError, match=r"allow_hosts=\['localhost'\]"):
        Rules.of("localhost")


def test_the_refusal_says_how_to_open_it() -> None:
    with pytest.raises(UrlRefused, match=r"web_tools\(allow_hosts=\['10\.0\.0\.1'\]\)"):
        Rules().check_addresses(parse_url("http://10.0.0.1/"), ["10.0.0.1"])
