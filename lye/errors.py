"""Every error that lye raises on purpose; the agent shows its message to the model.

LyeError
├── UrlRefused (ValueError)      the URL, or where it leads, is not allowed; nothing was sent there
├── FetchFailed                  the page or file could not be had: no answer, a bad one, too large, too slow
├── SearchFailed                 the search service gave no usable answer
├── PathRefused (ValueError)     the path is not one that the file tools may touch; nothing was read or written
├── FileFailed                   the file could not be read or changed: missing, too large, not text, edit not unique
├── CommandRefused (ValueError)  the command is not one that may run; nothing was started
├── CommandFailed                the command could not be started, or was killed at a limit
├── MediaFailed                  an image or sound could not be made or read
├── BrowserFailed                the page could not be opened or used
├── FileStoreNeeded              the tool keeps a file and the agent has no file store
├── ThreadStoreNeeded            the tool reads threads and the run has no thread store with an owner
└── ExtraNeeded (ImportError)    a library is not installed; the message says what to install
"""

from __future__ import annotations


class LyeError(Exception):
    """The root of lye's errors."""


class UrlRefused(LyeError, ValueError):
    """The URL is not one that these tools may open."""


class FetchFailed(LyeError):
    """The server did not give a whole, readable answer within the limits.

    `status` is its HTTP status where that is the reason.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class SearchFailed(LyeError):
    """The search service did not give a usable answer within the limits."""


class PathRefused(LyeError, ValueError):
    """The path leads out of the opened folder, is a secret, a special file, or not open for writing."""


class FileFailed(LyeError):
    """The file could not be read or changed within the limits."""


class CommandRefused(LyeError, ValueError):
    """The command is not one that these tools may run."""


class CommandFailed(LyeError):
    """The command could not be started, or did not end within the limits."""


class MediaFailed(LyeError):
    """The model behind an image or audio tool did not give a usable answer."""


class BrowserFailed(LyeError):
    """The browser is missing, or could not open or use the page within the limits."""


class FileStoreNeeded(LyeError):
    """The tool has nowhere to keep the file."""


class ThreadStoreNeeded(LyeError):
    """The tool has no owner's threads to read."""


class ExtraNeeded(LyeError, ImportError):
    """A library that the tool needs is not installed."""
