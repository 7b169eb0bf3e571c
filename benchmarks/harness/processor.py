"""Processor time of the servers that stand behind a benchmark, found by the port at which each listens."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import psutil


def used_s(url: str) -> float:
    """Seconds of processor that the server of a URL has used so far, its children's with it, ended ones too."""
    server = _listening(urlsplit(url).port)
    used = server.cpu_times()
    seconds = used.user + used.system + used.children_user + used.children_system
    for child in server.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended in this moment: the next look finds it with the ended
            one = child.cpu_times()
            seconds += one.user + one.system
    return float(seconds)


def _listening(port: int | None) -> psutil.Process:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return psutil.Process(connection.pid)
    raise LookupError(f"no process of this machine listens at port {port!r}: the server must run here to be measured")
