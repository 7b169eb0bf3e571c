"""The system's own resolver, in a network of the test's own: rebinding names, and a metadata service that listens.

Needs Linux with network namespaces for ordinary users, `unshare` and `ip`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
UNSHARE = ["unshare", "--map-root-user", "--mount", "--net", "sh", "-e", "-c"]
SET_UP = """
ip link set lo up
ip address add 93.184.216.34/32 dev lo
ip address add 169.254.169.254/32 dev lo
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What namespace_probe.py found."""
    for program in ("unshare", "ip", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("etc")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\nsearch test\noptions timeout:2 attempts:1\n")
    (folder / "nsswitch.conf").write_text("hosts: files dns\n")
    tried = subprocess.run([*UNSHARE, SET_UP, "sh", str(folder)], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"this machine does not allow network namespaces: {tried.stderr.strip()[-200:]}")
    done = subprocess.run(
        [*UNSHARE, SET_UP + 'exec "$2" -m tests.lye.namespace_probe', "sh", str(folder), sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_name_is_looked_up_once_a_request_and_the_checked_address_dialled(found: dict[str, Any]) -> None:
    assert found["public.test"] == ["from public", [1, 1], "from public", [2, 2]]


@pytest.mark.parametrize(
    ("name", "kind"), [("rebind-loopback.test", "loopback"), ("rebind-metadata.test", "cloud metadata")]
)
def test_a_name_that_rebinds_is_reached_while_public_and_refused_after(
    found: dict[str, Any], name: str, kind: str
) -> None:
    first, lookups, second, lookups_then = found[name]
    assert (first, lookups, lookups_then) == ("from public", [1, 1], [2, 2])
    assert second.startswith(f"UrlRefused: '{name}' is, or leads to, a {kind} address")


def test_a_name_that_changes_with_each_question_never_gets_past_the_check(found: dict[str, Any]) -> None:
    kinds = ["public" if text == "from public" else text.split(":")[0] for text in found["turns"]]
    assert kinds == ["public", "UrlRefused"] * 10
    assert found["turns lookups"] == [20, 20]


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("meta.test", "cloud metadata"),
        ("metadata", "cloud metadata"),
        ("alias.test", "cloud metadata"),
        ("mixed-a.test", "cloud metadata"),
        ("mixed-aaaa.test", "loopback"),
        ("mapped.test", "transition"),
        ("nat64.test", "transition"),
        ("zero.test", "unspecified"),
        ("opened.test", "cloud metadata"),
        ("/to-metadata", "cloud metadata"),
        ("/to-alias", "cloud metadata"),
        ("/to-itself", "cloud metadata"),
    ],
)
def test_what_leads_to_a_private_address_is_refused(found: dict[str, Any], what: str, kind: str) -> None:
    assert found[what].startswith("UrlRefused: ")
    assert kind in found[what]


def test_an_unknown_name_is_a_failure(found: dict[str, Any]) -> None:
    assert found["nowhere.test"].startswith("FetchFailed: no address was found for the host 'nowhere.test'")


def test_nobody_knocked_at_the_metadata_service_or_this_machine(found: dict[str, Any]) -> None:
    assert found["connections"]["metadata"] == 0
    assert found["connections"]["loopback"] == 0
    assert found["connections"]["public"] > 10
