"""The child process of LocalModel: llama.cpp's server, alone in its process. Run as a file, not imported.

A process of its own, because xllamacpp holds the interpreter's lock while it loads (0.5 to 2 s: in a thread it
would still stop the event loop), and because a crash in native code must not take the application with it.
It reads one line of settings, answers with one line, and ends when its standard input does: so it never
outlives the process that started it, not even one that was killed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def serve(settings: dict[str, Any]) -> Any:
    """The running server; it listens once this returns. RuntimeError when the file cannot be loaded."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.n_ctx = settings["context_tokens"]
    params.n_predict = settings["answer_tokens"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.sampling.temp = settings["temperature"]
    params.cache_ram_mib = 0  # its default keeps old conversations in up to 8 GiB of memory
    params.verbosity = 0
    # Only who has the key gets an answer: neither other users of this machine nor a page in a browser.
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["api_key"]]
    params.cors_origins = "http://127.0.0.1"
    params.ui = params.endpoint_slots = False
    return xllamacpp.Server(params)


def main() -> None:
    """Serve until standard input ends."""
    try:
        server = serve(json.loads(sys.stdin.readline()))
        answer = {"address": server.listening_address}
    except (ImportError, RuntimeError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
    if "address" in answer:
        sys.stdin.read()
    # The server's destructor would wait for requests that nobody reads any more.
    os._exit(0)


if __name__ == "__main__":
    main()
