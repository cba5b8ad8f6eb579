"""Times the runner against what people do today, and writes the table that docs/performance.md shows.

    make bench                             all of it, some twenty minutes
    make bench ARGS="--only lifecycle"     a part
    make bench ARGS="--trials 10,100,1000 --rounds 5"

Whatever is compared runs in turn, round after round, in one go: machines are noisy, and only ratios of what
was measured side by side mean anything. Each run has a home of its own, so that nothing is found ready.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import psutil
from nbclient import NotebookClient

from ci.kernels import Kernels
from ci.pipeline import Pipeline, default_file
from tests.benchmarks import page

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ("01_setup", "02_train", "03_evaluate", "04_register", "05_package")
UNTIL = ("--until", "package")
PYTHON = sys.executable
# The runner without its reports: what they cost is what a run takes longer with them.
SILENT = """
from ci import cli, runner
class Silent:
    def __enter__(self): return self
    def __exit__(self, *_): return None
    def changed(self, run): return None
runner.Reporter = Silent
cli.main()
"""
IMPORTS = "import pandas, sklearn.linear_model, matplotlib.pyplot, mlflow, scrapbook"


class Row(NamedTuple):
    """A line of the table."""

    what: str
    measured: str
    aim: str


def main() -> None:
    """Measure what is asked for, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="a part; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison (default 3)")
    parser.add_argument("--trials", default="10,100", help="of the sweeps (default 10,100)")
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.only or PARTS:
        print(f"{name}:", flush=True)
        for row in PARTS[name](given):
            print("  " + " | ".join(row), flush=True)
            rows.append(row)
    if given.only is None:
        page.write("lifecycle", page.table(("what", "measured", "to reach"), rows))


@contextmanager
def home() -> Iterator[dict[str, str]]:
    """Yield an environment whose runs and workspace are in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield os.environ | {"MLOPS_HOME": folder}
        subprocess.run(
            [PYTHON, "-m", "ci", "down"],
            cwd=ROOT,
            env=os.environ | {"MLOPS_HOME": folder},
            capture_output=True,
        )


def timed(*words: str, env: dict[str, str]) -> float:
    """Return how many seconds a command takes; it has to end well."""
    began = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took


def ci(*words: str, env: dict[str, str]) -> float:
    """Time a command of the runner."""
    return timed(PYTHON, "-m", "ci", *words, env=env)


def papermill(env: dict[str, str], *notebooks: str, run_dir: str = "runs/papermill") -> float:
    """Time one papermill command for each notebook."""
    folder = Path(env["MLOPS_HOME"])
    command = [PYTHON, "-m", "papermill", "--no-progress-bar"]
    return sum(
        timed(
            *command, f"notebooks/{name}.ipynb", str(folder / "out.ipynb"), "-p", "run_dir", run_dir, env=env
        )
        for name in notebooks
    )


@contextmanager
def kept() -> Iterator[None]:
    """Keep kernels ready meanwhile."""
    keeper = subprocess.Popen([PYTHON, "-m", "ci", "kernels"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert keeper.stdout is not None
        while "Ready" not in keeper.stdout.readline():
            if keeper.poll() is not None:
                raise SystemExit("the kernel server did not get ready")
        yield
    finally:
        keeper.terminate()
        keeper.communicate()


def steps(env: dict[str, str]) -> list[dict[str, Any]]:
    """Return the steps that have run in the newest run, each with the seconds that its cells took."""
    (*_, folder) = sorted(path for path in (Path(env["MLOPS_HOME"]) / "runs").iterdir() if path.is_dir())
    found = []
    for step in json.loads((folder / "run.json").read_text())["steps"]:
        if step["executed"] and not step["reused"]:
            cells = json.loads((folder / step["executed"]).read_text())["cells"]
            took = [cell["metadata"]["papermill"]["duration"] or 0 for cell in cells]
            found.append({**step, "cell_seconds": sum(took)})
    return found


def lifecycle(given: argparse.Namespace) -> Iterator[Row]:
    """Setup to package: a papermill command for each notebook, all cells in one process, and the runner."""
    taken: dict[str, list[float]] = {"papermill": [], "plain": [], "cold start": [], "ready": []}
    overheads = []
    plain = [PYTHON, str(Path(__file__).with_name("plain.py")), "runs/plain", *NOTEBOOKS]
    for _ in range(given.rounds):
        with home() as env:
            taken["papermill"].append(papermill(env, *NOTEBOOKS))
        with home() as env:
            taken["plain"].append(timed(*plain, env=env))
        with home() as env:
            taken["cold start"].append(ci("run", *UNTIL, env=env))
        with kept(), home() as env:
            taken["ready"].append(ci("run", *UNTIL, env=env))
            first, *others = steps(env)
            span = datetime.fromisoformat(others[-1]["ended"]) - datetime.fromisoformat(first["ended"])
            overheads.append((span.total_seconds() - sum(o["cell_seconds"] for o in others)) / len(others))
    middle = {name: statistics.median(values) for name, values in taken.items()}
    for name, values in taken.items():
        print(f"  {name}: " + ", ".join(f"{value:.2f}" for value in values) + " s")
    cold, base = middle["cold start"], middle["plain"]
    yield Row(
        "lifecycle (setup … package), cold start, against one `papermill` command per notebook",
        f"{middle['papermill'] / cold:.1f} times faster ({cold:.1f} s against {middle['papermill']:.1f} s)",
        "8 times",
    )
    yield Row(
        "the same against all cells in one plain Python process",
        f"{cold / base:.2f} times ({cold:.1f} s against {base:.1f} s)",
        "at most 1.25 times",
    )
    yield Row(
        "with kernels kept ready, against that plain process",
        f"{middle['ready'] / base:.2f} times ({middle['ready']:.1f} s)",
        "at most 0.5 times",
    )
    yield Row(
        "runner's overhead per notebook beyond its cells, warm",
        f"{statistics.median(overheads):.2f} s",
        "at most 0.15 s",
    )


def unchanged(given: argparse.Namespace) -> Iterator[Row]:
    """The same run again, after its model has become the champion and a run has been compared with it."""
    with home() as env:
        ci("run", env=env)
        ci("approve", "--by", "bench", env=env)
        ci("run", env=env)
        taken = [ci("run", env=env) for _ in range(given.rounds + 2)]
        executed = len(steps(env))
    yield Row(
        "unchanged second run", f"{statistics.median(taken):.2f} s, {executed} notebooks executed", "1 s, 0"
    )
    with home() as env:
        ci("run", "--until", "setup", env=env)
        asked = statistics.median(ci("status", env=env) for _ in range(2 * given.rounds + 1))
    yield Row("`python -m ci status`", f"{asked:.2f} s", "0.3 s")


def reports(given: argparse.Namespace) -> Iterator[Row]:
    """The same run with its reports and without them."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(2 * given.rounds):
        for shown in taken:
            with home() as env:
                command = ["-m", "ci"] if shown else ["-c", SILENT]
                taken[shown].append(timed(PYTHON, *command, "run", *UNTIL, env=env))
    with_them, without = (statistics.median(taken[shown]) for shown in (True, False))
    yield Row(
        "rendering and reports", f"{(with_them - without) / with_them * 100:.1f} % of the run", "at most 5 %"
    )


