"""lye: tools for agents, safe as imported. Each group is a list (`WEB_TOOLS`) and a factory (`web_tools`).

Heavy libraries (httpx, trafilatura) are imported when a tool first runs.
"""

from lye.audio import AUDIO_TOOLS, audio_tools
from lye.errors import BrowserFailed, CommandFailed, CommandRefused, ExtraNeeded, FetchFailed, FileFailed, FileStoreNeeded, LyeError, MediaFailed, PathRefused, SearchFailed, ThreadStoreNeeded, UrlRefused
from lye.files import FILES_TOOLS, files_tools
from lye.image import IMAGE_TOOLS, image_tools
from lye.python import PYTHON_TOOLS, python_tools
from lye.search import Brave, SearxNG
from lye.shell import SHELL_TOOLS, shell_tools
from lye.threads import THREAD_TOOLS, thread_tools
from lye.web import WEB_TOOLS, web_tools

__all__ = [
    "AUDIO_TOOLS",
    "Brave",
    "BrowserFailed",
    "CommandFailed",
    "CommandRefused",
    "ExtraNeeded",
    "FILES_TOOLS",
    "FetchFailed",
    "FileFailed",
    "FileStoreNeeded",
    "IMAGE_TOOLS",
    "LyeError",
    "MediaFailed",
    "PYTHON_TOOLS",
    "PathRefused",
    "SHELL_TOOLS",
    "SearchFailed",
    "SearxNG",
    "THREAD_TOOLS",
    "ThreadStoreNeeded",
    "UrlRefused",
    "WEB_TOOLS",
    "audio_tools",
    "files_tools",
    "image_tools",
    "python_tools",
    "shell_tools",
    "thread_tools",
    "web_tools",
]
