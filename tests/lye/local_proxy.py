"""A local HTTP proxy that opens tunnels, or answers a CONNECT with whatever bytes a test wants."""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
from types import TracebackType
from typing import Self


class LocalProxy:
    """`asked` holds each request's head; `answer` replaces the proxy's own answer, and then no tunnel is opened."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.asked: list[str] = []
        outer = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = self.request.recv(65_536)
                    if not piece:
                        return
                    head += piece
                outer.asked.append(head.decode("latin-1"))
                if answer is not None:
                    self.request.sendall(answer)
                    return
                host, _, port = head.split(b" ")[1].decode().rpartition(":")
                try:
                    there = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
                except OSError:
                    self.request.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                    return
                with there:
                    self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    relay(self.request, there)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a peer hung up

        self._server = Server(("127.0.0.1", 0), Connection)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def url(self, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def relay(one: socket.socket, other: socket.socket) -> None:
    """Both ways, until either side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select(5):
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65_536)
                if not data:
                    return
                key.data.sendall(data)
