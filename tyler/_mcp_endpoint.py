"""Where an MCP server is: a command to start, or a URL. And how it is named without giving its secrets away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tyler._raw_schema import clean_words
from tyler._tool_output import cap_output

_MAX_QUOTE_CHARS = 500
_SHORTEST_SECRET_CHARS = 4


@dataclass(frozen=True)
class StdioEndpoint:
    """A program that speaks MCP on its standard input and output."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | Path | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """The command up to the first argument that may hold something secret."""
        shown = [self.command]
        for word in self.args:
            if word.startswith("--") or len(word) > 60 or set(word) & set("=:?&"):
                return repr(" ".join([*shown, "..."]))
            shown.append(word)
        return repr(" ".join(shown))

    @property
    def secrets(self) -> list[str]:
        """What must not be repeated in a message."""
        return list(self.env.values())


@dataclass(frozen=True)
class HttpEndpoint:
    """A URL that speaks MCP by streamable HTTP."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        """The URL without user, password and query."""
        parts = urlsplit(self.url)
        return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")

    @property
    def secrets(self) -> list[str]:
        """What must not be repeated in a message."""
        parts = urlsplit(self.url)
        words = [word for value in self.headers.values() for word in (value, *value.split())]
        return [*words, parts.query, parts.username or "", parts.password or ""]


Endpoint = StdioEndpoint | HttpEndpoint


def quoted(text: str, endpoint: Endpoint) -> str:
    """What the server said, fit for a message: clean, short, and without the endpoint's secrets."""
    for secret in sorted(endpoint.secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET_CHARS:
            text = text.replace(secret, "***")
    return cap_output(clean_words(text), _MAX_QUOTE_CHARS)
