"""Answers in the formats of Anthropic and Gemini, as bytes for the RawServer."""

from __future__ import annotations

import json
from typing import Any

from tests.tyler.raw_server import http


def anthropic(*blocks: dict[str, Any], reason: str | None = None, **counts: int) -> bytes:
    """An answer in Anthropic's format; without a reason it is cut off. `counts` are its usage."""
    usage = {"input_tokens": 3, "output_tokens": 1, **counts}
    start = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, *blocks]
    if reason is not None:
        events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}})
        events.append({"type": "message_stop"})
    return http(b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events))


def block(start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one content block in Anthropic's format."""
    return [
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]


def gemini(*parts: dict[str, Any], reason: str | None = None) -> bytes:
    """An answer in Gemini's format; without a reason it is cut off."""
    first = {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0}]}
    last = {"candidates": [{"content": {"role": "model", "parts": []}, "finishReason": reason, "index": 0}]}
    events = [first, last] if reason else [first]
    return http(b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events))
