"""Which addresses are public."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lye._web.addresses import classify

PUBLIC = """1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255
    128.0.0.0 172.15.255.255 172.32.0.0 169.253.255.255 169.255.0.0 192.167.255.255 192.169.0.0 198.17.255.255
    198.20.0.0 223.255.255.255 2606:4700:4700::1111 2a00:1450:4001::200e 2001:4860:4860::8888 2003::1"""
PRIVATE = """127.0.0.1 127.255.255.255 ::1 10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1
    100.64.0.0 100.127.255.255 198.18.0.1 198.19.255.255 fc00::1 fd12:3456::1 fec0::1"""
FORBIDDEN = """0.0.0.0 0.1.2.3 169.254.0.1 169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192
    192.0.0.8 192.0.2.1 192.88.99.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: fe80::1 fe80::1%eth0 fd00:ec2::254 fd20:ce::254 ff02::1 100::1 2001:db8::1 3fff::1 5f00::1 4000::1 1::1
    ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:10.0.0.1 ::127.0.0.1 ::8.8.8.8 64:ff9b::7f00:1 64:ff9b::8.8.8.8
    64:ff9b:1::10.0.0.1 2002:7f00:1:: 2002:0808:0808::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:20::1
    2a00:1450::5efe:10.0.0.1 2a00:1450::200:5efe:10.0.0.1 2606:4700:4700::1111%eth0"""


@pytest.mark.parametrize(
    ("text", "kind"),
    [(text, kind) for kind in ("PUBLIC", "PRIVATE", "FORBIDDEN") for text in globals()[kind].split()],
)
def test_each_address_has_its_kind(text: str, kind: str) -> None:
    assert classify(ip_address(text))[0] == kind.lower()


def test_the_words_say_what_the_address_is() -> None:
    assert classify(ip_address("169.254.169.254"))[1] == "a cloud metadata address"
    assert classify(ip_address("::1"))[1] == "a loopback address"
