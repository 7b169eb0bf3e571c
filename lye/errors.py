"""Every error that lye raises on purpose; the agent shows its message to the model.

LyeError
├── UrlRefused (ValueError)   the URL, or where it leads, is not allowed; nothing was sent there
├── FetchFailed               the page or file could not be had: no answer, a bad one, too large, too slow
└── FileStoreNeeded           the tool keeps a file and the agent has no file store
"""

from __future__ import annotations


class LyeError(Exception):
    """The root of lye's errors."""


class UrlRefused(LyeError, ValueError):
    """The URL is not one that these tools may open."""


class FetchFailed(LyeError):
    """The server did not give a whole, readable answer within the limits."""


class FileStoreNeeded(LyeError):
    """The tool has nowhere to keep the file."""
