"""Every error that narrator raises on purpose.

NarratorError
├── ThreadNotFound (LookupError)      no such thread, or it belongs to another owner
├── FileNotFound (LookupError)        no such file, or it belongs to another owner
├── ApprovalNotFound (LookupError)    no such question waits: it was used, replaced, or is another owner's
├── Conflict
│   ├── ThreadConflict                someone else wrote since this thread was loaded
│   └── MessageConflict               a stored message has this id and other content
├── OwnerMismatch (PermissionError)   the thread belongs to another owner than this view's
├── ThreadBusy (TimeoutError)         another run holds the thread's turn
├── LeaseLost                         this run's turn has passed to another; its writes are refused
├── MessagesNotLoaded (AttributeError)  a ThreadSummary has no messages
├── FileTooLarge (ValueError)         over the file store's size limit
├── FileStoreMissing                  attachments, and nowhere to keep their bytes
├── ConfigurationError (ValueError)   a URL, path or variable that cannot work
├── DockerError                       docker is missing, does not answer, or refuses
└── StoreUnavailable                  the database or folder does not answer
    └── SchemaError                   it answers, but its tables are of another version
"""

from __future__ import annotations


class NarratorError(Exception):
    """The root of narrator's errors."""


class ThreadNotFound(NarratorError, LookupError):
    """No thread has this id here."""


class FileNotFound(NarratorError, LookupError):
    """No file has this id here."""


class ApprovalNotFound(NarratorError, LookupError):
    """No call waits for a decision under this id any more."""


class Conflict(NarratorError):
    """Two writers disagree; nothing of the refused write was stored."""


class ThreadConflict(Conflict):
    """Someone else changed the thread since this object was loaded."""


class MessageConflict(Conflict):
    """The thread already has a message with this id and other content."""


class OwnerMismatch(NarratorError, PermissionError):
    """The thread belongs to another owner than the store's view is for."""


class ThreadBusy(NarratorError, TimeoutError):
    """Another run kept the thread's turn longer than the caller was ready to wait."""


class LeaseLost(NarratorError):
    """The run's turn expired and passed on; its writes are refused from now on."""


class MessagesNotLoaded(NarratorError, AttributeError):
    """A ThreadSummary carries no messages."""


class FileTooLarge(NarratorError, ValueError):
    """The file is over the store's limit; nothing was written."""


class FileStoreMissing(NarratorError):
    """A message has attachments and the thread store knows no file store."""


class ConfigurationError(NarratorError, ValueError):
    """A setting that cannot work, named with its value (passwords hidden)."""


class DockerError(NarratorError):
    """Docker is missing, does not answer or refuses; the message says what to do."""


class StoreUnavailable(NarratorError):
    """The database or folder could not be reached or written."""


class SchemaError(StoreUnavailable):
    """The database's tables are of another version than this program's."""
