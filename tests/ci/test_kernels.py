"""A forked kernel must be to its notebook, and to its runner, what a fresh one is."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from ci.kernels import Kernels

ROOT = Path(__file__).parents[2]
# No kernel imports it of itself, so that whoever has it was forked.
MARK = "wave"
WAS_FORKED = f"import sys\nprint({MARK!r} in sys.modules)"


def notebook(*cells: str) -> nbformat.NotebookNode:
    """Return a notebook with these code cells."""
    document: nbformat.NotebookNode = nbformat.v4.new_notebook()
    document.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document.cells = [nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in cells]
    return document


def outputs(kernels: Kernels | None, *cells: str, cwd: Path | None = None) -> list[Any]:
    """Execute cells, in a fresh kernel if there are no `kernels`; return what they put out."""
    options = kernels.engine_options() if kernels else {}
    done = papermill.execute_notebook(
        notebook(*cells), None, progress_bar=False, cwd=cwd and str(cwd), **options
    )
    return [output for cell in done.cells for output in cell.outputs]


def printed(kernels: Kernels | None, *cells: str, cwd: Path | None = None) -> str:
    """Execute cells; return what they wrote to stdout."""
    streams = [output for output in outputs(kernels, *cells, cwd=cwd) if output.get("name") == "stdout"]
    return "".join(stream.text for stream in streams).strip()


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Say whether something comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def ended(pid: int) -> bool:
    """Say whether a process no longer runs; one that nobody has waited for has ended too."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kernel_command(connection: str | Path) -> list[str]:
    """Return what starts an ordinary kernel."""
    return [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)]


def server_of(kernels: Kernels) -> psutil.Process:
    """Return the process that forks."""
    assert kernels.server is not None
    return psutil.Process(kernels.server)


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernels]:
    """Kernels for tests that need no server of their own."""
    modules = [MARK, "numpy", "pandas", "matplotlib.pyplot", "matplotlib_inline.backend_inline"]
    with Kernels(modules) as kernels:
        yield kernels


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for modules, from which a server that is started can import."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def warnings_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What the log says of kernels."""
    caplog.set_level(logging.WARNING, logger="ci.kernels")
    return lambda: "\n".join(record.message for record in caplog.records if record.name == "ci.kernels")


# What a notebook sees


def test_a_notebook_puts_out_the_same_in_a_forked_kernel_as_in_a_fresh_one(
    shared: Kernels, tmp_path: Path
) -> None:
    cells = [
        """
        import os, signal, sys, threading
        connection = sys.argv[2]
        print([word.replace(connection, "connection") for word in sys.argv])
        print([word.replace(connection, "connection") for word in sys.orig_argv])
        print(os.path.exists(connection), sys.path, os.getcwd(), sys.executable, sys.flags)
        print(sorted(name for name in globals() if name != "connection"), __name__, __builtins__)
        print({name: str(value) for name, value in vars(sys.modules["__main__"]).items() if name[:2] == "__"})
        print({number: str(signal.getsignal(number)) for number in signal.valid_signals()} | {})
        print(os.getpgrp() == os.getsid(0) == os.getpid(), os.umask(0o22), sorted(os.environ))
        print(type(sys.stdin), type(sys.stdout), sys.stdout.isatty(), os.read(0, 10))
        print(threading.main_thread() is threading.current_thread(), threading.active_count())
        """,
        "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.title('é'); print(plt.get_backend())",
        "import pandas; print('to stderr', file=sys.stderr); pandas.DataFrame({'a': [1, 2]})",
        "os.system('echo from a child')\n!echo from a shell",
        "import sys; print(os.environ['MPLBACKEND']); get_ipython().user_ns is globals()",
        "raise ValueError('as it should')",
    ]

    def run(options: dict[str, Any]) -> Any:
        document = notebook(*cells)
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(document, allow_errors=True, resources=resources, **options).execute()
        return [cell.outputs for cell in document.cells]

    assert printed(shared, WAS_FORKED) == "True"
    assert run(shared.engine_options()) == run({})


