"""Sends one Reply over one HTTP connection, its faults included. What to answer is decided in `server.py`."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain

from aiohttp import web

from .recorded import Recorded
from .reply import Rendering, Reply, error_body, sse

Held = Callable[[], Awaitable[None]]


async def deliver(
    request: web.BaseRequest, recorded: Recorded, reply: Reply, completion_id: str, held: Held
) -> web.StreamResponse:
    """Answer `request` with `reply`; `held` is awaited wherever the reply says to hold."""
    recorded.status = reply.status
    if reply.delay_s:
        await asyncio.sleep(reply.delay_s)
    if reply.hold_after == 0:
        await held()
    if not reply.is_completion:
        return await send_whole(request, recorded, _failure(reply))
    rendering = Rendering(reply, recorded.body, completion_id)
    if recorded.body.get("stream"):
        events = chain(rendering.chunks(), rendering.closing())
        return await _send_pieces(request, recorded, reply, events, held)
    body = rendering.body()
    if reply.broken is None and not reply.hold_after and not reply.drip_s:
        response = web.Response(body=body, content_type="application/json")
        return await send_whole(request, recorded, response)
    halves = iter((body[: len(body) // 2], body[len(body) // 2 :]))
    return await _send_pieces(request, recorded, reply, halves, held)


async def send_whole(request: web.BaseRequest, recorded: Recorded, response: web.Response) -> web.StreamResponse:
    """Send a response that has no faults in mid-body."""
    recorded.status = response.status
    await response.prepare(request)
    await _finish(recorded, response)
    return response


async def _send_pieces(
    request: web.BaseRequest,
    recorded: Recorded,
    reply: Reply,
    pieces: Iterator[bytes],
    held: Held,
) -> web.StreamResponse:
    streams = bool(recorded.body.get("stream"))
    if reply.broken == "error" and not streams:
        document = error_body(reply.error, 500, reply.error_code)
        return await send_whole(request, recorded, web.json_response(document))
    content_type = "text/event-stream" if streams else "application/json"
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    for count, piece in enumerate(pieces):
        if count and count == reply.hold_after:
            await held()
        if reply.broken is not None and count == reply.broken_after:
            return await _break(request, response, reply)
        if count and reply.drip_s:
            await asyncio.sleep(reply.drip_s)
        if piece.startswith(b"data: [DONE]"):
            recorded.finished = True  # a client may act on it before the end of the body reaches it
        await response.write(piece)
    await _finish(recorded, response)
    return response


async def _finish(recorded: Recorded, response: web.StreamResponse) -> None:
    had_done = recorded.finished
    recorded.finished = True  # before the bytes leave: who has the answer may look at once
    try:
        await response.write_eof()
    except (asyncio.CancelledError, ConnectionError):
        recorded.finished = had_done
        raise


async def _break(request: web.BaseRequest, response: web.StreamResponse, reply: Reply) -> web.StreamResponse:
    if reply.broken == "error":
        await response.write(sse(error_body(reply.error, 500, reply.error_code)))
    transport = request.transport
    if reply.broken in ("cut", "error") or transport is None:
        await response.write_eof()
        return response
    if reply.broken == "reset":
        # Lingering for zero seconds turns the close into a TCP reset; what was sent before still arrives.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()
    return response  # aiohttp finds the transport closed and sends nothing more


def _failure(reply: Reply) -> web.Response:
    headers = {} if reply.retry_after is None else {"Retry-After": f"{reply.retry_after:g}"}
    if reply.html is not None:
        return web.Response(text=reply.html, content_type="text/html", status=reply.status, headers=headers)
    document = error_body(reply.error, reply.status, reply.error_code)
    return web.Response(
        body=json.dumps(document).encode(),
        content_type="application/json",
        status=reply.status,
        headers=headers,
    )
