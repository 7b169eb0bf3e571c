"""narrator: conversations that are kept. Threads, messages, files, and the stores they live in."""

from narrator._files import GarbageReport
from narrator.attachment import Attachment
from narrator.errors import (
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
from narrator.thread import Thread, ThreadSummary
from narrator.thread_store import InitReport, StoreStatus, ThreadStore
from narrator.turn import Turn

__all__ = [
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
    "SchemaError",
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
