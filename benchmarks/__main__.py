"""Runs the benchmarks and writes the page: `make bench`, or `python -m benchmarks [CASE ...] [--peers NAME ...]`.

A whole run writes docs/performance.md and docs/performance/, one with `--large` (`make bench-large`) docs/scaling.md
and docs/scaling/; a part of one, or one with tiny sizes, is printed and kept in `.bench/` only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.harness import page, peers, plots
from benchmarks.harness.case import Case, Setting
from benchmarks.harness.figure import Figure, with_peer
from benchmarks.harness.model_server import ModelServer
from benchmarks.harness.one_case import case_named
from benchmarks.harness.results import ROOT, Measured, Results, about_this_run
from tests.postgres_server import PostgresServer

CASES = (
    "model_server_ceiling",
    "fresh_process",
    "loop_overhead",
    "one_more_turn",
    "save_one_more",
    "opening",
    "newest_threads",
    "conversations_at_once",
    "worker_processes",
    "streaming",
    "soak",
)
LARGE = (
    "growing_processes",
    "thinking_model",
    "large_sizes",
    "large_statements",
    "large_purge",
)
PAGE, LARGE_PAGE = ROOT / "docs" / "performance.md", ROOT / "docs" / "scaling.md"
KEPT = ROOT / ".bench"
TIMEOUT_S = 1_800
AS_INSTALLED = "-c fsync=on"  # the tests' server spares itself that


def main() -> None:
    options = arguments()
    if options.page_from:
        results = Results.from_json(json.loads(options.page_from.read_text(encoding="utf-8")))
        return write_page(results, LARGE_PAGE if options.large else PAGE)
    names = options.cases or list(LARGE if options.large else CASES)
    results, failed = run(names, options)
    KEPT.mkdir(exist_ok=True)
    (KEPT / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    seconds = page.seconds_of(results.measured)
    print(f"{seconds / 60:.1f} minutes; the figures are in {KEPT / 'results.json'}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the page is left as it was")
    if not options.cases and not options.quick:
        write_page(results, LARGE_PAGE if options.large else PAGE)
    return None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all, which are {', '.join(CASES)}")
    parser.add_argument("--large", action="store_true", help=f"for the other page: {', '.join(LARGE)}")
    parser.add_argument("--peers", nargs="+", default=[], metavar="NAME", help=f"known: {', '.join(peers.known())}")
    parser.add_argument("--soak", type=int, default=1_000, metavar="TURNS", help="how long the soak is")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, the figures say nothing")
    parser.add_argument("--page-from", type=Path, metavar="FILE", help="only write the page, from these results")
    options = parser.parse_args()
    if unknown := set(options.cases) - {*CASES, *LARGE}:
        parser.error(f"unknown cases {sorted(unknown)!r}: use {', '.join((*CASES, *LARGE))}")
    if unknown := set(options.peers) - set(peers.known()):
        parser.error(f"unknown peers {sorted(unknown)!r}: use {', '.join(peers.known())}")
    return options


def run(names: list[str], options: argparse.Namespace) -> tuple[Results, list[str]]:
    """The results, and the names of what failed; one failure doesn't end the run."""
    failed = []
    server = PostgresServer.start(AS_INSTALLED)
    try:
        postgres_version = server.binaries.run("postgres", "--version").stdout.split()[-1]
        results = Results(about_this_run(postgres_version, quick=options.quick))
        with ModelServer() as model, tempfile.TemporaryDirectory() as folder:
            for name in names:
                case = case_named(name)
                place = Path(folder, case.shares or name)
                if not place.exists():
                    place.mkdir()
                    server.create_database(place.name)
                url = server.url_of(place.name)
                setting, started = Setting(model.url, url, place, options.quick, options.soak), perf_counter()
                print(f"{name} ...", flush=True)
                try:
                    figures = measured_alone(name, setting)
                except subprocess.SubprocessError as failure:
                    print(f"{name} failed: {failure}\n", flush=True)
                    failed.append(name)
                    continue
                seconds = perf_counter() - started
                for peer in options.peers:
                    try:
                        figures = with_peer(figures, peer, peers.measured_by(peer, name, setting))
                    except (peers.PeerFailed, subprocess.SubprocessError, ValueError) as failure:
                        print(failure, flush=True)
                        failed.append(f"{peer} at {name}")
                results.measured.append(shown(case, figures, seconds))
                if not case.shares:
                    server.drop_database(name)
    finally:
        server.close()
    return results, failed


def measured_alone(name: str, setting: Setting) -> list[Figure]:
    """The case's figures, measured in a process of its own; raises SubprocessError."""
    command = [sys.executable, "-m", "benchmarks.harness.one_case", name]
    done = subprocess.run(
        command, input=setting.as_json(), stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT_S, cwd=ROOT
    )
    return [Figure.from_json(row) for row in json.loads(done.stdout.splitlines()[-1])]


def shown(case: Case, figures: list[Figure], seconds: float) -> Measured:
    print(f"{page.table(figures)}\n{case.note}\n({seconds:.0f} s)\n", flush=True)
    return Measured.of(case, figures, seconds)


def write_page(results: Results, target: Path) -> None:
    """The page, its plots, and the results beside them."""
    folder = target.with_suffix("")
    plots.draw(results, folder)
    (folder / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    part = page.generated(results, folder.name)
    target.write_text(page.replaced(target.read_text(encoding="utf-8"), part), encoding="utf-8")
    print(f"written: {target.relative_to(ROOT)}, {folder.relative_to(ROOT)}/")


if __name__ == "__main__":
    main()
