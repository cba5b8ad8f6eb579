"""What the commands say and how they end: exit codes, refusals, empty states, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from click.testing import CliRunner, Result

from ci import runs
from ci.cli import main
from utils import project

if TYPE_CHECKING:
    from tests.conftest import Toy


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def _waits(process: psutil.Process) -> bool:
    """Whether a process has come to rest: for a tenth of a second it computes nothing."""
    before = process.cpu_times()
    threading.Event().wait(0.1)
    return process.cpu_times() == before


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(toy: Toy, tmp_path: Path) -> Iterator[Start]:
    """A function that begins a run whose only cell is known to be running, and won't end by itself.

    The run is a process of its own, as a terminal would start it: a shell that runs these tests in the
    background may have let them ignore signals.
    """
    processes: list[subprocess.Popen[str]] = []

    def begin(*ignored: signal.Signals) -> subprocess.Popen[str]:
        def as_a_terminal() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        wait = f"open({str(fifo)!r}, 'w').close(); open({str(fifo)!r}).close(); print('on we go')"
        toy.step("first", "print('so far')", wait)
        command = ["-m", "ci", "run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file)]
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=project.root(),
            env=os.environ | {"MLOPS_HOME": str(project.home())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=as_a_terminal,
        )
        processes.append(process)
        with fifo.open() as opened:
            opened.read()
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "command", ["", "run", "sweep", "resume", "approve", "reject", "status", "report", "down", "up", "stages"]
)
def test_every_command_explains_itself(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert len(result.output) > 100


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run", "-p", "alhpa", "1"], "did you mean alpha?"),
        (["run", "-p", "alpha", "strong"], "'strong' is not of the expected type, a number"),
        (["run", "-p", "seed", "1.5"], "expected int"),
        (["run", "-p", "environment", "production"], "set by the pipeline itself"),
        (["run", "--scenario", "diabtes"], "There is no file"),
        (["run", "--scenario", "local"], "local is a platform"),
        (["run", "--platform", "azure"], "There is no platform 'azure'"),
        (["run", "--stage", "trian"], "There is no stage 'trian'"),
        (["run", "--until", "tran"], "There is no step or stage 'tran'"),
        (["run", "--stage", "train", "--until", "train"], "not both"),
        (["run", "--run-id", "../elsewhere"], "plain folder name"),
        (["run", "--pipeline", "none.yml"], "can't be read"),
        (["run", "--nonsense"], "No such option"),
        (["resume"], "There is no such run yet"),
        (["resume", "none"], "There is no run 'none'"),
        (["approve"], "No run waits"),
        (["reject", "none"], "There is no run 'none'"),
        (["status", "none"], "There is no run 'none'"),
        (["nonsense"], "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_2_says_why_and_makes_no_run(words: list[str], complaint: str) -> None:
    result = call(*words)
    assert complaint in result.output
    assert result.exit_code == 2
    assert runs.ids() == []


def test_empty_states_say_how_to_begin() -> None:
    assert "begin one: python -m ci run" in call("status").output
    assert json.loads(call("status", "--json").output) is None
    assert call("report").exit_code == 0
    assert "No service is running" in call("down").output


def test_stages_are_listed_for_people_and_for_ci_systems() -> None:
    assert "staging: deploy_staging, test_staging" in call("stages").output
    listed = json.loads(call("stages", "--json").output)
    assert list(listed) == ["build", "train", "staging", "production"]


def test_a_run_id_that_is_taken_is_refused(toy: Toy) -> None:
    toy.step("first")
    words = ["run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file)]
    assert call(*words).exit_code == 0
    result = call(*words)
    assert result.exit_code == 2
    assert "There is a run r1 already" in result.output


def test_status_shows_each_step_and_json_is_the_record(toy: Toy) -> None:
    toy.step("first")
    call("run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file))
    assert "first" in call("status").output
    assert json.loads(call("status", "r1", "--json").output)["steps"][0]["state"] == "succeeded"


def test_status_waits_for_nothing_that_only_other_commands_need(toy: Toy) -> None:
    toy.step("first")
    call("run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file))
    code = (
        "import sys; from ci.cli import main; main(['status'], standalone_mode=False);"
        "print({'jinja2', 'rich', 'yaml', 'mlflow', 'papermill', 'nbformat'} & set(sys.modules))"
    )
    environment = os.environ | {"MLOPS_HOME": str(project.home())}
    command = [sys.executable, "-c", code]
    output = subprocess.check_output(command, cwd=project.root(), env=environment, text=True)
    assert "✓ first" in output
    assert output.splitlines()[-1] == "set()"


def test_report_is_written_anew(toy: Toy) -> None:
    toy.step("first")
    call("run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file))
    page = runs.folder("r1") / "index.html"
    page.unlink()
    assert call("report", "r1").exit_code == 0
    assert page.exists()


def test_a_run_of_another_pipeline_is_not_mixed_up(toy: Toy) -> None:
    toy.step("first")
    call("run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file))
    result = call("resume", "r1")
    assert result.exit_code == 2
    assert "another pipeline" in result.output


@pytest.mark.parametrize("text", ["{", "{}", '{"schema_version": 2}'])
def test_a_damaged_record_is_refused_and_hides_no_other_run(toy: Toy, text: str) -> None:
    toy.step("first")
    for run_id in ("r1", "r2"):
        call("run", "--scenario", "scenario", "--run-id", run_id, "--pipeline", str(toy.file))
    (runs.folder("r1") / "run.json").write_text(text)
    result = call("status", "r1")
    assert result.exit_code == 2
    assert "can't be read" in result.output
    assert "first" in call("status").output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_a_true_record_and_no_process_left(
    start: Start, number: signal.Signals
) -> None:
    process = start()
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    step = runs.load("r1").step("first")
    assert step.state == "failed"
    assert number.name in step.reason
    assert "python -m ci resume r1" in output
    executed = json.loads((runs.folder("r1") / "notebooks" / "first.ipynb").read_text())
    assert executed["cells"][-2]["outputs"][0]["text"] == ["so far\n"]
    assert "so far" in (runs.folder("r1") / "notebooks" / "first.html").read_text()
    assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_whose_first_kernel_waits_for_the_imports(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "endless.py").write_text(
        f"import threading\nopen({str(fifo)!r}, 'w').close()\nthreading.Event().wait(600)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    toy.step("first", "1")
    toy.save(preload=["endless"])
    command = ["-m", "ci", "run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file)]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=project.root(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM)],
    )
    try:
        with fifo.open() as opened:
            opened.read()  # the server imports
        runner = psutil.Process(process.pid)
        while not _waits(runner):
            assert process.poll() is None
        children = runner.children(recursive=True)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + number, output
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert "never retrieved" not in output


def test_a_run_that_was_started_to_outlive_its_terminal_does(start: Start, tmp_path: Path) -> None:
    process = start(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    (tmp_path / "fifo").open("w").close()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert runs.load("r1").verdict == "released"


def test_a_killed_runner_leaves_a_run_that_goes_on(start: Start, toy: Toy) -> None:
    process = start()
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert runs.load("r1").step("first").state == "running"
    said = call("status").output
    assert "the process that ran it ended without a word" in said
    assert "python -m ci resume r1" in said
    toy.notebook("first", "label: str = 'x'  # a word", "1 + 1")
    result = call("resume", "r1", "--pipeline", str(toy.file))
    assert result.exit_code == 0, result.output
    assert runs.load("r1").verdict == "released"


def test_two_processes_do_not_work_on_one_run(start: Start, toy: Toy) -> None:
    start()
    result = call("resume", "r1", "--pipeline", str(toy.file))
    assert result.exit_code == 2
    assert "Another process works on run r1" in result.output


def test_kernels_are_kept_ready_until_they_are_not_wanted_any_more(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "r"))
    toy.step("first", "import os; print(os.getppid(), 'colorsys' in __import__('sys').modules)")
    toy.save(preload=["colorsys"])
    command = [sys.executable, "-m", "ci", "kernels", "--pipeline", str(toy.file)]
    keeper = subprocess.Popen(command, cwd=project.root(), stdout=subprocess.PIPE, text=True)
    try:
        assert keeper.stdout is not None
        assert "Importing" in keeper.stdout.readline()
        assert "Ready in" in keeper.stdout.readline()
        (server,) = psutil.Process(keeper.pid).children()
        second = call("kernels", "--pipeline", str(toy.file))
        assert second.exit_code == 1
        assert "kept ready already" in second.output
        begin = ["run", "--scenario", "scenario", "--pipeline", str(toy.file), "--force"]
        for kind, forked in [("warm", f"{server.pid} True"), ("cold", f"{os.getpid()} False")]:
            assert call(*begin, "--run-id", kind, "--kernel", kind).exit_code == 0
            executed = json.loads((runs.folder(kind) / "notebooks" / "first.ipynb").read_text())
            assert forked in json.dumps(executed)
    finally:
        keeper.terminate()
        keeper.communicate(timeout=60)
    assert keeper.returncode == 128 + signal.SIGTERM
    assert not server.is_running()
    assert [path for path in (tmp_path / "r").rglob("*") if path.is_socket()] == []


def test_an_unknown_kind_of_kernel_is_wrong_usage(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.step("first")
    assert call("run", "--kernel", "hot").exit_code == 2
    monkeypatch.setenv("MLOPS_KERNEL", "hot")
    assert call("run").exit_code == 2


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "ci", "stages"]
    process = subprocess.Popen(command, cwd=project.root(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert said == b""