def test_two_notebooks_do_not_see_what_the_other_did(shared: Kernels) -> None:
    outputs(
        shared,
        "import builtins, os, sys, wave; x = builtins.x = wave.x = 1; os.environ['X'] = '1'; os.chdir('/')",
    )
    seen = printed(
        shared,
        """
        import builtins, os, wave
        print('x' in globals(), hasattr(builtins, 'x'), hasattr(wave, 'x'), 'X' in os.environ, os.getcwd())
        """,
    )
    assert seen == f"False False False False {Path.cwd()}"


def test_random_numbers_differ_from_kernel_to_kernel(shared: Kernels) -> None:
    draw = "import random, numpy.random as n; print(random.random(), n.random(), n.default_rng().random())"
    first, second = (printed(shared, draw).split() for _ in range(2))
    assert not set(first) & set(second)


def test_the_environment_is_that_of_the_launch(shared: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINCE", "the server started, in ünicode \udcff")
    show = """
    import os, subprocess
    print(ascii(os.environ["SINCE"]), subprocess.check_output(["sh", "-c", "echo $SINCE"]))
    """
    assert printed(shared, show) == printed(None, show)
    monkeypatch.delenv("SINCE")
    assert printed(shared, "import os; print('SINCE' in os.environ)") == "False"


def test_a_variable_that_an_import_set_is_there_unless_the_launch_has_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "setting.py").write_text(
        "import os\nos.environ.setdefault('ONE', 'set')\nos.environ.setdefault('TWO', 'set')"
    )
    with Kernels(["setting"]) as kernels:
        monkeypatch.setenv("TWO", "launched")
        show = "import setting, os; print(os.environ['ONE'], os.environ['TWO'])"
        assert printed(kernels, show) == "set launched"


def test_modules_are_imported_from_the_notebooks_own_folder(project: Path, tmp_path: Path) -> None:
    for folder, where in [(project, "project"), (tmp_path / "other", "other"), (tmp_path / "none", "")]:
        folder.mkdir(exist_ok=True)
        if where:
            (folder / "shapes").mkdir()
            (folder / "shapes" / "__init__.py").write_text(f"import shapes.parts\nwhere = {where!r}")
            (folder / "shapes" / "parts.py").write_text(f"where = {where!r}")
    with Kernels(["shapes"]) as kernels:
        show = "import shapes; print(shapes.where, shapes.parts.where)"
        assert printed(kernels, show) == "project project"
        assert printed(kernels, show, cwd=tmp_path / "other") == "other other"
        assert printed(kernels, show, cwd=project) == "project project"
        with pytest.raises(PapermillExecutionError, match="No module named 'shapes'"):
            outputs(kernels, show, cwd=tmp_path / "none")


def test_a_file_beside_the_notebook_goes_before_an_installed_package(tmp_path: Path, shared: Kernels) -> None:
    (tmp_path / "numpy.py").write_text("mine = True")
    assert printed(shared, "import numpy; print(numpy.mine)", cwd=tmp_path) == "True"


def test_a_module_that_cannot_be_imported_is_the_notebooks_affair(
    project: Path, warnings_logged: Callable[[], str]
) -> None:
    (project / "broken.py").write_text("1 / 0")
    (project / "exiting.py").write_text("raise SystemExit(3)")
    with Kernels(["broken", "exiting", "no.such.module", MARK]) as kernels:
        assert printed(kernels, WAS_FORKED) == "True"
        with pytest.raises(PapermillExecutionError, match="division by zero"):
            outputs(kernels, "import broken")
    assert "broken could not be preloaded: ZeroDivisionError: division by zero" in warnings_logged()
    assert "exiting could not be preloaded: SystemExit: 3" in warnings_logged()
    assert "no.such.module could not be preloaded: ModuleNotFoundError" in warnings_logged()


