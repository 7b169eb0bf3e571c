"""What the media tools' tests share: a server of OpenAI's four endpoints, files, and calls as agents make them."""

from __future__ import annotations

import base64
import json
from typing import Any

from narrator import Attachment, FileStore, Message, Thread, ThreadStore
from tests.lye.local_server import LocalServer
from tyler.tools import Tool, ToolContext, ToolResult, run_tool

KEY = "test-key-7f3a9c1e5b"
IMAGES, CHAT, SPEECH, WORDS = (
    f"/v1/{path}" for path in ("images/generations", "chat/completions", "audio/speech", "audio/transcriptions")
)
JSON = "Content-Type: application/json"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(20)
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(200)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28)


def settings(server: LocalServer) -> dict[str, Any]:
    """The factories' options that lead to the server."""
    return {"api_key": KEY, "api_base": server.url("/v1"), "timeout_s": 60}


def image_answer(content: bytes | str = PNG, **fields: Any) -> bytes:
    """An answer of /images/generations: bytes as base64, text as it stands."""
    data = content if isinstance(content, str) else base64.b64encode(content).decode()
    return json.dumps({"created": 1, "data": [{"b64_json": data, **fields.pop("item", {})}], **fields}).encode()


def url_answer(url: str) -> bytes:
    return json.dumps({"created": 1, "data": [{"url": url}]}).encode()


def chat_answer(text: str | None, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 1_020}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


def error_answer(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}}).encode()


async def call(
    tools: list[Tool],
    name: str,
    files: FileStore | None = None,
    threads: ThreadStore | None = None,
    owner: str | None = None,
    **arguments: object,
) -> ToolResult:
    """One call in thread "t" of this owner, with his views of the stores, as an agent's loop makes it."""
    if owner is not None:
        files = files and files.for_owner(owner)
        threads = threads and threads.for_owner(owner)
    context = ToolContext(
        thread_id="t", owner=owner, call_id="c", idempotency_key="k", file_store=files, thread_store=threads
    )
    return await run_tool({tool.name: tool for tool in tools}, name, json.dumps(arguments), context)


async def attached(*files: Attachment, owner: str | None = None) -> ThreadStore:
    """A store in memory with thread "t", in which a user attached these."""
    store = await ThreadStore.create()
    message = Message(role="user", content="Look:", attachments=list(files))
    await store.save_thread(Thread(id="t", owner=owner, messages=[message]))
    return store
