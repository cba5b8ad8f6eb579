"""Nothing is run twice: what has not changed is taken from the run that made it; the rest says why it ran."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
import yaml
from click.testing import CliRunner, Result

from ci import runs
from ci.cli import main
from ci.signals import Stopped
from utils import files, project

if TYPE_CHECKING:
    from tests.conftest import Toy

GLUE = """
from IPython.display import display
def glue(name, data):
    scrap = {"name": name, "data": data, "encoder": "json", "version": 1}
    about = {"scrapbook": {"name": name, "data": True, "display": False}}
    display({"application/scrapbook.scrap.json+json": scrap}, metadata=about, raw=True)
"""
# Each execution leaves a letter in a file beside the runs, and its result in the run's folder.
WORK = (
    GLUE
    + """
import os
from pathlib import Path
home = Path(os.environ["MLOPS_HOME"])
folder = home / run_dir
def work(name, result):
    with (home / f"{name}.count").open("a") as file:
        file.write("x")
    (folder / "made").mkdir(exist_ok=True)
    (folder / "made" / f"{name}.txt").write_text(result)
"""
)
FOLDER = 'run_dir: str = ""  # the folder of the run'
SIZE = 'work("first", "large" if alpha > 1 else "small")\nglue("label", "d" * 64)'


class Pair:
    """Two steps, of which the second builds on the first, and what became of them."""

    def __init__(self, toy: Toy, home: Path, root: Path) -> None:
        self.toy, self.home, self.root = toy, home, root
        (root / "helper.py").write_text("import deeper\n")
        (root / "deeper.py").write_text("")
        (root / "requirements.lock").write_text("numpy==2.0\n")
        self.first()
        self.second()

    def first(self, *cells: str, **declared: Any) -> None:
        parameters = f"{FOLDER}\nalpha: float = 0.5  # decides about the size\nlabel: str = 'x'  # a word"
        declared = {"gives": {"label": "str"}, "stage": "build", **declared}
        self.toy.step("first", WORK, SIZE, *cells, parameters=parameters, **declared)

    def second(self, *cells: str, **declared: Any) -> None:
        parameters = f"{FOLDER}\nlabel: str = ''  # what first gives\ndata: str = ''  # a file"
        work = 'import helper\nassert label\nwork("second", (folder / "made" / "first.txt").read_text())'
        declared = {"takes": {"label": "first.label"}, **declared}
        self.toy.step("second", WORK, work, *cells, parameters=parameters, **declared)

    def call(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [*words, "--pipeline", str(self.toy.file)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    def run(self, run_id: str, *words: str, code: int = 0) -> dict[str, str]:
        """Make a run; return why each of its steps ran, or where its result is from."""
        self.call("run", "--scenario", "scenario", "--run-id", run_id, *words, code=code)
        return self.reasons(run_id)

    def reasons(self, run_id: str) -> dict[str, str]:
        return {step.name: step.reason for step in runs.load(run_id).steps}

    def ran(self, name: str) -> int:
        """Return how often a step has run."""
        return len((self.home / f"{name}.count").read_text())

    def edit(self, run_id: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a run's record, as another version or somebody with an editor could have left it."""
        path = runs.folder(run_id) / "run.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))


