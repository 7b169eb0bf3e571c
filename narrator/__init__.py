"""narrator: conversations that are kept. Threads, messages, files, and the stores they live in."""

from narrator._files import GarbageReport
from narrator.approval import PendingCall
from narrator.attachment import Attachment
from narrator.errors import (
    ApprovalNotFound,
    ConfigurationError,
    Conflict,
    DockerError,
    FileNotFound,
    FileStoreMissing,
    FileTooLarge,
    LeaseLost,
    MessageConflict,
    MessagesNotLoaded,
    NarratorError,
    OwnerMismatch,
    SchemaError,
    StoreUnavailable,
    ThreadBusy,
    ThreadConflict,
    ThreadNotFound,
)
from narrator.file_store import FileStore
from narrator.message import Message, ToolCall, Usage
from narrator.reports import InitReport, StoreStatus
from narrator.search import SearchHit, SearchPage
from narrator.thread import Thread, ThreadSummary
from narrator.thread_store import ThreadStore
from narrator.turn import Turn

__all__ = [
    "ApprovalNotFound",
    "Attachment",
    "ConfigurationError",
    "Conflict",
    "DockerError",
    "FileNotFound",
    "FileStore",
    "FileStoreMissing",
    "FileTooLarge",
    "GarbageReport",
    "InitReport",
    "LeaseLost",
    "Message",
    "MessageConflict",
    "MessagesNotLoaded",
    "NarratorError",
    "OwnerMismatch",
    "PendingCall",
    "SchemaError",
    "SearchHit",
    "SearchPage",
    "StoreStatus",
    "StoreUnavailable",
    "Thread",
    "ThreadBusy",
    "ThreadConflict",
    "ThreadNotFound",
    "ThreadStore",
    "ThreadSummary",
    "ToolCall",
    "Turn",
    "Usage",
]
