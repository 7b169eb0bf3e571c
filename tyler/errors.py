"""Every error that tyler raises on purpose (the stores' errors are narrator's).

TylerError
├── NothingToAnswer (ValueError)   the thread has no message to answer
├── LocalModelUnavailable          the local model is not installed or does not start
├── McpError                       an MCP server cannot be used as it is asked for
│   ├── McpUnavailable             it does not start or cannot be reached, or the `mcp` extra is missing
│   └── McpToolsRefused            the tools that it offers cannot be taken as they are
└── ModelError                     the model gave no usable answer; the thread is as it was
    ├── ModelKeyError              the provider's key is missing or refused
    ├── ModelNotFound              the provider or litellm does not know this model
    ├── ModelRefused               the provider refuses the request (400 and its kind): trying again is no use
    │   └── ContextTooLong         it is longer than the model's context window
    ├── ModelRateLimited           too many requests or no quota, after the retries
    ├── ModelUnavailable           no connection, a time-out or a server error, after the retries
    └── ModelAnswerBroken          an answer that is cut off or cannot be read

ModelCallForbidden (BaseException)     a test asked a real model, which `tyler.testing.forbid_model_calls` forbids
"""

from __future__ import annotations


class TylerError(Exception):
    """The root of tyler's errors."""


class NothingToAnswer(TylerError, ValueError):
    """The thread has no message that a model could answer."""


class LocalModelUnavailable(TylerError):
    """The local model is not installed or does not start; the message says what to do."""


class McpError(TylerError):
    """An MCP server cannot be used as it is asked for."""


class McpUnavailable(McpError):
    """The MCP server does not start or cannot be reached, or the `mcp` extra is missing; the message says which."""


class McpToolsRefused(McpError):
    """The tools that the MCP server offers cannot be taken as they are; the message names them and says what helps."""


class ModelError(TylerError):
    """The model gave no usable answer. Nothing was added to the thread; `go` may be called again.

    `retry_after_s`: the seconds that the provider asks to wait, if it does.
    """

    retry_after_s: float | None = None


class ModelKeyError(ModelError):
    """The provider's key is missing or refused."""


class ModelNotFound(ModelError):
    """Nobody knows a model of this name."""


class ModelRefused(ModelError):
    """The provider refuses the request as it is."""


class ContextTooLong(ModelRefused):
    """The request is longer than the model's context window."""


class ModelRateLimited(ModelError):
    """Too many requests, or no quota left."""


class ModelUnavailable(ModelError):
    """The provider cannot be reached or has failed."""


class ModelAnswerBroken(ModelError):
    """The answer was cut off or is not in the provider's format."""


class ModelCallForbidden(BaseException):
    """A real model was asked where `tyler.testing.forbid_model_calls` or TYLER_FORBID_MODEL_CALLS forbids it.

    No Exception, as pytest's own failures are none: nothing that catches errors (a tool's result, a fallback, a
    web server) may turn a test's mistake into a normal-looking answer.
    """
