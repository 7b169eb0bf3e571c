"""lye: tools for agents, safe as imported. Each group is a list (`WEB_TOOLS`) and a factory (`web_tools`).

Heavy libraries (httpx, trafilatura) are imported when a tool first runs.
"""

from lye.browser import BROWSER_TOOLS, Browser, browser_tools
from lye.errors import (
    BrowserFailed,
    CommandFailed,
    CommandRefused,
    ExtraNeeded,
    FetchFailed,
    FileFailed,
    FileStoreNeeded,
    LyeError,
    MediaFailed,
    PathRefused,
    SearchFailed,
    ThreadStoreNeeded,
    UrlRefused,
)
from lye.web import WEB_TOOLS, web_tools

__all__ = [
    "BROWSER_TOOLS",
    "WEB_TOOLS",
    "Browser",
    "BrowserFailed",
    "CommandFailed",
    "CommandRefused",
    "ExtraNeeded",
    "FetchFailed",
    "FileFailed",
    "FileStoreNeeded",
    "LyeError",
    "MediaFailed",
    "PathRefused",
    "SearchFailed",
    "ThreadStoreNeeded",
    "UrlRefused",
    "browser_tools",
    "web_tools",
]
