"""Which hosts, ports and addresses a fetch may reach: public ones, and what the developer opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from lye._web.addresses import classify
from lye._web.url import Target, normalise_host, parse_url
from lye.errors import UrlRefused

OPEN_PORTS = (80, 443, 8080, 8443)
_OPEN_UP = "the developer can open it with {}(allow_hosts=[{!r}])"


@dataclass(frozen=True)
class _OpenedHost:
    """A host the developer opened: `name`, `*.name` (its subdomains), either with one port or with all."""

    name: str
    subdomains: bool
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        host, port = _split_port(text)
        subdomains = host.startswith("*.")
        try:
            return cls(normalise_host(host.removeprefix("*.")), subdomains, port)
        except UrlRefused as error:
            raise ValueError(
                f"allow_hosts entry {text!r} is not 'host', 'host:port' or '*.domain'"
                " (allow_private=True opens all private addresses)"
            ) from error

    def covers(self, target: Target) -> bool:
        fits = target.host.endswith(f".{self.name}") if self.subdomains else target.host == self.name
        return fits and self.port in (None, target.port)


@dataclass(frozen=True)
class Rules:
    """What may be reached. Made by `Rules.of`; raises UrlRefused for the rest."""

    opened: tuple[_OpenedHost, ...] = ()
    allow_private: bool = False
    factory: str = "web_tools"  # what error messages name

    @classmethod
    def of(cls, allow_hosts: Iterable[str] = (), allow_private: bool = False, factory: str = "web_tools") -> Self:
        """The rules from the developer's words; ValueError names an entry that is no host."""
        if isinstance(allow_hosts, str):
            raise ValueError(f"allow_hosts is {allow_hosts!r}; pass a list: allow_hosts=[{allow_hosts!r}]")
        return cls(tuple(map(_OpenedHost.parse, allow_hosts)), allow_private, factory)

    def check_port(self, target: Target) -> None:
        """Refuse a port that is neither a web port nor opened with its host."""
        if target.port not in OPEN_PORTS and not self.is_opened(target):
            raise UrlRefused(
                f"port {target.port!r} of {target.shown!r} is none of {OPEN_PORTS};"
                f" use another URL, or {_OPEN_UP.format(self.factory, f'{target.host}:{target.port}')}"
            )

    def check_addresses(self, target: Target, addresses: Sequence[str]) -> None:
        """Refuse the target if any one of its addresses is not public or opened.

        Opening a host by name opens the private addresses behind it. Metadata, link-local and the other
        forbidden addresses open only when they are named themselves.
        """
        opened = self.is_opened(target)
        for text in addresses:
            kind, words = classify(ip_address(text))
            if kind == "private" and (opened or self.allow_private):
                continue
            if kind == "public" or (opened and target.address is not None):
                continue
            raise UrlRefused(
                f"{target.host!r} is, or leads to, {words}; use a public URL,"
                f" or {_OPEN_UP.format(self.factory, target.host)}"
            )

    def names(self, url: object) -> bool:
        """Whether the developer opened the URL's own host; what cannot be read is of none."""
        try:
            return isinstance(url, str) and self.is_opened(parse_url(url))
        except UrlRefused:
            return False

    def is_opened(self, target: Target) -> bool:
        """Whether the developer named the target's host (and port) in `allow_hosts`."""
        return any(host.covers(target) for host in self.opened)


def _split_port(text: str) -> tuple[str, int | None]:
    """Host and port; the colons of a bare IPv6 address are not a port's."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        return text, None
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"allow_hosts entry {text!r} has the port {port!r}; use 1 to 65535")
    return host, int(port) if port else None
