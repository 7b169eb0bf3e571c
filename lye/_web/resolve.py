"""A host's addresses, looked up once and checked: what is dialled afterwards is one of these, never the name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from lye._web.rules import Rules
from lye._web.url import Target
from lye.errors import FetchFailed

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


async def look_up(host: str, port: int) -> Sequence[str]:
    """The host's addresses, in the system's order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked_addresses(target: Target, rules: Rules, resolve: Resolver) -> Sequence[str]:
    """The addresses of the target, from one look-up; all of them allowed, or UrlRefused."""
    rules.check_port(target)
    if target.address is not None:
        addresses: Sequence[str] = [target.host]
    else:
        try:
            addresses = await resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise FetchFailed(
                f"no address was found for the host {target.host!r} ({error}); check its spelling"
            ) from error
    if not addresses:
        raise FetchFailed(f"the host {target.host!r} has no address; check its spelling")
    rules.check_addresses(target, addresses)
    return addresses
