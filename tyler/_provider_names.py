"""A model's litellm name as the GenAI conventions have it: the provider's name there, and the model's own."""

from __future__ import annotations

from collections.abc import Mapping

# litellm's word for a provider, where the conventions have another one.
_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
# Names that litellm takes without a provider in front.
_BARE: Mapping[str, str] = {
    "gpt": "openai",
    "chatgpt": "openai",
    "ft:": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "claude": "anthropic",
    "gemini": "gcp.vertex_ai",
    "command": "cohere",
}


def provider_and_model(name: str) -> tuple[str, str]:
    """("x_ai", "grok-4.3") for "xai/grok-4.3". A name that tells no provider, as a Model of one's own has, is both."""
    provider, slash, model = name.partition("/")
    if slash and model:
        return _PROVIDERS.get(provider, provider), model
    return next((known for start, known in _BARE.items() if name.startswith(start)), name), name
