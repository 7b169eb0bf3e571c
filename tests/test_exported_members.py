"""The public names: exactly these, each with a docstring. A change here is a change of the contract."""

import inspect
from types import ModuleType
from typing import get_origin

import pytest

import lye
import narrator
import tyler

PUBLIC = {
    "narrator": """
        ApprovalNotFound Attachment ConfigurationError Conflict DockerError FileNotFound FileStore
        FileStoreMissing FileTooLarge GarbageReport InitReport LeaseLost Message MessageConflict
        MessagesNotLoaded NarratorError OwnerMismatch PendingCall SchemaError SearchHit SearchPage StoreStatus
        StoreUnavailable Thread ThreadBusy ThreadConflict ThreadNotFound ThreadStore ThreadSummary ToolCall Turn Usage
    """,
    "tyler": """
        Agent ApprovalNeeded ApprovalNotFound ApprovalRequest Attachment Budget ConfigurationError
        ContextTooLong Event FallbackModel FileNotFound FileStore FileStoreMissing FileTooLarge Finished
        LeaseLost LitellmModel LocalModelUnavailable McpError McpToolsRefused McpUnavailable Message
        MessageAdded MessageConflict Model ModelAnswerBroken ModelCallForbidden ModelError ModelKeyError
        ModelNotFound ModelRateLimited ModelRefused ModelUnavailable NarratorError NothingToAnswer OutputSchema
        OwnerMismatch PendingCall Reasoning ReasoningDelta Reply Request Result RunOptions SchemaError
        StoreUnavailable TextDelta Thread ThreadBusy ThreadConflict ThreadNotFound ThreadStore Tool ToolCall
        ToolContext ToolFinished ToolProgress ToolResult ToolStarted TylerError Usage delegate_to tool
    """,
    "lye": """
        Brave Browser BrowserFailed CommandFailed CommandRefused ExtraNeeded FetchFailed FileFailed
        FileStoreNeeded LyeError MediaFailed PathRefused SearchFailed SearxNG ThreadStoreNeeded UrlRefused
        AUDIO_TOOLS BROWSER_TOOLS FILES_TOOLS IMAGE_TOOLS PYTHON_TOOLS SHELL_TOOLS THREAD_TOOLS WEB_TOOLS
        audio_tools browser_tools files_tools image_tools isolation_in_force python_tools shell_tools
        thread_tools web_tools
    """,
}


@pytest.mark.parametrize("package", [narrator, tyler, lye])
def test_the_public_names_are_these(package: ModuleType) -> None:
    expected = PUBLIC[package.__name__].split()
    assert sorted(package.__all__) == sorted(expected)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def members() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for package in (narrator, tyler, lye):
        for name in package.__all__:
            value = getattr(package, name)
            if get_origin(value) is not None or not (callable(value) or inspect.isclass(value)):
                continue  # a union or a list of tools
            if inspect.isclass(value) or inspect.isfunction(value):
                found.append((f"{package.__name__}.{name}", value))
            if inspect.isclass(value) and value.__module__.partition(".")[0] == package.__name__:
                found += [
                    (f"{package.__name__}.{name}.{attribute}", getattr(member, "__func__", member))
                    for attribute, member in vars(value).items()
                    if not attribute.startswith(("_", "model_"))
                    and (inspect.isfunction(member) or isinstance(member, classmethod | property))
                ]
    return found


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name, value in members() if not (inspect.getdoc(value) or "").strip()] == []


ROOTS = {narrator: "NarratorError", tyler: "TylerError", lye: "LyeError"}


@pytest.mark.parametrize("package", ROOTS)
def test_every_error_is_in_the_drawing(package: ModuleType) -> None:
    """The tree at the top of errors.py names each error, and each error is exported."""
    errors = inspect.getmodule(getattr(package, ROOTS[package]))
    assert errors is not None
    defined = [
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    assert [name for name in defined if name not in (errors.__doc__ or "")] == []
    assert [name for name in defined if name not in package.__all__] == []
