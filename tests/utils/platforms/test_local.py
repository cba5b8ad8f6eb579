"""What is special about this machine as a platform: MLflow on SQLite in a folder that may move."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from utils import files, platforms, project
from utils.packaging import Package
from utils.platforms.local.endpoints import LocalEndpoints
from utils.platforms.local.history import LocalHistory
from utils.platforms.local.registry import LocalRegistry
from utils.platforms.local.settings import Settings
from utils.platforms.local.store import Store
from utils.platforms.local.targets import processes
from utils.platforms.protocol import Endpoint, Platform, PlatformError, Retraining, Stint


def _python(code: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.root(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout + answer.stderr


def test_asking_for_the_platform_neither_imports_mlflow_nor_makes_anything(home: Path) -> None:
    code = (
        "import sys; from utils import platforms; p = platforms.get('local'); p.endpoints.everything();"
        "print([m for m in ('mlflow', 'pandas', 'sklearn', 'numpy', 'uvicorn') if m in sys.modules])"
    )
    assert _python(code).strip() == "[]"
    assert list(home.iterdir()) == []


def test_the_first_provision_is_silent_and_sends_nothing_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(project.HOME_VARIABLE, str(tmp_path / "a new home"))
    # Without these, MLflow takes itself to be under test and is silent by itself.
    for name in ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "MLFLOW_TRACKING_URI", "PYTEST_VERSION"):
        monkeypatch.delenv(name, raising=False)
    code = (
        "from utils import platforms; p = platforms.get('local');"
        "print([r.state for r in p.provision()], [r.state for r in p.provision()]);"
        "from mlflow.telemetry.client import get_telemetry_client; print(get_telemetry_client())"
    )
    assert _python(code).splitlines() == [
        "['created', 'created', 'created'] ['found', 'found', 'found']",
        "None",
    ]


def test_the_champion_and_the_history_are_looked_up_without_mlflow(
    platform: Platform, model_folder: Path, home: Path
) -> None:
    run = platform.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    platform.registry.promote("demo", "1")
    code = (
        "import sys; from utils import platforms; p = platforms.get('local');"
        "print(p.registry.champion_version('demo'), p.history.identity(), 'mlflow' in sys.modules)"
    )
    assert _python(code).split() == ["1", platform.history.identity(), "False"]


def test_where_there_is_no_workspace_there_is_neither_history_nor_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(project.HOME_VARIABLE, str(tmp_path / "nowhere"))
    there = platforms.get("local")
    assert there.history.identity() is None
    assert there.registry.champion_version("demo") is None
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE registered_model_aliases",
        "UPDATE model_versions SET current_stage = 'Deleted_Internal'",
        "UPDATE registered_model_aliases SET version = 7",
    ],
)
def test_a_champion_that_cannot_be_told_is_refused_with_and_without_mlflow(
    platform: Platform, model_folder: Path, home: Path, damage: str
) -> None:
    run = platform.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    platform.registry.promote("demo", "1")
    with (
        contextlib.closing(sqlite3.connect(project.home() / "workspace" / "mlflow.db")) as database,
        database,
    ):
        database.execute(damage)
    with pytest.raises(PlatformError):
        platform.registry.champion_version("demo")
    with pytest.raises(PlatformError):
        platform.registry.champion("demo")


def test_a_damaged_database_has_no_identity(home: Path) -> None:
    database = project.home() / "workspace" / "mlflow.db"
    files.write_text(database, "no database")
    with pytest.raises(PlatformError, match=r"mlflow\.db can't be read"):
        platforms.get("local").history.identity()


def test_a_new_database_is_another_history_and_a_moved_one_the_same(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = platform.history.identity()
    shutil.copytree(project.home(), tmp_path / "copy")
    for name in (tmp_path / "copy" / "workspace").glob("mlflow.db*"):
        name.rename(tmp_path / name.name)
    monkeypatch.setenv(project.HOME_VARIABLE, str(tmp_path / "copy"))
    assert platforms.get("local").history.identity() is None
    platforms.get("local").provision()
    assert platforms.get("local").history.identity() not in (None, identity)
    for name in tmp_path.glob("mlflow.db*"):
        name.replace(tmp_path / "copy" / "workspace" / name.name)
    assert platforms.get("local").history.identity() == identity


def test_a_workspace_that_was_moved_reads_and_writes_where_it_is_now(
    platform: Platform, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = platform.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    old = project.home()
    new = tmp_path / "elsewhere" / "home"
    shutil.copytree(old, new)
    shutil.rmtree(old)
    monkeypatch.setenv(project.HOME_VARIABLE, str(new))
    moved = platforms.get("local")
    assert (
        moved.registry.download("demo", "1", tmp_path / "copy") / "model.skops"
    ).read_bytes() == b"a model"
    again = moved.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    moved.registry.register("demo", again, tags={}, key="run-2")
    assert (
        moved.registry.download("demo", "2", tmp_path / "copy") / "model.skops"
    ).read_bytes() == b"a model"
    assert not old.exists()


def test_two_that_register_at_once_with_one_key_get_one_version(
    platform: Platform, model_folder: Path
) -> None:
    run = platform.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    # A store of its own for each: as two processes would have.
    registries = [LocalRegistry(Store(project.home() / "workspace")) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        versions = list(
            pool.map(lambda one: one.register("demo", run, tags={}, key="run-1").version, registries)
        )
    assert versions == ["1"] * 4


def test_trainings_recorded_at_once_are_all_there(platform: Platform, model_folder: Path) -> None:
    histories = [LocalHistory(Store(project.home() / "workspace")) for _ in range(4)]

    def record(number: int) -> str:
        return histories[number % 4].record(
            "demo", parameters={"number": number}, metrics={}, tags={}, files=model_folder
        )

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(record, range(12)))
    assert [platform.history.read(run).parameters["number"] for run in runs] == [str(n) for n in range(12)]


def test_a_training_that_could_not_be_recorded_whole_is_marked_failed(
    platform: Platform, model_folder: Path
) -> None:
    with pytest.raises(PlatformError, match="can't be recorded in 'demo'"):
        platform.history.record(
            "demo", parameters={"not/../allowed\n": 1}, metrics={}, tags={}, files=model_folder
        )
    with sqlite3.connect(project.home() / "workspace" / "mlflow.db") as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FAILED",)]
    database.close()


def test_a_damaged_database_is_an_error_and_not_a_missing_champion(
    home: Path,
) -> None:
    (home / "workspace").mkdir()
    (home / "workspace" / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(PlatformError, match="can't be reached"):
        platforms.get("local").registry.champion("demo")


def test_an_alias_without_its_version_is_an_error_and_not_a_missing_champion(
    platform: Platform, model_folder: Path
) -> None:
    run = platform.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    platform.registry.promote("demo", "1")
    database = sqlite3.connect(project.home() / "workspace" / "mlflow.db")
    with database:
        database.execute("UPDATE registered_model_aliases SET version = 9")
    database.close()
    with pytest.raises(PlatformError, match="champion of 'demo' can't be read"):
        platform.registry.champion("demo")


def test_a_model_whose_files_are_gone_is_an_error(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = platform.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    shutil.rmtree(project.home() / "workspace" / "artifacts")
    with pytest.raises(PlatformError, match="its files are gone"):
        platform.registry.download("demo", "1", tmp_path / "copy")


def test_a_deleted_experiment_is_refused_by_name(platform: Platform, model_folder: Path) -> None:
    store = Store(project.home() / "workspace")
    store.client.delete_experiment(store.experiment("demo"))
    with pytest.raises(PlatformError, match="'demo' was deleted"):
        platform.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)


def test_a_server_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with pytest.raises(PlatformError, match=r"http://127\.0\.0\.1:9") as refused:
        platforms.get("local").registry.champion("demo")
    assert "secret" not in str(refused.value)


def test_a_workspace_that_another_process_holds_is_not_waited_for_without_end(
    platform: Platform, model_folder: Path
) -> None:
    holder, waiter = (Store(project.home() / "workspace") for _ in range(2))
    waiter._lock.timeout = 0.05
    with holder.writing(), pytest.raises(PlatformError, match="Another process"):
        LocalHistory(waiter).record("demo", parameters={}, metrics={}, tags={}, files=model_folder)


# ------------------------------------------------------------------ endpoints


def _kill(endpoint: Endpoint) -> None:
    process = psutil.Process(endpoint.details["pid"])
    process.kill()
    process.wait(10)


def _state(environment: str) -> Path:
    return project.home() / "workspace" / "services" / "demo" / environment / "state.json"


def test_a_service_whose_process_has_ended_is_told_and_started_again(
    platform: Platform, built: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production")
    made = endpoints.confirm("demo", "production")
    assert made.details["alive"]
    _kill(made)
    found = endpoints.find("demo", "production")
    assert found is not None
    assert not found.details["alive"]
    assert [endpoint.details["alive"] for endpoint in endpoints.everything()] == [False]
    with pytest.raises(PlatformError, match="doesn't answer"):
        endpoints.confirm("demo", "production")
    again = endpoints.deploy(built.folder, "demo", "production")
    assert again.details["alive"]
    assert again.confirmed, "it was tested before"
    _kill(again)
    back = endpoints.restore("demo", "production")
    assert back is not None
    assert back.details["alive"]


def test_a_kept_service_whose_process_has_ended_is_started_again_to_be_put_back(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production")
    first = endpoints.confirm("demo", "production")
    second = endpoints.deploy(challenger.folder, "demo", "production")
    _kill(first)
    back = endpoints.restore("demo", "production")
    assert back is not None
    assert (back.digest, back.confirmed, back.details["alive"]) == (built.digest, True, True)
    assert not psutil.pid_exists(second.details["pid"])


def test_deploying_the_kept_package_again_puts_it_back(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production")
    first = endpoints.confirm("demo", "production")
    second = endpoints.deploy(challenger.folder, "demo", "production")
    back = endpoints.deploy(built.folder, "demo", "production")
    assert (back.url, back.details["pid"], back.confirmed) == (first.url, first.details["pid"], True)
    assert not psutil.pid_exists(second.details["pid"])


def test_packages_and_logs_that_nobody_uses_are_deleted(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production")
    endpoints.confirm("demo", "production")
    endpoints.deploy(challenger.folder, "demo", "production")
    endpoints.confirm("demo", "production")
    kept = {name for one in (built, challenger) for name in (one.digest[:12], f"{one.digest[:12]}.log")}
    kept |= {f"{challenger.digest[:12]}.sock", "state.json"}
    assert {path.name for path in _state("production").parent.iterdir()} == kept, (
        "the one before can be gone back to"
    )
    endpoints.remove("demo", "production")
    assert not _state("production").parent.exists()


def test_a_damaged_copy_is_not_put_back(platform: Platform, built: Package, challenger: Package) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production")
    first = endpoints.confirm("demo", "production")
    second = endpoints.deploy(challenger.folder, "demo", "production")
    _kill(first)
    copy = _state("production").parent / built.digest[:12]
    (copy / "score.py").write_text("print('forged')")
    with pytest.raises(PlatformError, match=r"score\.py was changed"):
        endpoints.restore("demo", "production")
    assert endpoints.find("demo", "production") == second
    # The sound package replaces the damaged copy.
    assert endpoints.deploy(built.folder, "demo", "production").details["alive"]


def test_another_process_that_got_the_pid_is_never_killed(platform: Platform, built: Package) -> None:
    endpoints = platform.endpoints
    made = endpoints.deploy(built.folder, "demo", "staging")
    _kill(made)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        state = files.read_json(_state("staging"))
        state["live"]["handle"].update(pid=stranger.pid, started=psutil.Process(stranger.pid).create_time())
        files.write_json(_state("staging"), state)
        found = endpoints.find("demo", "staging")
        assert found is not None
        assert not found.details["alive"]
        endpoints.restore("demo", "staging")
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n", timeout=30)


def test_an_older_process_of_the_same_script_is_not_taken_for_the_service(
    platform: Platform, built: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "staging")
    state = files.read_json(_state("staging"))
    state["live"]["handle"]["started"] -= 3600
    files.write_json(_state("staging"), state)
    found = endpoints.find("demo", "staging")
    assert found is not None
    assert not found.details["alive"]


def test_a_copied_workspace_does_not_take_what_runs_in_the_other_for_its_own(
    platform: Platform, built: Package, tmp_path: Path
) -> None:
    made = platform.endpoints.deploy(built.folder, "demo", "production")
    shutil.copytree(
        project.home() / "workspace", tmp_path / "copied", ignore=shutil.ignore_patterns("*.sock")
    )
    copied = LocalEndpoints(tmp_path / "copied")
    found = copied.find("demo", "production")
    assert found is not None
    assert not found.details["alive"]
    copied.remove("demo", "production")
    assert psutil.pid_exists(made.details["pid"])


def test_a_service_leaves_no_zombie_when_it_ends_by_itself(platform: Platform, built: Package) -> None:
    made = platform.endpoints.deploy(built.folder, "demo", "staging")
    process = psutil.Process(made.details["pid"])
    process.terminate()
    process.wait(30)
    assert not psutil.pid_exists(made.details["pid"])


def test_a_service_inherits_no_secret(
    platform: Platform, built: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    made = platform.endpoints.deploy(built.folder, "demo", "staging")
    process = psutil.Process(made.details["pid"])
    assert "A_TOKEN" not in process.environ()
    assert set(process.environ()) <= {*processes.VARIABLES, *processes.SETTINGS, "LC_CTYPE"}
    assert {connection.laddr.ip for connection in process.net_connections()} == {"127.0.0.1"}
    assert os.getsid(process.pid) == process.pid, "a signal to our terminal must not end it"


def test_what_a_killed_deployment_left_running_is_stopped_by_the_next(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    left = endpoints.deploy(built.folder, "demo", "staging")
    state = files.read_json(_state("staging"))
    # As it is between the start of a service and its first healthy answer.
    files.write_json(_state("staging"), {"leaving": [state["live"]]})
    endpoints.deploy(challenger.folder, "demo", "staging")
    assert not psutil.pid_exists(left.details["pid"])


def test_an_interrupted_deployment_leaves_nothing_running(
    platform: Platform, built: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes.Processes, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        platform.endpoints.deploy(built.folder, "demo", "staging")
    assert processes.below(project.home()) == []
    assert platform.endpoints.find("demo", "staging") is None


def test_a_service_that_does_not_get_ready_in_time_is_stopped(platform: Platform, built: Package) -> None:
    endpoints = LocalEndpoints(project.home() / "workspace", Settings(start_seconds=0.01))
    with pytest.raises(PlatformError, match=r"wasn't ready after 0\.01 seconds"):
        endpoints.deploy(built.folder, "demo", "staging")
    assert processes.below(project.home()) == []


def test_processes_refuse_to_share_requests_by_weight(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production", traffic=10)
    live = endpoints.confirm("demo", "production")
    with pytest.raises(PlatformError, match="can't share requests by weight"):
        endpoints.deploy(challenger.folder, "demo", "production", traffic=10)
    assert endpoints.find("demo", "production") == live
    assert [process.pid for process in processes.below(project.home())] == [live.details["pid"]]


def test_an_address_stays_when_everything_was_removed_in_between(platform: Platform, built: Package) -> None:
    first = platform.endpoints.deploy(built.folder, "demo", "staging")
    platform.endpoints.remove("demo", "staging")
    assert platform.endpoints.deploy(built.folder, "demo", "staging").url == first.url


def test_no_more_than_five_versions_are_kept_to_go_back_to(
    platform: Platform, package: Path, rewritten: Callable[..., Package]
) -> None:
    endpoints = platform.endpoints
    for number in range(1, 8):
        endpoints.deploy(rewritten(package, version=str(number)).folder, "demo", "production")
        endpoints.confirm("demo", "production")
    state = files.read_json(_state("production"))
    assert [service["model_version"] for service in state["earlier"]] == ["6", "5", "4", "3", "2"]
    with pytest.raises(PlatformError, match="kept are 6, 5, 4, 3, 2"):
        endpoints.rollback("demo", "production", version="1", by="Ada")
    back = endpoints.rollback("demo", "production", version="4", by="Ada", comment="worse")
    assert back.model_version == "4"
    event = files.read_json(_state("production"))["events"][-1]
    assert (event["what"], event["model_version"], event["by"]) == ("rolled back", "4", "Ada")


def test_a_damaged_record_is_told_and_can_be_removed(platform: Platform, built: Package) -> None:
    endpoints = platform.endpoints
    made = endpoints.deploy(built.folder, "demo", "staging")
    _state("staging").write_text(_state("staging").read_text()[:-20])
    for ask in (endpoints.find, endpoints.confirm, endpoints.restore):
        with pytest.raises(PlatformError, match=r"state\.json can't be read"):
            ask("demo", "staging")
    (found,) = endpoints.everything()
    assert not found.details["alive"]
    assert "can't be read" in found.details["error"]
    endpoints.remove("demo", "staging")
    assert endpoints.everything() == []
    assert not psutil.pid_exists(made.details["pid"])


def test_two_that_deploy_at_once_take_turns(platform: Platform, built: Package, challenger: Package) -> None:
    def deploy(package: Package) -> Endpoint:
        return platforms.get("local").endpoints.deploy(package.folder, "demo", "staging")

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(deploy, (built, challenger)))
    live = platform.endpoints.find("demo", "staging")
    assert live is not None
    assert live.digest in {endpoint.digest for endpoint in made}
    assert len(processes.below(project.home())) == 1


def test_a_process_that_does_not_listen_is_ended_by_force() -> None:
    code = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        processes.end(psutil.Process(stubborn.pid), seconds=0.2)
        assert not psutil.pid_exists(stubborn.pid)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MLOPS_SERVING_TARGET", "container", "MLOPS_SERVING_TARGET: Input should be 'process'"),
        ("MLOPS_SERVING_WORKERS", "many", "MLOPS_SERVING_WORKERS: "),
        ("MLOPS_SIGNING_KEY", "no key", "MLOPS_SIGNING_KEY"),
        ("MLOPS_SIGNING_KEY_FILE", "/nowhere.pem", "can't be read"),
    ],
)
def test_what_cannot_work_is_told_before_anything_runs(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    platform.check()
    monkeypatch.delenv("MLOPS_SIGNING_KEY")
    monkeypatch.setenv(name, value)
    with pytest.raises(PlatformError) as refused:
        platform.check()
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda here: here.publish(Stint(["train"], [], "d", "s", Path())),
        lambda here: here.submit(Stint(["train"], [], "d", "s", Path()), "r1", {}, key="r1.1"),
        lambda here: here.progress("j"),
        lambda here: here.cancel("j"),
        lambda here: here.keep("r1", Path()),
        lambda here: here.fetch("r1", Path()),
    ],
)
def test_there_is_no_other_compute_than_this_machine(
    platform: Platform, call: Callable[[Retraining], object]
) -> None:
    assert not platform.retraining.remote
    with pytest.raises(PlatformError, match="the platform local has no compute of its own"):
        call(platform.retraining)
