"""Which IP addresses are public, by the IANA special-purpose registries of IPv4 and IPv6.

An address is public only if no rule here names it; in IPv6 it must also lie in 2000::/3, the only
block handed out. Host names, and what a developer opens, are `rules.py`'s.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Literal

Address = IPv4Address | IPv6Address
Kind = Literal["public", "private", "forbidden"]

# Never opened by allow_private: they hand out credentials, or hide another address inside them.
_FORBIDDEN = {
    "a cloud metadata address": (
        "169.254.169.254/32",
        "169.254.170.2/32",  # AWS ECS task credentials
        "169.254.170.23/32",  # AWS EKS pod credentials
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure WireServer, in a public block
        "192.0.0.192/32",  # Oracle Cloud
        "fd00:ec2::254/128",
        "fd00:ec2::23/128",
        "fd20:ce::254/128",  # Google Cloud
        "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
    ),
    "an unspecified address": ("0.0.0.0/8", "::/128"),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "a multicast address": ("224.0.0.0/4", "ff00::/8"),
    "a reserved address": ("192.0.0.0/24", "240.0.0.0/4", "2001::/23", "100::/64", "5f00::/16"),
    "a documentation address": (
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/32",
        "3fff::/20",
    ),
    "a transition address, which hides another one": (
        "192.88.99.0/24",  # 6to4 relays
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated (SIIT)
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local use
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
    ),
}
_PRIVATE = {
    "a loopback address": ("127.0.0.0/8", "::1/128"),
    "a private address": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "a carrier's private address": ("100.64.0.0/10",),
    "a benchmark address": ("198.18.0.0/15",),
}
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: the upper half of an interface id with an IPv4 address below

# Narrowest first, so that a rule inside another one wins: ::1 before ::/96, metadata before link-local.
_RULES = sorted(
    (
        (ip_network(block), kind, name)
        for kind, table in (("forbidden", _FORBIDDEN), ("private", _PRIVATE))
        for name, blocks in table.items()
        for block in blocks
    ),
    key=lambda rule: -rule[0].prefixlen,
)


def classify(address: Address) -> tuple[Kind, str]:
    """What the address is, and in words: ("private", "a loopback address").

    "private" ones may be opened by the developer as a group, "forbidden" ones only one by one.
    """
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "forbidden", "an address with a zone"
    for block, kind, name in _RULES:
        if address in block:
            return ("private" if kind == "private" else "forbidden"), name
    if isinstance(address, IPv6Address):
        if address not in _GLOBAL_UNICAST:
            return "forbidden", "a reserved address"
        if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            return "forbidden", "a transition address, which hides another one"
    return "public", "a public address"
