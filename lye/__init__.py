"""lye: tools for agents, safe as imported. Each group is a list (`WEB_TOOLS`) and a factory (`web_tools`).

Heavy libraries (httpx, trafilatura, litellm) are imported when a tool first runs.
"""

from lye.audio import AUDIO_TOOLS, audio_tools
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
from lye.image import IMAGE_TOOLS, image_tools
from lye.web import WEB_TOOLS, web_tools

__all__ = [
    "AUDIO_TOOLS",
    "IMAGE_TOOLS",
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
    "audio_tools",
    "image_tools",
    "web_tools",
]
