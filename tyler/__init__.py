"""tyler: agents that answer threads. With narrator's names that every agent needs."""

from narrator import (
    Attachment,
    FileStore,
    Message,
    NarratorError,
    StoreUnavailable,
    Thread,
    ThreadBusy,
    ThreadConflict,
    ThreadNotFound,
    ThreadStore,
    ToolCall,
    Usage,
)
from tyler.agent import Agent
from tyler.errors import (
    ModelAnswerBroken,
    ModelError,
    ModelKeyError,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelUnavailable,
    NothingToAnswer,
    TylerError,
)
from tyler.events import Event, Finished, MessageAdded, TextDelta, ToolFinished, ToolStarted
from tyler.result import Result
from tyler.tools import Tool, ToolContext, ToolResult, tool

__all__ = [
    "Agent",
    "Attachment",
    "Event",
    "FileStore",
    "Finished",
    "Message",
    "MessageAdded",
    "ModelAnswerBroken",
    "ModelError",
    "ModelKeyError",
    "ModelNotFound",
    "ModelRateLimited",
    "ModelRefused",
    "ModelUnavailable",
    "NarratorError",
    "NothingToAnswer",
    "Result",
    "StoreUnavailable",
    "TextDelta",
    "Thread",
    "ThreadBusy",
    "ThreadConflict",
    "ThreadNotFound",
    "ThreadStore",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolFinished",
    "ToolResult",
    "ToolStarted",
    "TylerError",
    "Usage",
    "tool",
]
