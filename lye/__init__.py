"""lye: tools for agents, safe as imported. Each group is a list (`WEB_TOOLS`) and a factory (`web_tools`).

Heavy libraries (httpx, trafilatura) are imported when a tool first runs.
"""

from lye._programs.isolation import isolation_in_force
from lye.audio import AUDIO_TOOLS, audio_tools
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
from lye.files import FILES_TOOLS, files_tools
from lye.image import IMAGE_TOOLS, image_tools
from lye.python import PYTHON_TOOLS, python_tools
from lye.search import Brave, SearxNG
from lye.shell import SHELL_TOOLS, shell_tools
from lye.threads import THREAD_TOOLS, thread_tools
from lye.web import WEB_TOOLS, web_tools

__all__ = [
    "AUDIO_TOOLS",
    "BROWSER_TOOLS",
    "FILES_TOOLS",
    "IMAGE_TOOLS",
    "PYTHON_TOOLS",
    "SHELL_TOOLS",
    "THREAD_TOOLS",
    "WEB_TOOLS",
    "Brave",
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
    "SearxNG",
    "ThreadStoreNeeded",
    "UrlRefused",
    "audio_tools",
    "browser_tools",
    "files_tools",
    "image_tools",
    "isolation_in_force",
    "python_tools",
    "shell_tools",
    "thread_tools",
    "web_tools",
]
