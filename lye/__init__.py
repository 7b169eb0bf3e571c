"""lye: tools for agents, safe as imported. Each group is a list (`WEB_TOOLS`) and a factory (`web_tools`).

Heavy libraries (httpx, trafilatura) are imported when a tool first runs.
"""

from lye._isolation import isolation_in_force
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
from lye.python import PYTHON_TOOLS, python_tools
from lye.shell import SHELL_TOOLS, shell_tools
from lye.web import WEB_TOOLS, web_tools

__all__ = [
    "PYTHON_TOOLS",
    "SHELL_TOOLS",
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
    "isolation_in_force",
    "python_tools",
    "shell_tools",
    "web_tools",
]
