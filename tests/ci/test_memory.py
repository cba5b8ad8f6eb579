"""A cell that asks for memory without end is ended, and told as what it is; the runner goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ci import memory, runs
from ci.cli import main
from utils import project

if TYPE_CHECKING:
    from tests.conftest import Toy

HOARD = "kept = []\nwhile True:\n    kept.append(bytearray(b'x' * 20_000_000))"
WORDS = ["run", "--scenario", "scenario", "--run-id", "r1", "--pipeline"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits another process's memory")
def test_a_step_with_a_limit_ends_as_out_of_memory_and_names_the_cell(toy: Toy) -> None:
    toy.step("first", "import os", HOARD, memory_mb=800)
    result = CliRunner().invoke(main, [*WORDS, str(toy.file)])
    assert result.exit_code == 1
    step = runs.load("r1").step("first")
    assert step.failure is not None
    assert (step.failure.name, step.failure.cell) == ("OutOfMemory", 3)
    assert step.reason.startswith("out of memory in cell 3")
    assert "failed" in result.output


@pytest.fixture
def confined() -> Iterator[Path]:
    """A control group whose processes have 700 MB between them: the system ends one that wants more."""
    try:
        own = next(
            line.split(":")[2]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if ":memory:" in line or line.startswith("0::")
        )
        version_1 = Path("/sys/fs/cgroup/memory")
        root = version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")
        group = root / own.lstrip("/") / f"mlops-test-{os.getpid()}"
        group.mkdir()
    except (OSError, StopIteration) as error:
        pytest.skip(f"no control group can be made here ({error})")
    try:
        limit = "memory.limit_in_bytes" if version_1.is_dir() else "memory.max"
        try:
            (group / limit).write_text(str(700 << 20))
        except OSError as error:
            pytest.skip(f"no control group with a limit can be made here ({error})")
        yield group
    finally:
        group.rmdir()


def test_a_kernel_that_the_system_ends_for_want_of_memory_is_told_as_such(toy: Toy, confined: Path) -> None:
    toy.step("first", "import os", HOARD)
    enter = f"import os; open({str(confined / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
    run = "import runpy, sys; sys.argv = ['ci', *sys.argv[1:]]; runpy.run_module('ci', run_name='__main__')"
    before = memory.kills()
    ended = subprocess.run(
        [sys.executable, "-c", f"{enter}\n{run}", *WORDS, str(toy.file)],
        cwd=project.root(),
        env=os.environ | {"MLOPS_HOME": str(project.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert memory.kills() > before, ended.stdout + ended.stderr
    assert ended.returncode == 1
    step = runs.load("r1").step("first")
    assert step.failure is not None
    assert (step.failure.name, step.failure.cell) == ("OutOfMemory", 3)
    assert step.reason == "out of memory in cell 3: the system ended the kernel"
    assert (runs.folder("r1") / "index.html").exists()
