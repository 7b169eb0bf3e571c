"""`python -m tests.model_server --port N [--script file.json]`: the model server for other processes.

Prints its base URL as the first line, then serves until SIGTERM or SIGINT. A script is a JSON list whose
items are texts or objects with the fields of Reply: `["hello", {"tool_calls": [["search", {"q": "x"}]]},
{"status": 429}]`. `GET /requests` beside /v1 tells what was asked.
"""

import argparse
import json
import signal
from pathlib import Path

from .reply import Reply
from .server import ModelServer


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m tests.model_server")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--script", type=Path, help="a JSON list of replies")
    parser.add_argument("--profile", choices=["openai", "anthropic"], default="openai")
    options = parser.parse_args()
    server = ModelServer(port=options.port, profile=options.profile)
    for item in json.loads(options.script.read_text(encoding="utf-8")) if options.script else ():
        server.reply(item if isinstance(item, str) else Reply(**item))
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)  # before the thread starts: threads inherit the mask
    with server:
        print(server.base_url, flush=True)
        signal.sigwait(endings)


if __name__ == "__main__":
    main()
