"""A local HTTP(S) server that answers each path with exactly the bytes, good or bad, that a test wants."""

from __future__ import annotations

import gzip
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

Body = bytes | str | Iterable[bytes] | Callable[[socket.socket], None]


class LocalServer:
    """Listens on `host`; `requests` holds each request's head as text, `bodies` its body, in order; `connections`
    counts those who knocked, with a request or without.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._answers: dict[str, list[tuple[str, Body]]] = {}
        outer = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer.connections += 1
                try:
                    peer = tls.wrap_socket(self.request, server_side=True) if tls else self.request
                    with peer:
                        outer._answer(peer)
                except OSError:
                    pass  # the client hung up, which is what many of these tests are about

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 64

        self._server = Server((host, port), Connection)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def serve(
        self,
        path: str,
        body: Body = b"",
        *,
        status: str = "200 OK",
        headers: str = "Content-Type: text/html",
        then: bool = False,
    ) -> None:
        """Answer `path` so: bytes get a Content-Length, an iterable is streamed, a callable has the socket.

        `then`: behind the answers that it has; each is given once, the last one again and again.
        """
        before = self._answers.get(path, []) if then else []
        self._answers[path] = [*before, (f"HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n", body)]

    def redirect(self, path: str, location: str, status: str = "302 Found") -> None:
        self.serve(path, status=status, headers=f"Location: {location}")

    def serve_gzip(self, path: str, body: bytes) -> None:
        self.serve(path, gzip.compress(body), headers="Content-Type: text/html\r\nContent-Encoding: gzip")

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, peer: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = peer.recv(65536)
            if not piece:
                return
            request += piece
        head, _, sent = request.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        while length and len(sent) < int(length[1]) and (piece := peer.recv(65536)):
            sent += piece
        self.requests.append(head.decode("latin-1") + "\r\n\r\n")
        self.bodies.append(sent)
        path = head.decode("latin-1").split(" ")[1]
        answers = self._answers.get(path, [("HTTP/1.1 404 Not Found\r\nConnection: close\r\n", b"no")])
        headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        body = body.encode() if isinstance(body, str) else body
        if callable(body):
            peer.sendall(headers.encode())
            body(peer)
        elif isinstance(body, bytes):
            peer.sendall(f"{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            peer.sendall(f"{headers}\r\n".encode())
            for piece in body:
                peer.sendall(piece)