def sweeps(given: argparse.Namespace) -> Iterator[Row]:
    """Many trainings at once, against a papermill command for each."""
    with home() as env:
        papermill(env, "01_setup")
        alone = papermill(env, *["02_train"] * 10) / 10
    costs = {}
    for trials in map(int, given.trials.split(",")):
        values = ",".join(f"{0.001 * 1.01**number:.8f}" for number in range(trials))
        with home() as env:
            whole = ci("sweep", "-p", "alpha", values, "--until", "train", env=env)
            train = steps(env)[-1]
            span = datetime.fromisoformat(train["ended"]) - datetime.fromisoformat(train["started"])
            costs[trials] = span.total_seconds() / trials
        print(f"  {trials} trials: {whole:.1f} s", flush=True)
        yield Row(
            f"sweep of {trials} training notebooks, against as many `papermill` commands (10 timed)",
            f"{alone * trials / whole:.1f} times faster ({whole:.0f} s against {alone * trials:.0f} s)",
            "20 times" if trials == 100 else "",
        )
    told = ", ".join(f"{cost:.2f} s at {trials}" for trials, cost in costs.items())
    yield Row("cost of a sweep's notebook", told, "flat")


def memory(given: argparse.Namespace) -> Iterator[Row]:
    """What each further kernel adds to the memory in use: by itself, and when it has used what it imports."""
    del given
    alone, importing = _each("pass"), _each(IMPORTS)
    yield Row(
        "proportional memory of each further warm kernel",
        f"{alone:.0f} MB, {importing:.0f} MB once it has imported what notebooks import",
        "at most 40 MB above what its cells allocate",
    )


def _each(source: str) -> float:
    """Return the MB that a kernel adds which has executed a cell."""
    with Kernels(Pipeline(default_file()).preload) as kernels:
        kernels.ready()
        assert kernels.server is not None
        server = psutil.Process(kernels.server)
        clients: list[NotebookClient] = []
        totals = []
        for _ in range(8):
            cell = nbformat.v4.new_code_cell(source)
            client = NotebookClient(nbformat.v4.new_notebook(cells=[cell]), **kernels.engine_options())
            client.create_kernel_manager()
            client.start_new_kernel(cwd=str(ROOT))
            client.start_new_kernel_client()
            client.execute_cell(cell, 0)
            clients.append(client)
            totals.append(sum(p.memory_full_info().pss for p in (server, *server.children())) / 1e6)
        for client in clients:
            client._cleanup_kernel()
    return float(totals[-1] - totals[1]) / (len(totals) - 2)


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "lifecycle": lifecycle,
    "unchanged": unchanged,
    "reports": reports,
    "sweeps": sweeps,
    "memory": memory,
}

if __name__ == "__main__":
    main()
