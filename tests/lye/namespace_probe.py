"""Run inside a network namespace: fetches names that the system's own resolver gets from a hostile DNS server.

Prints what came of each as JSON. Started by test_namespace.py, which sets up addresses and resolv.conf.
"""

from __future__ import annotations

import asyncio
import json

from lye import WEB_TOOLS, LyeError, web_tools
from tests.lye.fake_dns import AAAA, A, FakeDns
from tests.lye.local_server import LocalServer

PUBLIC, METADATA = "93.184.216.34", "169.254.169.254"
NAMES = {
    "public.test": [[PUBLIC]],
    "rebind-loopback.test": [[PUBLIC], ["127.0.0.1"]],
    "rebind-metadata.test": [[PUBLIC], [METADATA]],
    "rebind-redirect.test": [[PUBLIC], [METADATA]],
    "turns.test": [[PUBLIC], ["127.0.0.1"], [PUBLIC], [METADATA]],
    "meta.test": [[METADATA]],
    "metadata.test": [[METADATA]],
    "alias.test": [["=meta.test"]],
    "mixed-a.test": [[PUBLIC, METADATA]],
    "mixed-aaaa.test": [[PUBLIC, "::1"]],
    "mapped.test": [["::ffff:169.254.169.254"]],
    "nat64.test": [["64:ff9b::a9fe:a9fe"]],
    "zero.test": [["0.0.0.0"]],
    "opened.test": [[METADATA]],
}
LISTENERS = {"public": PUBLIC, "metadata": METADATA, "loopback": "127.0.0.1"}


async def outcome(url: str) -> str:
    fetch_page = web_tools(allow_hosts=["opened.test"])[0] if "opened" in url else WEB_TOOLS[0]
    try:
        text = str(await fetch_page(url))
    except LyeError as error:
        return f"{type(error).__name__}: {error}"
    return text.rpartition("\n")[2]


async def probe(dns: FakeDns) -> dict[str, object]:
    def lookups(name: str) -> list[int]:
        return [dns.asked[name, A], dns.asked[name, AAAA]]

    found: dict[str, object] = {}
    for name in ("public.test", "rebind-loopback.test", "rebind-metadata.test"):
        found[name] = [await outcome(f"http://{name}/"), lookups(name), await outcome(f"http://{name}/"), lookups(name)]
    for name in ("meta.test", "metadata", "alias.test", "mixed-a.test", "mixed-aaaa.test", "mapped.test"):
        found[name] = await outcome(f"http://{name}/")
    for name in ("nat64.test", "zero.test", "opened.test", "nowhere.test"):
        found[name] = await outcome(f"http://{name}/")
    for path in ("/to-metadata", "/to-alias"):
        found[path] = await outcome(f"http://public.test{path}")
    found["/to-itself"] = await outcome("http://rebind-redirect.test/to-itself")
    found["turns"] = [await outcome("http://turns.test/") for _ in range(20)]
    found["turns lookups"] = lookups("turns.test")
    return found


def main() -> None:
    with FakeDns(NAMES) as dns:
        servers = {name: LocalServer(host, 80) for name, host in LISTENERS.items()}
        for name, server in servers.items():
            server.serve("/", f"from {name}", headers="Content-Type: text/plain")
            server.__enter__()
        servers["public"].redirect("/to-metadata", "http://meta.test/latest/")
        servers["public"].redirect("/to-alias", "//alias.test/")
        servers["public"].redirect("/to-itself", "/")
        found = asyncio.run(probe(dns))
        found["connections"] = {name: server.connections for name, server in servers.items()}
        for server in servers.values():
            server.__exit__(None, None, None)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
