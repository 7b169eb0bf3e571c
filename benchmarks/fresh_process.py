"""What a new process pays before it can do anything: importing tyler and making an Agent with one tool."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from time import perf_counter

from benchmarks.harness.case import Case, Setting
from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Budget, Figure
from benchmarks.harness.samples import Samples

AGENT = """
from tyler import Agent
def order_status(order: int) -> str:
    "Where an order is."
    return "in the post"
Agent(model_name="gpt-4o", tools=[order_status])
"""
LITELLM_ALONE = "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'; import litellm"
# The process asks for its own: what its parent could read has the parent's peak in it.
PEAK = """
import resource, sys
try:
    peak_kb = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
except OSError:
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(peak_kb / 1024)
"""
PROGRAMS = {LIMIT: "pass", OURS: AGENT, LITELLM: LITELLM_ALONE}


async def measure(setting: Setting) -> list[Figure]:
    """Seconds from the start to the end of the process, and its peak of memory."""
    seconds, peak_mb = Samples(), Samples()
    for number in range(setting.size(9, 1)):
        for who, code in PROGRAMS.items():
            if who != LITELLM or (number % 3 == 0 and not setting.quick):  # it takes seconds
                elapsed_s, mb = await asyncio.to_thread(run, code)
                seconds.add(who, elapsed_s)
                peak_mb.add(who, mb)
    return [
        seconds.figure("import + Agent with one tool: time", "s", budget=Budget(0.5, limit_then=0.18)),
        peak_mb.figure("import + Agent with one tool: peak memory", "MB", budget=Budget(70, limit_then=29)),
    ]


def run(code: str) -> tuple[float, float]:
    """Seconds and peak MB of a Python that runs the code."""
    started = perf_counter()
    done = subprocess.run([sys.executable, "-c", f"{code}\n{PEAK}"], capture_output=True, text=True, check=True)
    return perf_counter() - started, float(done.stdout)


CASE = Case(
    "fresh_process",
    "A fresh process",
    measure,
    "The limit is `python -c pass`; litellm is `import litellm` alone, which ours puts off to the first request.",
)
