"""An MCP server over stdio in plain Python, which starts in milliseconds and breaks the protocol when told to.

Run as a program: `mcp_raw_server.py folder [mode]`. It offers what folder/tools.json says at that moment, and writes
each message that it gets as a line into folder/log.jsonl. What a tool does depends on its name.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
MODE = sys.argv[2] if len(sys.argv) > 2 else ""


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}], **more}


def first_time(name: str) -> bool:
    marker = FOLDER / f"{name}.marker"
    seen = marker.exists()
    marker.touch()
    return not seen


def call(message_id: Any, name: str, arguments: dict[str, Any], meta: dict[str, Any]) -> None:
    match name:
        case "die":
            os._exit(1)
        case "die_once" if first_time(name):
            os._exit(1)
        case "hang":
            return
        case "refuse":
            send(id=message_id, error={"code": -32000, "message": f"no \x1b[31mway, {os.environ.get('TOKEN')}"})
        case "malformed":
            send(id=message_id, result={"content": 5})
        case "answer":
            send(id=message_id, result=arguments["result"])
        case "noise":
            sys.stdout.write("this is no JSON, but content\n[1]\n\n{}\n")
            send(id=message_id, result=text("after the noise"))
        case "progress":
            for step in range(3):
                params = {"progressToken": meta["progressToken"], "progress": step, "total": 3, "message": "st\x07ep"}
                send(method="notifications/progress", params=params)
            send(id=message_id, result=text("done"))
        case "announce":
            send(method="notifications/tools/list_changed")
            send(id=message_id, result=text("announced"))
        case "environment":
            send(id=message_id, result=text(json.dumps({"env": dict(os.environ), "cwd": str(Path.cwd())})))
        case _:
            send(id=message_id, result=text(json.dumps(arguments)))


def listing(cursor: str | None) -> dict[str, Any]:
    if MODE == "endless":
        number = int(cursor or 0)
        return {"tools": [{"name": f"t{number}", "inputSchema": {"type": "object"}}], "nextCursor": str(number + 1)}
    return {"tools": json.loads((FOLDER / "tools.json").read_text(encoding="utf-8"))}


def main() -> None:
    if MODE == "broken":
        sys.stderr.write(f"starting\nno such database: {os.environ.get('TOKEN')}\n")
        sys.exit(3)
    for line in sys.stdin:
        with (FOLDER / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line)
        message = json.loads(line)
        method, params = message["method"], message.get("params", {})
        if MODE == "mute" or "id" not in message:
            continue
        if MODE == "strict" and method == "server/discover":
            sys.exit(1)
        if MODE == "chatty":
            sys.stderr.write("x" * 100_000 + "\n")
        if method == "initialize":
            information = {"name": "raw", "version": "1"}
            capabilities = {"tools": {"listChanged": True}}
            result = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": information}
            send(id=message["id"], result=result)
        elif method == "tools/list":
            send(id=message["id"], result=listing(params.get("cursor")))
        elif method == "tools/call":
            call(message["id"], params["name"], params.get("arguments", {}), params.get("_meta", {}))
        else:
            send(id=message["id"], error={"code": -32601, "message": f"no method {method}"})
    if MODE == "stubborn":
        time.sleep(60)


if __name__ == "__main__":
    main()
