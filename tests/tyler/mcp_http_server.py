"""MCP servers over HTTP inside the test: one in plain Python that loses sessions and breaks, or any app."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

Answer = Callable[["_Handler", dict[str, Any]], None]


class RawHttpServer(ThreadingHTTPServer):
    """Speaks the 2025 protocol with sessions and whole JSON answers. `on_call` may do anything instead of answering."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/mcp"
        self.tools: list[dict[str, Any]] = []
        self.sessions: set[str] = set()
        self.heard: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.ended: list[str] = []
        self.sockets: list[socket.socket] = []
        self.lost_status = 404
        self.refuse_with: int | None = None
        self.on_call: Answer = lambda handler, message: handler.answer(
            message, {"content": [{"type": "text", "text": json.dumps(message["params"].get("arguments", {}))}]}
        )
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def count(self, method: str) -> int:
        return sum(message.get("method") == method for message in self.heard)

    def close(self) -> None:
        """Stop listening, and hang up."""
        self.shutdown()
        self.server_close()
        for connection in self.sockets:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: RawHttpServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.sockets.append(self.connection)

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server, session = self.server, self.headers.get("mcp-session-id")
        server.heard.append(message)
        server.headers.append({name.lower(): value for name, value in self.headers.items()})
        method = message.get("method")
        if server.refuse_with is not None:
            self.send(server.refuse_with, b"go away", "text/plain")
        elif method == "initialize":
            session = f"session-{len(server.heard)}"
            server.sessions.add(session)
            information = {"name": "raw", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": information}
            self.answer(message, result, session)
        elif method == "server/discover":
            self.send(400, b"what?", "text/plain")
        elif session not in server.sessions:
            error = {"code": -32000, "message": "Bad Request: No valid session ID provided"}
            content = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
            self.send(server.lost_status, content, "application/json")
        elif "id" not in message:
            self.send(202, b"", "application/json")
        elif method == "tools/list":
            self.answer(message, {"tools": server.tools})
        else:
            server.on_call(self, message)

    def do_GET(self) -> None:
        self.send(405, b"", "text/plain")

    def do_DELETE(self) -> None:
        self.server.ended.append(self.headers["mcp-session-id"])
        self.send(200, b"", "text/plain")

    def answer(self, message: dict[str, Any], result: dict[str, Any], session: str | None = None) -> None:
        content = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.send(200, content, "application/json", session)

    def break_off(self) -> None:
        """Half an answer."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"jsonrpc"')
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def send(self, status: int, content: bytes, kind: str, session: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        if session:
            self.send_header("mcp-session-id", session)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the terminal."""


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The URL of an app that runs in a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/mcp"
    server.should_exit = True
    thread.join()
