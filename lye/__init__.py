"""lye: tools for agents, safe as imported. Each group is a list (`WEB_TOOLS`) and a factory (`web_tools`).

Heavy libraries (httpx, trafilatura, pypdf) are imported when a tool first runs.
"""

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
from lye.files import FILES_TOOLS, files_tools
from lye.web import WEB_TOOLS, web_tools

__all__ = [
    "FILES_TOOLS",
    "WEB_TOOLS",
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
    "files_tools",
    "web_tools",
]