@pytest.fixture
def pair(toy: Toy, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.setattr(project, "root", lambda: root)
    return Pair(toy, home, root)


FROM_R1 = {"first": "reused from r1", "second": "reused from r1"}


# ------------------------------------------------------------------ nothing has changed


def test_an_unchanged_run_executes_no_notebook_and_has_all_that_the_first_one_made(pair: Pair) -> None:
    assert pair.run("r1") == {"first": "", "second": ""}
    assert pair.run("r2") == FROM_R1
    assert (pair.ran("first"), pair.ran("second")) == (1, 1)
    before, now = runs.load("r1"), runs.load("r2")
    assert now.verdict == "released"
    for old, new in zip(before.steps, now.steps, strict=True):
        assert (new.state, new.reused, new.attempts) == ("succeeded", "r1", 0)
        assert (new.scraps, new.made, new.cells_done) == (old.scraps, old.made, old.cells_done)
    for name in ("made/first.txt", "made/second.txt", "notebooks/first.ipynb", "notebooks/second.html"):
        assert (now.folder / name).read_bytes() == (before.folder / name).read_bytes(), name
    assert not (now.folder / "kernels.log").exists()


def test_it_says_where_each_result_is_from_on_screen_in_the_record_the_page_and_the_summary(
    pair: Pair,
) -> None:
    pair.run("r1")
    output = pair.call("run", "--scenario", "scenario", "--run-id", "r2").output
    assert "✓ first: succeeded in 0.0 s: reused from r1" in output
    folder = runs.folder("r2")
    assert json.loads((folder / "run.json").read_text())["steps"][0]["reused"] == "r1"
    assert 'reused from <a href="../r1/index.html">r1</a>' in (folder / "index.html").read_text()
    assert "| first | ✓ succeeded | 0.0 s | reused from r1 |" in (folder / "summary.md").read_text()


def test_the_run_that_really_made_a_result_is_named_however_often_it_was_reused(pair: Pair) -> None:
    for run_id in ("r1", "r2", "r3"):
        pair.run(run_id)
    assert pair.reasons("r3") == FROM_R1
    shutil.rmtree(runs.folder("r1"))
    assert pair.run("r4") == FROM_R1
    assert '<a href="../r1/index.html">' not in (runs.folder("r4") / "index.html").read_text()


def test_a_result_is_found_again_after_others_were_tried(pair: Pair) -> None:
    pair.run("r1")
    pair.run("r2", "-p", "alpha", "3.0")
    assert pair.run("r3") == FROM_R1


def test_a_reused_result_is_a_copy_of_its_own(pair: Pair) -> None:
    pair.run("r1")
    pair.run("r2")
    (runs.folder("r1") / "made" / "first.txt").write_text("changed")
    assert (runs.folder("r2") / "made" / "first.txt").read_text() == "small"
    assert pair.run("r3") == FROM_R1  # by the copy in r2


def test_a_copied_home_reuses_what_was_made_elsewhere(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.run("r1")
    other = pair.home.with_name("elsewhere")
    pair.home.rename(other)
    monkeypatch.setenv(project.HOME_VARIABLE, str(other))
    assert pair.run("r2") == FROM_R1


def test_what_editors_write_into_a_notebook_changes_nothing(pair: Pair) -> None:
    pair.run("r1")
    path = pair.toy.folder / "notebooks" / "first.ipynb"
    document = nbformat.read(path, as_version=4)
    document.metadata["widgets"] = {}
    document.cells[1].execution_count = 7
    document.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="shown")]
    document.cells[1].metadata["collapsed"] = True
    nbformat.write(document, path)
    assert pair.run("r2") == FROM_R1


def test_a_value_counts_not_where_it_came_from(pair: Pair) -> None:
    pair.run("r1")
    assert pair.run("r2", "-p", "alpha", "0.5") == FROM_R1
    pair.toy.write("scenario", {"alpha": 0.5})
    assert pair.run("r3") == FROM_R1


def test_reusing_imports_nothing_that_executes_or_renders_notebooks(pair: Pair) -> None:
    pair.run("r1")
    code = f"""
import sys
from pathlib import Path
from utils import project
project.root = lambda: Path({str(pair.root)!r})
from ci.cli import main
words = ["run", "--scenario", "scenario", "--run-id", "r2", "--pipeline", {str(pair.toy.file)!r}]
main(words, standalone_mode=False)
heavy = {{"papermill", "scrapbook", "jupyter_client", "nbformat", "nbconvert", "mlflow", "pandas", "rich"}}
print("imported:", *sorted(heavy & set(sys.modules)))
"""
    environment = os.environ | {project.HOME_VARIABLE: str(pair.home)}
    here = Path(runs.__file__).parent.parent
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert pair.reasons("r2") == FROM_R1
    assert ended.stdout.splitlines()[-1].strip() == "imported:"


# ------------------------------------------------------------------ something has changed


def test_a_parameter_names_both_values_and_what_does_not_depend_on_it_is_reused(pair: Pair) -> None:
    pair.run("r1")
    # The file that second builds on stays "small".
    assert pair.run("r2", "-p", "alpha", "0.1") == {
        "first": "ran because alpha changed 0.5 → 0.1",
        "second": "reused from r1",
    }
    assert pair.run("r3", "-p", "alpha", "3") == {
        "first": "ran because alpha changed 0.1 → 3.0",
        "second": "ran because what first made changed",
    }


def test_a_hyperparameter_is_named_by_its_own_name(pair: Pair) -> None:
    pair.toy.write("scenario", {"hyperparameters": {"depth": 3, "rate": 0.1}})
    pair.toy.step("third", parameters="hyperparameters: dict[str, object] = {}  # of the estimator")
    pair.run("r1")
    assert pair.run("r2", "-p", "rate", "0.2") == {**FROM_R1, "third": "ran because rate changed 0.1 → 0.2"}


