"""Runs as the runner would leave them, one for each verdict, made up without running anything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ci.runs import Failure, Parameter, Run, Step

DIGEST = "9f2c41d07be35a6688c1e0f4ab3d92575e6b1c08d7f3a4926e51b07c8d9fa310"
STEPS = (
    ("setup", "01_setup", "build"),
    ("train", "02_train", "train"),
    ("evaluate", "03_evaluate", "train"),
    ("register", "04_register", "train"),
    ("package", "05_package", "train"),
    ("deploy_staging", "06_deploy", "staging"),
    ("test_staging", "07_test", "staging"),
    ("deploy_production", "06_deploy", "production"),
    ("test_production", "07_test", "production"),
)
SECONDS = (2.1, 1.4, 3.8, 0.9, 1.2, 2.6, 4.9, 2.4, 5.1)
DONE = {
    "released": 9,
    "waiting": 7,
    "rejected": 7,
    "not_better": 3,
    "blocked": 2,
    "failed": 1,
    "stopped": 5,
    "running": 1,
}
SANITY = [
    {"check": "columns", "column": "", "passed": True, "observed": "11", "expected": "11"},
    {"check": "missing values", "column": "bmi", "passed": True, "observed": 0.0, "expected": "at most 0.01"},
    {"check": "range", "column": "age", "passed": True, "observed": "19 to 79", "expected": "0 to 120"},
    {
        "check": "distribution",
        "column": "bp",
        "passed": True,
        "observed": 0.41,
        "expected": "p at least 0.001",
    },
    {"check": "target leakage", "column": "", "passed": True, "observed": "none", "expected": "none"},
]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MARKER = "papermill-error-cell-tag"
SERVICE_CHECKS = [
    {"check": "golden rows", "passed": True, "expected": "20 within 1e-6", "observed": "20"},
    {"check": "not JSON", "passed": True, "expected": "400", "observed": "400"},
    {"check": "missing column", "passed": True, "expected": "422", "observed": "422"},
    {"check": "10,000 rows", "passed": True, "expected": "413", "observed": "413"},
]


def scraps_of(step: str) -> dict[str, Any]:
    environment = "production" if step.endswith("production") else "staging"
    made: dict[str, dict[str, Any]] = {
        "setup": {
            "snapshot": "data/snapshot.parquet",
            "fingerprint": "3ac5e1f09b7d24608e",
            "rows": 442,
            "training_rows": 353,
            "held_out_rows": 89,
            "split": {"method": "content", "columns": [], "seed": 42, "held_out_share": 0.2},
            "sanity": SANITY,
            "resources": [{"name": "run history", "state": "found", "location": "workspace/mlflow.db"}],
        },
        "train": {
            "training_run": "b7e1",
            "estimator": "sklearn.linear_model.Ridge",
            "hyperparameters": {"alpha": 0.05},
            "metrics": {"root_mean_squared_error": 51.7},
        },
        "evaluate": {
            "outcome": "promote",
            "reason": "RMSE 53.12 against 54.42 on the same 89 rows, "
            "95 % interval of the difference −2.41 to −0.12",
            "metric": "root_mean_squared_error",
            "direction": "minimize",
            "rows": 89,
            "challenger": {
                "root_mean_squared_error": 53.1213,
                "mean_absolute_error": 42.8034,
                "r2": 0.4812,
                "max_error": 152.22,
            },
            "opponent": "champion version 3",
            "opponent_metrics": {
                "root_mean_squared_error": 54.4187,
                "mean_absolute_error": 44.1102,
                "r2": 0.4556,
                "max_error": 149.91,
            },
            "difference": {
                "estimate": -1.2974,
                "low": -2.4132,
                "high": -0.1207,
                "confidence": 0.95,
                "method": "paired bootstrap, 2,000 resamples",
            },
            "thresholds": {"root_mean_squared_error": 60.0},
            "segments": [
                {"segment": "bmi above 30.2", "rows": 22, "challenger": 58.31, "opponent": 63.02},
                {"segment": "age above 59", "rows": 23, "challenger": 49.90, "opponent": 53.14},
                {"segment": "sex = 2", "rows": 41, "challenger": 52.77, "opponent": 54.01},
                {"segment": "bp below 84", "rows": 21, "challenger": 51.62, "opponent": 50.48},
            ],
        },
        "register": {
            "model_name": "diabetes",
            "model_version": "4",
            "lineage": {"run": "20261123-101502-3fa2", "commit": "4e1b7c90aa", "fingerprint": "3ac5e1f09b7d"},
        },
        "package": {
            "package": "package",
            "digest": DIGEST,
            "size": 48213,
            "format": "onnx",
            "signer": "5f0c" * 16,
            "image": f"registry.example.com/mlops/diabetes@sha256:{DIGEST}",
            "image_size": 128_400_000,
            "golden_rows": 20,
            "inputs": [
                {"name": "age", "type": "float", "nullable": False},
                {"name": "bmi", "type": "float", "nullable": True},
            ],
        },
        "deploy": {"environment": environment, "endpoint": "http://127.0.0.1:42117", "digest": DIGEST},
        "test": {
            "environment": environment,
            "passed": True,
            "checks": SERVICE_CHECKS,
            "latency": {"p50": 1.42, "p90": 2.05, "p99": 4.71, "max": 9.3, "requests": 500},
            "restored": False,
        },
    }
    return copy.deepcopy(made[step.split("_")[0]])


def approval_of(decision: str) -> dict[str, Any]:
    return {
        "decision": decision,
        "by": "Ada Byron",
        "at": "2026-11-23T10:31:00+00:00",
        "digest": DIGEST,
        "comment": "better where it matters: high BMI" if decision == "approved" else "max error got worse",
    }


def build(verdict: str = "released", run_id: str = "20261123-101502-3fa2", **changes: Any) -> Run:
    """Make a run that has come to a verdict; `changes` replace fields of it."""
    done = DONE[verdict]
    moment = datetime(2026, 11, 23, 10, 15, 2, tzinfo=UTC)
    steps = []
    for index, (name, notebook, stage) in enumerate(STEPS):
        step = Step(name=name, notebook=notebook, stage=stage)
        if index < done or (index == done and verdict in ("blocked", "failed", "running")):
            step.state, step.attempts, step.cells, step.cells_done = "succeeded", 1, 8, 8
            step.started, step.ended = moment, moment + timedelta(seconds=SECONDS[index])
            moment = step.ended
            step.executed, step.html = f"notebooks/{name}.ipynb", f"notebooks/{name}.html"
            step.scraps = scraps_of(name)
            step.parameters = {"run_dir": Parameter(value=f"runs/{run_id}", source="the run")}
        steps.append(step)
    run = Run(
        id=run_id,
        scenario="diabetes",
        platform="local",
        created=datetime(2026, 11, 23, 10, 15, 2, tzinfo=UTC),
        ended=moment,
        commit="4e1b7c90aa215d3387f0c9d2b6e3f1a0c5d7e984",
        dirty=False,
        lock_digest="77aa01c2",
        steps=steps,
    )
    if run.steps[1].parameters:
        run.step("train").parameters["hyperparameters"] = Parameter(
            value={"alpha": 0.05}, source="parameters/diabetes.yml, with -p alpha"
        )
        run.overrides = {"alpha": 0.05}
    run.step("evaluate").parameters["minimum_improvement"] = Parameter(
        value=0.1, source="parameters/diabetes.yml"
    )
    run.verdict = verdict  # type: ignore[assignment]
    _shape(run, verdict)
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def _shape(run: Run, verdict: str) -> None:
    reason = str(run.step("evaluate").scraps.get("reason", ""))
    if verdict == "released":
        run.reason, run.approval = reason, approval_of("approved")
    elif verdict == "waiting":
        run.reason = reason
        gate = run.step("deploy_production")
        gate.state, gate.reason = "waiting", "a person has to approve the package first"
    elif verdict == "rejected":
        run.approval = approval_of("rejected")
        run.reason = "rejected by Ada Byron: max error got worse"
        gate = run.step("deploy_production")
        gate.state, gate.reason = "failed", run.reason
    elif verdict == "not_better":
        scraps = run.step("evaluate").scraps
        scraps["outcome"] = "not_better"
        scraps["challenger"]["root_mean_squared_error"] = 54.4187
        scraps["challenger"]["mean_absolute_error"] = 44.1102
        scraps["difference"] |= {"estimate": 0.0, "low": -0.31, "high": 0.34}
        scraps["segments"] = []
        scraps["reason"] = run.reason = (
            "RMSE 54.42 against 54.42 on the same 89 rows: "
            "the 95 % interval of the difference, −0.31 to 0.34, does not lie below −0.1"
        )
        for step in run.steps[3:]:
            step.state, step.reason = "skipped", run.reason
    elif verdict == "blocked":
        step = run.step("evaluate")
        step.scraps |= {
            "outcome": "blocked",
            "reason": "the challenger's RMSE is not a number",
            "challenger": {"root_mean_squared_error": None, "r2": None},
            "difference": {},
            "segments": [],
        }
        run.reason = step.reason = step.scraps["reason"]
        step.state, step.failure = "failed", Failure(name="Blocked", message=step.reason)
    elif verdict == "failed":
        step = run.step("train")
        step.state, step.scraps = "failed", {}
        step.failure = Failure(
            cell=7,
            source="model = training.fit(data, estimator, hyperparameters)\nmodel",
            name="ValueError",
            message="alpha must be a positive number, not -1.0",
            traceback=[
                "utils/training.py:88, in fit(data, estimator, hyperparameters)",
                "     87     if alpha < 0:",
                "---> 88         raise ValueError(f'alpha must be a positive number, not {alpha}')",
                "ValueError: alpha must be a positive number, not -1.0",
            ],
        )
        step.reason = step.failure.message
        run.reason = f"train: {step.reason}"
    elif verdict == "running":
        run.ended, run.reason = None, ""
        step = run.step("train")
        step.state, step.ended, step.cells_done, step.scraps, step.html = "running", None, 3, {}, ""
        step.started = datetime.now(UTC) - timedelta(seconds=2)
    elif verdict == "stopped":
        run.reason = "deploy_staging is next"


def notebook_of(*, failed: bool = False) -> nbformat.NotebookNode:
    """Make an executed notebook as papermill leaves it."""
    cell, markdown = make_code, make_markdown
    output: Callable[..., nbformat.NotebookNode] = nbformat.v4.new_output
    table = (
        "<div><style scoped>.dataframe tbody tr th {vertical-align: top;}</style>"
        '<table border="1" class="dataframe"><thead><tr style="text-align: right;">'
        "<th></th><th>bmi</th><th>target</th></tr></thead><tbody>"
        "<tr><th>0</th><td>32.1</td><td>151.0</td></tr>"
        "<tr><th>1</th><td>21.6</td><td>75.0</td></tr></tbody></table></div>"
    )
    image = {"image/png": PIXEL, "text/plain": "<Figure size 640x480 with 1 Axes>"}
    scrap = {"name": "estimator", "data": "Ridge", "encoder": "json", "version": 1}
    cells = [
        markdown("# Train\n\nFits the *estimator* that the scenario names, with $\\alpha$."),
        cell("alpha: float = 0.5  # L2 penalty\nseed: int = 42  # of the split", "parameters", number=1),
        cell("# Parameters\nalpha = 0.05", "injected-parameters", number=2),
        cell("import pandas as pd\n\nfrom utils import data", number=3),
        markdown("### The data\n\n| a | b |\n| - | - |\n| 1 | 2 |"),
        cell("data.head(2)", number=4, outputs=[output("display_data", {"text/html": table})]),
        cell(
            "plots.residuals(model)",
            number=5,
            outputs=[
                output("stream", name="stdout", text="fitted in 0.01 s\n"),
                output("display_data", image),
            ],
        ),
        cell(
            'sb.glue("estimator", "Ridge")',
            number=6,
            outputs=[output("display_data", {"application/scrapbook.scrap.json+json": scrap})],
        ),
    ]
    if failed:
        lines = ["\x1b[0;31mValueError\x1b[0m: alpha must be positive"]
        cells[6].outputs = [
            output("error", ename="ValueError", evalue="alpha must be positive", traceback=lines)
        ]
        cells[7].update(execution_count=None, outputs=[])
        cells.insert(6, markdown('<span style="color:red">Execution stopped here</span>', MARKER))
        cells.insert(0, markdown('<span style="color:red">An Exception was encountered</span>', MARKER))
    about = {
        "input_path": "notebooks/02_train.ipynb",
        "duration": 1.4,
        "start_time": "2026-11-23T10:15:04+00:00",
    }
    return make_document(cells, papermill=about)


def make_document(cells: list[Any], **metadata: Any) -> nbformat.NotebookNode:
    new: Callable[..., nbformat.NotebookNode] = nbformat.v4.new_notebook
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return new(cells=cells, metadata={"language_info": language, **metadata})


def make_code(
    source: str, *tags: str, number: int | None = 1, outputs: Sequence[Any] = ()
) -> nbformat.NotebookNode:
    new: Callable[..., nbformat.NotebookNode] = nbformat.v4.new_code_cell
    return new(source, metadata={"tags": list(tags)}, execution_count=number, outputs=list(outputs))


def make_markdown(source: str, *tags: str) -> nbformat.NotebookNode:
    new: Callable[..., nbformat.NotebookNode] = nbformat.v4.new_markdown_cell
    return new(source, metadata={"tags": list(tags)})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds runs/: nothing is written into the checkout."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def make_run() -> Callable[..., Run]:
    return build


@pytest.fixture
def make_notebook() -> Callable[..., nbformat.NotebookNode]:
    return notebook_of
