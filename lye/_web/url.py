"""One URL, taken apart once: scheme, host in its only notation, port, path.

What is fetched is built again from these parts, so no second parser can see another host than the one
that was checked. Whether the host and port are allowed is `rules.py`'s question.
"""

from __future__ import annotations

import re
import string
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from lye._web.addresses import Address
from lye.errors import UrlRefused

DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_URL_CHARS = 8_192
_MAX_HOST_CHARS = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_KEPT = string.punctuation  # in a path; what is left to encode is spaces and non-ASCII characters
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True)
class Target:
    """Where one request goes. `host` is a lower-case ASCII name or an address as the library writes it."""

    scheme: str
    host: str
    port: int
    path_and_query: str

    @property
    def address(self) -> Address | None:
        """The host as an address, None if it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what a key that is meant for one server must not leave."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them: no default port, IPv6 in brackets."""
        host = self.bracketed_host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def bracketed_host(self) -> str:
        """The host as it stands before a port."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def shown(self) -> str:
        """The URL for an error or a log: its query can be a token or a signature, and is not in it."""
        return without_query(str(self))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path_and_query}"


def parse_url(url: str) -> Target:
    """The parts of an http(s) URL, the fragment dropped; raises UrlRefused for everything else."""
    text = url.strip()
    shown = masked_url(text)
    if len(text) > _MAX_URL_CHARS:
        raise UrlRefused(f"{shown!r} has {len(text):,} characters; use a URL of at most {_MAX_URL_CHARS:,}")
    if any(c == "\\" or unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise UrlRefused(f"{shown!r} holds a backslash or control character; percent-encode it")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        # Not the error's own words: they quote what may be a password.
        raise UrlRefused(f"{shown!r} is not a URL; write it as 'https://host/path'") from error
    scheme = parts.scheme
    if "@" in parts.netloc:
        raise UrlRefused(f"the URL {shown!r} holds a user name or password; give it without them")
    if scheme not in DEFAULT_PORTS or not parts.netloc:
        raise UrlRefused(f"{shown!r} is not an http or https URL; write it as 'https://host/path'")
    host = normalise_host(_raw_host(parts))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, quote(path, safe=_KEPT))


def join(base: Target, location: str) -> Target:
    """Where a redirect from `base` leads; raises UrlRefused, also for a step down from https to http."""
    try:
        target = parse_url(urljoin(str(base), location.strip()))
    except ValueError as error:
        raise UrlRefused(f"{base.shown!r} redirects to a bad place: {error}") from error
    if (base.scheme, target.scheme) == ("https", "http"):
        raise UrlRefused(
            f"{base.shown!r} redirects from https down to {target.shown!r}; open that one yourself if you mean it"
        )
    return target


def normalise_host(host: str) -> str:
    """The one notation of a host name or address that a resolver and a browser would understand.

    `0x7f.1`, `2130706433`, `127。0。0。1` and `127.0.0.1.` all become `127.0.0.1`; names become lower-case
    ASCII (IDNA). Raises UrlRefused for what is neither.
    """
    if "%" in host:
        raise UrlRefused(f"host {host!r} holds a '%'; write the name or address itself, without a zone")
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except ValueError as error:
            raise UrlRefused(f"host {host!r} is no IPv6 address: {error}") from error
    name = (host.lower() if host.isascii() else _to_ascii(host)).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(_parse_ipv4(host, labels))
    if len(name) > _MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused(f"host {host[:300]!r} is no host name; use letters, digits, hyphens and dots")
    return name


def without_query(url: str) -> str:
    """A sound URL without the words of its query and fragment, which can be a token or a signature."""
    found = re.search(r"[?#]", url)
    return f"{url[: found.start() + 1]}..." if found else url


def masked_url(text: str) -> str:
    """What may be no URL at all, for an error: without a query, and without what stands before an @, a password."""
    shown = without_query(text)
    _, at, place = shown.rpartition("@")
    if at:
        shown = f"...@{place}"
    elif "@" in text:  # a password may hold a ? or a #
        shown = f"{text.partition(':')[0]}:..."
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _raw_host(parts: SplitResult) -> str:
    """The host between the brackets, or before the port; brackets hold an IPv6 address and nothing else."""
    host = parts.hostname or ""
    in_brackets = re.fullmatch(r"\[[^\[\]]*\](:\d*)?", parts.netloc) is not None
    if in_brackets != (":" in host) or in_brackets != ("[" in parts.netloc):
        raise UrlRefused(f"host {parts.netloc!r} is not an address; brackets are for IPv6 addresses")
    return host


def _to_ascii(host: str) -> str:
    import idna

    try:
        # UTS 46, as browsers do: full-width digits and dots become plain ones, soft hyphens vanish.
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        return mapped if mapped.isascii() else idna.encode(mapped).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise UrlRefused(f"host {host[:300]!r} is no international host name: {error}") from error


def _parse_ipv4(host: str, labels: list[str]) -> IPv4Address:
    """The address that one to four numbers mean: decimal, octal (leading 0) or hexadecimal (0x).

    The WHATWG URL standard's rule, which is what inet_aton does: the last number fills what is left.
    """
    try:
        numbers = [_parse_number(label) for label in labels]
        *heads, last = numbers
        if len(numbers) > 4 or any(head > 255 for head in heads) or last >= 256 ** (5 - len(numbers)):
            raise ValueError("a number is too large, or there are more than four")
    except ValueError as error:
        raise UrlRefused(f"host {host[:300]!r} looks like an IPv4 address but is none: {error}") from error
    return IPv4Address(sum(head << (24 - 8 * i) for i, head in enumerate(heads)) + last)


def _parse_number(label: str) -> int:
    if not _NUMBER.fullmatch(label) or len(label) > 64:
        raise ValueError(f"{label[:64]!r} is no number")
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") else 10)
