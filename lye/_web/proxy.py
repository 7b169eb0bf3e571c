"""A proxy that the developer names. How connections go through it is `network.py`'s."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from lye._web.url import normalise_host
from lye.errors import UrlRefused


@dataclass(frozen=True)
class Proxy:
    """Where the proxy is; `url` and `authorization` may hold its password and are never shown."""

    scheme: str
    host: str
    port: int
    url: str = field(repr=False)
    authorization: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """The proxy of "http://user:password@host:port"; ValueError, without its words, for anything else."""
        try:
            parts = urlsplit(url.strip())
            host, port = normalise_host(parts.hostname or ""), parts.port
        except (UrlRefused, ValueError):
            host, port = "", None
        if not host or not port or parts.scheme not in ("http", "https") or parts.path not in ("", "/"):
            raise ValueError("proxy is not 'http://host:port' or 'http://user:password@host:port' (https works too)")
        if parts.username is None:
            return cls(parts.scheme, host, port, url.strip())
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(parts.scheme, host, port, url.strip(), b"Basic " + base64.b64encode(user.encode()))