def test_a_change_of_the_notebook_runs_it(pair: Pair) -> None:
    pair.run("r1")
    pair.second("# a thought")
    assert pair.run("r2") == {"first": "reused from r1", "second": "ran because the notebook changed"}


def test_a_module_runs_the_steps_that_import_it_also_through_another(pair: Pair) -> None:
    pair.run("r1")
    (pair.root / "deeper.py").write_text("# changed")
    assert pair.run("r2") == {"first": "reused from r1", "second": "ran because deeper.py changed"}


def test_other_packages_run_everything(pair: Pair) -> None:
    pair.run("r1")
    (pair.root / "requirements.lock").write_text("numpy==2.1\n")
    assert set(pair.run("r2").values()) == {"ran because requirements.lock changed"}


def test_the_content_of_a_file_counts_for_the_step_that_reads_it(pair: Pair) -> None:
    pair.second(reads=["data"])
    pair.toy.write("scenario", {"data": "rows.csv"})
    (pair.root / "rows.csv").write_text("a,b\n1,2\n")
    pair.run("r1")
    assert pair.run("r2") == FROM_R1
    (pair.root / "rows.csv").write_text("a,b\n1,3\n")
    assert pair.run("r3") == {"first": "reused from r1", "second": "ran because the data changed"}


def test_data_that_nobody_can_tell_unchanged_is_read_every_time(pair: Pair) -> None:
    pair.second(reads=["data"])
    pair.toy.write("scenario", {"data": "memory://bucket/rows.csv"})
    assert pair.run("r1") == {"first": "", "second": ""}
    for run_id in ("r2", "r3"):
        reason = pair.run(run_id)["second"]
        assert reason.startswith("ran because nobody can tell whether the data changed: memory://bucket"), (
            reason
        )
    assert pair.ran("second") == 3


def test_another_promise_in_the_pipeline_runs_the_step(pair: Pair) -> None:
    pair.run("r1")
    pair.first(gives={})
    pair.second(takes={})
    pair.toy.write("scenario", {"label": "x"})
    reasons = pair.run("r2")
    assert reasons["first"] == "ran because what pipeline.yml lets it give changed"


def test_several_changes_are_all_named(pair: Pair) -> None:
    pair.run("r1")
    pair.first("# a thought")
    (pair.root / "requirements.lock").write_text("numpy==2.1\n")
    assert pair.run("r2", "-p", "alpha", "0.1")["first"] == (
        "ran because alpha changed 0.5 → 0.1, the notebook changed and requirements.lock changed"
    )


def test_a_file_that_is_edited_while_its_step_runs_leaves_a_result_that_nobody_reuses(pair: Pair) -> None:
    pair.second(f"Path({str(pair.root / 'deeper.py')!r}).write_text('# meanwhile')")
    pair.run("r1")
    assert runs.load("r1").step("second").key is None
    assert pair.run("r2") == {
        "first": "reused from r1",
        "second": "ran because run r1 doesn't say for sure what its result came from",
    }
    assert pair.run("r3") == {"first": "reused from r1", "second": "reused from r2"}