def test_a_log_set_up_by_an_import_is_written_to_the_notebook(project: Path) -> None:
    (project / "noisy.py").write_text(
        "import logging, sys\nprint('imported')\nsys.stdout.flush()\n"
        "logging.basicConfig(level='INFO', format='%(message)s')"
    )
    with Kernels(["noisy"]) as kernels:
        (stream,) = outputs(kernels, "import noisy, logging; logging.getLogger().info('told')")
    assert (stream.name, stream.text) == ("stderr", "told\n")


def test_large_and_foreign_texts_come_through(shared: Kernels) -> None:
    (stream,) = outputs(shared, "print('✓ 日本語 \\N{PILE OF POO}' * 100_000)")
    assert stream.text == "✓ 日本語 \N{PILE OF POO}" * 100_000 + "\n"


def test_a_file_that_the_notebook_left_open_is_written_when_the_kernel_ends(
    shared: Kernels, tmp_path: Path
) -> None:
    outputs(
        shared,
        "import atexit; file = open('left', 'w'); file.write('open'); "
        "atexit.register(lambda: open('exit', 'w').close())",
        cwd=tmp_path,
    )
    assert (tmp_path / "left").read_text() == "open"
    assert (tmp_path / "exit").exists()


def test_pools_of_threads_and_processes_work_after_the_fork() -> None:
    preload = [MARK, "numpy", "scipy.linalg", "pandas", "sklearn.ensemble", "sklearn.linear_model", "joblib"]
    with Kernels(preload) as kernels:
        assert printed(kernels, WAS_FORKED) == "True"
        assert (
            printed(
                kernels,
                """
                import multiprocessing, threading
                from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
                import joblib, numpy, pandas, scipy.linalg
                from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
                x = numpy.random.default_rng(0).normal(size=(600, 600))
                print(numpy.isfinite(x @ x.T).all(), scipy.linalg.svdvals(x).shape)
                y = x[:, 0]
                print(HistGradientBoostingRegressor(max_iter=3).fit(x, y).predict(x).shape)
                print(RandomForestRegressor(4, n_jobs=2, max_depth=2).fit(x, y).predict(x).shape)
                print(joblib.Parallel(2)(joblib.delayed(abs)(n) for n in range(3)))
                print(list(ThreadPoolExecutor(2).map(abs, range(3))))
                with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
                    print(list(pool.map(abs, range(3))))
                pandas.DataFrame({"a": list("ab")}).to_parquet("/dev/null")
                """,
            )
            == "True (600,)\n(600,)\n(600,)\n[0, 1, 2]\n[0, 1, 2]\n[0, 1, 2]"
        )


# What a runner sees


def test_a_cell_can_be_interrupted_and_the_next_one_runs(shared: Kernels) -> None:
    document = notebook("import time\nwhile True: time.sleep(0.01)", "print('on we go')", WAS_FORKED)
    client = NotebookClient(
        document,
        timeout_func=lambda cell: 1 if "while" in cell.source else 60,
        interrupt_on_timeout=True,
        allow_errors=True,
        **shared.engine_options(),
    )
    client.execute()
    assert document.cells[0].outputs[0].ename == "KeyboardInterrupt"
    assert document.cells[1].outputs[0].text == "on we go\n"
    assert document.cells[2].outputs[0].text == "True\n"


