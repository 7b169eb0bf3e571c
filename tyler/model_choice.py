"""choose_model: which model this machine can use, and why: a provider's key, else Ollama, else the local model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from tyler.local import LocalModel

if TYPE_CHECKING:
    import httpx

# The first one set is taken. The names are litellm's; all of them call tools.
PROVIDERS: Mapping[str, str] = {
    "OPENAI_API_KEY": "gpt-4.1",
    "ANTHROPIC_API_KEY": "anthropic/claude-sonnet-5",
    "GEMINI_API_KEY": "gemini/gemini-pro-latest",
    "MISTRAL_API_KEY": "mistral/mistral-large-latest",
    "GROQ_API_KEY": "groq/openai/gpt-oss-120b",
    "DEEPSEEK_API_KEY": "deepseek/deepseek-v4-pro",
    "XAI_API_KEY": "xai/grok-4.3",
    "OPENROUTER_API_KEY": "openrouter/openai/gpt-4.1",
}
OLLAMA_ADDRESS = "127.0.0.1:11434"
OLLAMA_LIST_TIMEOUT_S = 0.5
OLLAMA_SHOW_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class ModelChoice:
    """What an Agent needs to reach the model; `explanation` is one line that says which and why.

    The local model has no `api_base` before it runs: use `with choice.ready() as model`.
    """

    kind: Literal["provider", "ollama", "local"]
    model_name: str
    can_call_tools: bool
    explanation: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @contextmanager
    def ready(self) -> Iterator[Self]:
        """The choice with its model running: starts and stops the local one (blocks for about a second)."""
        if self.kind != "local":
            yield self
            return
        with LocalModel.start() as model:
            yield replace(self, api_base=model.base_url, api_key=model.api_key)


def choose_model(env: Mapping[str, str] = os.environ) -> ModelChoice:
    """The best model at hand. Asks the Ollama server of OLLAMA_HOST or this machine when no provider's key is set.

    Blocks for 0.5 s at most where no Ollama server runs. Of Ollama's models the largest that calls tools is
    taken, else the largest; those that it would itself send to a cloud are passed over.
    """
    for variable, model_name in PROVIDERS.items():
        if key := env.get(variable, "").strip():
            return ModelChoice("provider", model_name, True, f"{model_name}: {variable} is set", api_key=key)
    address = _ollama_url(env.get("OLLAMA_HOST", "").strip() or OLLAMA_ADDRESS)
    if (found := _ollama_model(address)) is not None:
        name, can_call_tools = found
        tools = "" if can_call_tools else " (it cannot call tools)"
        return ModelChoice(
            "ollama",
            # Ollama's own endpoint in the OpenAI format streams tool calls as that format does.
            f"openai/{name}",
            can_call_tools,
            f"{name} of the Ollama server at {address}{tools}: no provider's key is set",
            api_base=f"{address}/v1",
            api_key="ollama",  # the format wants one, Ollama reads none
        )
    return ModelChoice(
        "local",
        LocalModel.model_name,
        False,
        f"{LocalModel.description}: no provider's key is set, and no Ollama server with a model answers at {address}",
    )


def _ollama_url(host: str) -> str:
    """OLLAMA_HOST in the forms that Ollama takes ("host", ":port", "http://host:port/"), as a base URL.

    0.0.0.0 is where a server listens, not an address to ask.
    """
    scheme, _, rest = host.rpartition("://")
    name, colon, port = rest.rstrip("/").rpartition(":")
    if not colon or port.endswith("]"):  # no port, or an IPv6 address without one
        name, port = rest.rstrip("/"), "443" if scheme == "https" else "80" if scheme else "11434"
    if name in ("", "0.0.0.0", "[::]"):
        name = "127.0.0.1"
    return f"{scheme or 'http'}://{name}:{port}"


def _ollama_model(address: str) -> tuple[str, bool] | None:
    """The model to use and whether it calls tools; None where no Ollama server answers or it has no chat model."""
    import httpx

    try:
        # A proxy has no business between this process and a server beside it.
        with httpx.Client(base_url=address, trust_env=False, timeout=OLLAMA_LIST_TIMEOUT_S) as client:
            answer = client.get("/api/tags")
            answer.raise_for_status()
            models = [m for m in answer.json()["models"] if not m.get("remote_host")]
            largest_first = sorted(models, key=lambda model: (-int(model.get("size", 0)), str(model["name"])))
            chat_models = []
            for model in largest_first:
                capabilities = _capabilities(client, str(model["name"]))
                if "tools" in capabilities:
                    return str(model["name"]), True
                if "completion" in capabilities:
                    chat_models.append(str(model["name"]))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError, AttributeError):
        return None  # nothing there, or something that is no Ollama server
    return (chat_models[0], False) if chat_models else None


def _capabilities(client: httpx.Client, name: str) -> set[str]:
    """What the model can do; nothing where Ollama cannot open it.

    Servers before 0.6.4 do not say: then it is taken to chat, without tools.
    """
    answer = client.post("/api/show", json={"model": name}, timeout=OLLAMA_SHOW_TIMEOUT_S)
    if answer.is_error:
        return set()
    details: dict[str, Any] = answer.json()
    return set(details.get("capabilities", ["completion"]))