@pytest.mark.parametrize("reads", [[], ["champion"]])
def test_where_the_platform_does_not_answer_every_step_runs(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    pair.second(reads=reads)
    pair.run("r1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    reasons = pair.run("r2")
    assert reasons["first"] == "ran because nobody can tell whether the run history is the same"
    assert reasons["second"].startswith("ran because nobody can tell whether the ")
    assert "secret" not in (runs.folder("r2") / "run.json").read_text()


def test_another_run_history_makes_every_result_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@one/db")
    pair.run("r1")
    assert pair.run("r2") == FROM_R1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@two/db")
    assert set(pair.run("r3").values()) == {"ran because the run history is another one"}
    assert "secret" not in (runs.folder("r3") / "run.json").read_text()


# ------------------------------------------------------------------ results that can't be used


@pytest.mark.parametrize("name", ["made/first.txt", "notebooks/first.ipynb"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{}")], ids=["gone", "changed"])
def test_a_damaged_result_is_made_again_and_the_damage_named(
    pair: Pair, name: str, damage: Callable[[Path], object]
) -> None:
    pair.run("r1")
    damage(runs.folder("r1") / name)
    assert pair.run("r2") == {
        "first": f"ran because the result in run r1 is damaged: {name}",
        "second": "reused from r1",
    }
    assert (runs.folder("r2") / "made" / "first.txt").read_text() == "small"


def test_a_run_whose_folder_is_gone_is_none(pair: Pair) -> None:
    pair.run("r1")
    shutil.rmtree(runs.folder("r1"))
    assert pair.run("r2") == {"first": "", "second": ""}
    assert pair.ran("first") == 2


def test_a_step_that_failed_is_run_again_and_what_had_succeeded_is_not(pair: Pair) -> None:
    pair.second("raise ValueError('a misfortune')")
    pair.run("r1", code=1)
    assert pair.run("r2", code=1) == {"first": "reused from r1", "second": "a misfortune"}
    assert (pair.ran("first"), pair.ran("second")) == (1, 2)


def test_a_record_from_before_says_nothing_to_go_by(pair: Pair) -> None:
    def forget(record: dict[str, Any]) -> None:
        for step in record["steps"]:
            del step["key"], step["made"], step["reused"]

    pair.run("r1")
    pair.edit("r1", forget)
    assert set(pair.run("r2").values()) == {
        "ran because run r1 doesn't say for sure what its result came from"
    }


def test_a_forged_record_brings_no_file_from_elsewhere_and_no_approval(pair: Pair) -> None:
    pair.run("r1")
    secret = pair.home / "secret.txt"
    secret.write_text("not of this run")
    (runs.folder("r1") / "approval.json").write_text("{}")

    def forge(record: dict[str, Any]) -> None:
        made = record["steps"][0]["made"]
        made["../../secret.txt"] = files.sha256(secret)
        made["approval.json"] = files.sha256(runs.folder("r1") / "approval.json")

    pair.edit("r1", forge)
    assert "is damaged: ../../secret.txt, approval.json" in pair.run("r2")["first"]
    assert not (runs.folder("r2") / "approval.json").exists()


def test_an_interrupted_copy_leaves_nothing_of_the_result_and_the_run_goes_on(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.run("r1")
    real = files.copy

    def interrupted(source: Path, destination: Path) -> Path:
        if source.name == "second.txt":
            raise Stopped(15)
        return real(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(files, "copy", interrupted)
        pair.run("r2", code=128 + 15)
    found = {path.relative_to(runs.folder("r2")).as_posix() for path in runs.folder("r2").rglob("*")}
    assert "made/first.txt" in found
    assert not {name for name in found if "second" in name}
    assert runs.load("r2").step("second").state == "pending"
    pair.call("resume", "r2")
    assert pair.reasons("r2") == FROM_R1


# ------------------------------------------------------------------ asked to run


def test_force_runs_everything_and_says_so(pair: Pair) -> None:
    pair.run("r1")
    assert set(pair.run("r2", "--force").values()) == {"ran because of --force"}
    assert pair.ran("second") == 2
    pair.run("r3")
    pair.call("resume", "r3", "--stage", "build", "--force")
    assert pair.reasons("r3")["first"] == "ran because of --force"
    pair.call("resume", "r3")
    assert pair.reasons("r3")["second"].startswith("reused from")


def test_a_step_with_effects_elsewhere_always_runs(pair: Pair) -> None:
    pair.second(reuse=False)
    assert pair.run("r1")["second"] == ""
    assert pair.run("r2")["second"] == "always runs, as it changes more than the run's folder"
    assert pair.ran("second") == 2
    assert runs.load("r2").step("second").key is None


def test_a_run_goes_on_from_reused_steps_stage_by_stage_and_after_a_failure(pair: Pair) -> None:
    pair.run("r1")
    pair.second(f"assert Path({str(pair.root / 'mended')!r}).exists()")
    assert pair.run("r2", "--stage", "build") == {"first": "reused from r1", "second": ""}
    pair.call("resume", "r2", code=1)
    (pair.root / "mended").touch()
    pair.call("resume", "r2")
    assert pair.reasons("r2") == {"first": "reused from r1", "second": "ran because the notebook changed"}
    assert runs.load("r2").verdict == "released"


def test_a_gate_holds_for_a_reused_package_as_for_any(pair: Pair) -> None:
    pair.toy.steps["second"]["gate"] = "first.label"
    pair.toy.save()
    pair.run("r1")
    pair.call("approve", "r1", "--by", "Ada")
    assert runs.load("r1").verdict == "released"
    pair.run("r2")
    assert runs.load("r2").verdict == "waiting"
    assert runs.load("r2").step("first").reused == "r1"
    assert not (runs.folder("r2") / "made" / "second.txt").exists()


def test_the_pipeline_of_the_project_reuses_no_step_that_changes_more_than_its_run() -> None:
    content = yaml.safe_load((project.root() / "parameters" / "pipeline.yml").read_text())
    reused = {name for name, step in content["steps"].items() if step.get("reuse", True)}
    assert reused == {"setup", "train", "evaluate"}
