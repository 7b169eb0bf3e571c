"""lye: tools for agents, safe as imported. Each group is a list (`WEB_TOOLS`) and a factory (`web_tools`).

Heavy libraries (httpx, trafilatura) are imported when a tool first runs.
"""

from lye.errors import FetchFailed, FileStoreNeeded, LyeError, UrlRefused
from lye.web import WEB_TOOLS, web_tools

__all__ = ["WEB_TOOLS", "FetchFailed", "FileStoreNeeded", "LyeError", "UrlRefused", "web_tools"]
