"""Finding every process that a command left behind: by a mark in its environment or in its command line."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

WAIT_S = 10.0


class Marked:
    """`env` is given to commands; `seconds` is for `sleep`, which then is known without its environment too."""

    def __init__(self) -> None:
        self.seconds = f"7{random.randrange(10**8):08}"
        self.env = {"TEST_MARK": self.seconds}

    def alive(self) -> list[str]:
        """Number, name and state of each."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
                if self.seconds.encode() in told and int(folder.name) != os.getpid():
                    found.append((folder / "stat").read_text()[:40])
            except OSError:  # it has ended, or is not ours
                continue
        return found

    def wait_for(self, count: int) -> None:
        """Until so many are alive."""
        until = time.monotonic() + WAIT_S
        while ((alive := self.alive()) and len(alive) != count) or len(alive) != count:
            assert time.monotonic() < until, f"{alive} are alive, not {count}"
            time.sleep(0.01)