@pytest.mark.parametrize("death", ["os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_a_kernel_that_dies_is_noticed(shared: Kernels, death: str) -> None:
    with pytest.raises(DeadKernelError):
        outputs(shared, f"import os; {death}")


@pytest.mark.parametrize("code", [0, 7])
def test_a_kernels_exit_code_is_told(shared: Kernels, code: int) -> None:
    async def end(manager: Any, client: Any) -> Any:
        client.execute(f"import os; os._exit({code})")
        return await manager.provisioner.wait()

    assert with_kernel(shared, end) == code


@pytest.mark.parametrize(("send", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_the_signal_that_ended_a_kernel_is_told(shared: Kernels, send: str, number: int) -> None:
    async def end(manager: Any, client: Any) -> Any:
        assert await manager.is_alive()
        await getattr(manager.provisioner, send)()
        code = await manager.provisioner.wait()
        assert not await manager.is_alive()
        return code

    assert with_kernel(shared, end) == -number


def test_a_kernel_that_has_ended_is_no_longer_signalled(
    shared: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(manager: Any, client: Any) -> Any:
        process = manager.provisioner.process
        process.kill()
        process.wait()
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", lambda *_: pytest.fail("signalled"))
            patch.setattr(os, "killpg", lambda *_: pytest.fail("signalled"))
            process.terminate()
            await manager.provisioner.send_signal(signal.SIGTERM)
        return process.poll()

    assert with_kernel(shared, end) == -signal.SIGKILL


def test_a_kernel_can_be_restarted(shared: Kernels) -> None:
    async def restart(manager: Any, client: Any) -> Any:
        first = manager.provisioner.pid
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=30)
        return ended(first), await manager.is_alive()

    assert with_kernel(shared, restart) == (True, True)


def test_a_launch_that_wants_streams_of_its_own_gets_them(shared: Kernels, tmp_path: Path) -> None:
    async def write(manager: Any, client: Any) -> Any:
        client.execute("import os; os.write(__import__('sys').__stderr__.fileno(), b'')")
        return manager.provisioner.process.__class__

    with (tmp_path / "log").open("wb") as log:
        assert with_kernel(shared, write, stderr=log) is subprocess.Popen


def with_kernel(kernels: Kernels, use: Any, **launch: Any) -> Any:
    """Start a kernel as nbclient does, use it, end it."""

    async def session() -> Any:
        manager = kernels.engine_options()["kernel_manager_class"](kernel_name="python3")
        await manager.start_kernel(**launch)
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=30)
            return await use(manager, client)
        finally:
            client.stop_channels()
            if manager.has_kernel:
                await manager.shutdown_kernel(now=True)
            manager.context.destroy()

    return asyncio.run(session())


# Whoever starts processes must end them


def test_twenty_kernels_leave_no_process_and_no_open_file(shared: Kernels, tmp_path: Path) -> None:
    outputs(shared, "1")
    me, server = psutil.Process(), server_of(shared)

    def held() -> tuple[int, int]:
        return me.num_fds(), server.num_fds()

    before = held()
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", str(tmp_path / "connection.json")]
    for _ in range(20):
        process = shared.fork(command, str(tmp_path), os.environ)
        assert process is not None
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
    assert until(lambda: held() == before), (held(), before)
    assert server.children() == []
    outputs(shared, "1")
    assert server.children() == []


def test_kernels_inherit_nothing_that_the_server_has_open_but_the_standard_streams(shared: Kernels) -> None:
    def opened(pid: int | str) -> set[str]:
        found = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
        return found

    async def look(manager: Any, client: Any) -> tuple[set[str], set[str]]:
        return opened(server_of(shared).pid), opened(manager.provisioner.pid)

    server, kernel = with_kernel(shared, look)
    streams = Path(f"/proc/{server_of(shared).pid}/fd")
    standard = {str((streams / str(number)).readlink()) for number in range(3)}
    assert len([name for name in server if name.startswith("socket:")]) >= 4
    # Of these every process has its own, under one name.
    assert {name for name in server & kernel if not name.startswith("anon_inode:")} <= standard


def test_leaving_ends_the_server_and_a_kernel_that_runs(tmp_path: Path) -> None:
    with Kernels([]) as kernels:
        server = server_of(kernels)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", str(tmp_path / "connection.json")]
        process = kernels.fork(command, str(tmp_path), os.environ)
        assert process is not None
        assert process.poll() is None
    assert ended(process.pid)
    assert not server.is_running()
    assert process.poll() == -signal.SIGKILL


def test_a_service_that_a_notebook_starts_outlives_kernel_and_server() -> None:
    with Kernels([MARK]) as kernels:
        start = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
        assert printed(kernels, WAS_FORKED) == "True"
        service = psutil.Process(int(printed(kernels, start)))
        assert service.status() != psutil.STATUS_ZOMBIE
    try:
        assert service.is_running()
        assert service.status() != psutil.STATUS_ZOMBIE
    finally:
        service.kill()


RUNNER = """
import os, sys
from ci.kernels import Kernels
with Kernels(sys.argv[2:]) as kernels:
    print(kernels.server, flush=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", sys.argv[1]]
    print(kernels.fork(command, os.getcwd(), os.environ).pid, flush=True)
    sys.stdin.read()
"""


def test_server_and_kernels_end_when_their_runner_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "connection.json")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        server, kernel = (int(runner.stdout.readline()) for _ in range(2))
        assert not ended(server)
        assert not ended(kernel)
        runner.kill()
    assert until(lambda: ended(server) and ended(kernel))


def test_the_server_ends_in_the_midst_of_an_import_when_its_runner_is_killed(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        "import time, pathlib\npathlib.Path('begun').touch()\ntime.sleep(600)"
    )
    command = [sys.executable, "-c", RUNNER, "connection.json", "endless"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as runner:
        assert runner.stdout is not None
        server = int(runner.stdout.readline())
        assert until((tmp_path / "begun").exists)
        runner.kill()
    assert until(lambda: ended(server))


def test_a_kernel_ends_of_itself_when_the_server_is_killed(tmp_path: Path) -> None:
    with Kernels([]) as kernels:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", str(tmp_path / "connection.json")]
        process = kernels.fork(command, str(tmp_path), os.environ)
        assert process is not None
        server_of(kernels).kill()
        assert until(lambda: ended(process.pid))
        assert process.poll() == -signal.SIGKILL


def test_a_server_that_is_killed_is_replaced_once_and_then_kernels_are_ordinary(
    warnings_logged: Callable[[], str],
) -> None:
    with Kernels([MARK]) as kernels:
        for forked in ("True", "False"):
            with pytest.raises(DeadKernelError):
                outputs(kernels, "import os, time; os.kill(os.getppid(), 9); time.sleep(600)")
            assert printed(kernels, WAS_FORKED) == forked
    assert (
        "The kernel server is replaced, which takes some seconds: the kernel server doesn't"
        in warnings_logged()
    )
    assert "An ordinary kernel is started, which takes longer: the kernel server doesn't" in warnings_logged()


def test_a_server_that_hangs_is_replaced(
    monkeypatch: pytest.MonkeyPatch, warnings_logged: Callable[[], str]
) -> None:
    with Kernels([MARK]) as kernels:
        kernels.ready()
        hung = server_of(kernels)
        hung.suspend()
        monkeypatch.setattr(kernels, "answer_seconds", 2.0)
        assert printed(kernels, WAS_FORKED) == "True"
        assert not hung.is_running()
    assert (
        "The kernel server is replaced, which takes some seconds: the kernel server doesn't"
        in warnings_logged()
    )


def test_a_server_that_is_older_than_an_installed_package_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings_logged: Callable[[], str]
) -> None:
    folder = tmp_path / "site-packages"
    (folder / "shape-1.0.dist-info").mkdir(parents=True)
    (folder / "shape.py").write_text("version = 1")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    with Kernels(["shape"]) as kernels:
        show = "import shape; print(shape.version)"
        assert printed(kernels, show) == "1"
        (folder / "shape.py").write_text("version = 22")
        (folder / "shape-1.0.dist-info").rename(folder / "shape-2.2.dist-info")
        assert printed(kernels, show) == "22"
    assert "replaced, which takes some seconds: an installed package has changed" in warnings_logged()


def test_a_server_with_a_thread_that_came_later_is_replaced(
    project: Path, warnings_logged: Callable[[], str]
) -> None:
    (project / "watching.py").write_text(
        "import pathlib, signal, threading\n"
        "def watch(*_):\n"
        "    threading.Thread(target=threading.Event().wait, name='watcher', daemon=True).start()\n"
        "    pathlib.Path('watched').touch()\n"
        "signal.signal(signal.SIGUSR1, watch)"
    )
    with Kernels([MARK, "watching"]) as kernels:
        kernels.ready()
        server_of(kernels).send_signal(signal.SIGUSR1)
        assert until((project / "watched").exists)
        assert printed(kernels, WAS_FORKED) == "True"
    assert "it runs the thread 'watcher', which a kernel would miss" in warnings_logged()


# By name, as JupyterLab starts it

BY_NAME = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
said = client.execute_interactive("import sys; print('mlflow' in sys.modules)", timeout=60)
manager.restart_kernel(now=True)
client.wait_for_ready(timeout=60)
said = client.execute_interactive("print('again')", timeout=60)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


def test_make_lab_opens_notebooks_in_the_warm_kernel_under_the_name_that_they_have_elsewhere() -> None:
    said = subprocess.check_output(["make", "-n", "lab"], cwd=ROOT, text=True)
    (path,) = [word for word in said.split() if word.startswith("JUPYTER_PATH=")]
    folder = path.partition("=")[2].strip('"').partition("$")[0]
    output = subprocess.check_output(
        [sys.executable, "-c", BY_NAME], cwd=ROOT, env=os.environ | {"JUPYTER_PATH": folder}, text=True
    )
    assert output.split() == ["True", "again"]


# A server that a person keeps ready


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernels]:
    """A server that other runs may use, at an address of its own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "r"))
    with Kernels([MARK], listen=True) as kernels:
        kernels.ready()
        yield kernels


def test_runs_use_the_server_that_is_kept_ready(kept: Kernels) -> None:
    for _ in range(2):
        with Kernels([MARK]) as kernels:
            assert kernels.server is None
            assert printed(kernels, WAS_FORKED, "import os; print(os.getppid())").split() == [
                "True",
                str(kept.server),
            ]
    assert printed(kept, WAS_FORKED) == "True"


def test_leaving_ends_the_kernels_of_this_run_alone(kept: Kernels) -> None:
    cwd = str(Path.cwd())
    with Kernels([]) as first, Kernels([]) as second:
        mine, other = (
            kernels.fork(kernel_command(f"{name}.json"), cwd, os.environ)
            for name, kernels in (("first", first), ("second", second))
        )
        assert mine is not None
        assert other is not None
        first.__exit__(None, None, None)
        assert mine.wait(20) == -signal.SIGKILL
        assert other.poll() is None
    assert other.wait(20) == -signal.SIGKILL
    assert server_of(kept).is_running()


@pytest.mark.parametrize("change", ["preload", "variable", "package"])
def test_a_kept_server_that_would_not_do_is_passed_by_with_a_word(
    kept: Kernels, change: str, monkeypatch: pytest.MonkeyPatch, warnings_logged: Callable[[], str]
) -> None:
    said = {
        "preload": "it has not imported colorsys",
        "variable": "OMP_DYNAMIC changed",
        "package": "an installed package has changed",
    }
    if change == "variable":
        monkeypatch.setenv("OMP_DYNAMIC", "true")
    if change == "package":
        monkeypatch.setattr("ci.kernels.fitness.packages", lambda: "newer")
    with Kernels([MARK, "colorsys"] if change == "preload" else [MARK]) as kernels:
        assert kernels.server is not None
    assert said[change] in warnings_logged()


def test_a_run_goes_on_with_a_server_of_its_own_when_the_kept_one_is_killed(kept: Kernels) -> None:
    with Kernels([MARK]) as kernels:
        assert printed(kernels, WAS_FORKED) == "True"
        server_of(kept).kill()
        assert printed(kernels, WAS_FORKED) == "True"
        assert kernels.server is not None


def test_a_socket_that_was_left_behind_is_passed_by_and_replaced(kept: Kernels) -> None:
    server_of(kept).kill()
    server_of(kept).wait()
    with Kernels([]) as kernels:
        assert kernels.server is not None
    with Kernels([MARK], listen=True) as again, Kernels([MARK]) as kernels:
        again.ready()
        with Kernels([MARK]) as kernels:
            assert kernels.server is None


def test_a_folder_that_others_may_write_to_is_not_trusted(kept: Kernels, tmp_path: Path) -> None:
    (folder,) = (tmp_path / "r").iterdir()
    folder.chmod(0o777)
    with Kernels([]) as kernels:
        assert kernels.server is not None
    with pytest.raises(PermissionError, match="yours alone"), Kernels([], listen=True):
        pass


# When and whether


def test_entering_does_not_wait_for_the_imports_but_the_first_launch_does(project: Path) -> None:
    (project / "late.py").write_text(
        "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\nready = True"
    )
    with Kernels(["late"]) as kernels:
        (project / "go").touch()
        assert printed(kernels, "import sys; print(sys.modules['late'].ready)") == "True"


def test_leaving_does_not_wait_for_the_imports(project: Path) -> None:
    (project / "endless.py").write_text("import time\ntime.sleep(600)")
    with Kernels(["endless"]) as kernels:
        server = server_of(kernels)
    assert not server.is_running()


def test_kernels_are_ordinary_after_an_import_that_started_a_thread(
    project: Path, warnings_logged: Callable[[], str]
) -> None:
    (project / "threaded.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='watcher', daemon=True).start()"
    )
    with Kernels([MARK, "threaded"]) as kernels:
        assert printed(kernels, WAS_FORKED) == "False"
    assert "importing threaded started the thread 'watcher'" in warnings_logged()


def test_kernels_are_ordinary_after_an_import_that_ended_the_server(
    project: Path, warnings_logged: Callable[[], str]
) -> None:
    (project / "deadly.py").write_text("import os\nos._exit(1)")
    with Kernels(["deadly"]) as kernels:
        assert printed(kernels, WAS_FORKED) == "False"
    assert "the kernel server ended while it imported" in warnings_logged()


def test_a_variable_that_is_read_once_takes_effect(
    shared: Kernels, monkeypatch: pytest.MonkeyPatch, warnings_logged: Callable[[], str]
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    show = "print(hash('a'))"
    assert printed(shared, show) == printed(None, show)
    assert "PYTHONHASHSEED changed since the kernel server started" in warnings_logged()


def test_another_interpreter_or_folder_that_is_missing_is_left_to_a_fresh_kernel(
    shared: Kernels, tmp_path: Path, warnings_logged: Callable[[], str]
) -> None:
    kernel = ["-m", "ipykernel_launcher", "-f", "connection.json"]
    assert shared.fork(["/opt/python", *kernel], str(tmp_path), os.environ) is None
    assert shared.fork([sys.executable, *kernel], str(tmp_path / "missing"), os.environ) is None
    assert "its command is not this Python's kernel" in warnings_logged()
    assert f"{tmp_path / 'missing'} is no folder" in warnings_logged()


def test_after_the_end_kernels_are_ordinary(warnings_logged: Callable[[], str]) -> None:
    with Kernels([MARK]) as kernels:
        pass
    assert printed(kernels, WAS_FORKED) == "False"
    assert "there is no kernel server" in warnings_logged()


def test_no_server_is_started_for_ordinary_kernels() -> None:
    with Kernels([MARK], warm=False) as kernels:
        assert kernels.server is None
        assert kernels.engine_options() == {}
        assert printed(kernels, WAS_FORKED) == "False"


def test_on_macos_kernels_are_ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Kernels([]).engine_options() == {}


def test_kernels_are_ordinary_where_there_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    assert Kernels([]).engine_options() == {}
