"""The entry script under Azure's own server, in that server's environment."""

import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.utils.scoring.conftest import GOOD, body_of, until
from utils import files, project
from utils.packaging import Package
from utils.scoring import entry, integrity
from utils.scoring.scorer import Scorer

SERVER = project.root() / ".venv-inference-server" / "bin" / "azmlinfsrv"

pytestmark = pytest.mark.skipif(not SERVER.exists(), reason="make inference-server")

Ask = Callable[[bytes], tuple[int, Any]]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "WORKER_COUNT": "1"}


@pytest.fixture(scope="module", params=["built", "unconverted"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Ask]]:
    """A package's folder, and how to ask Azure's server that answers from it."""
    built: Package = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("azure")
    package = folder / "package"
    shutil.copytree(built.folder, package)
    port = _free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(SERVER), "--entry_script", str(package / "score.py"), "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(folder),
        )

    def ask(body: bytes) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/score", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return ask(body_of(GOOD))[0] == 200
        except urllib.error.URLError:
            return False

    try:
        until(answers, 120)
        yield package, ask
    finally:
        process.terminate()
        process.wait(30)


def test_golden_rows_are_answered_as_by_our_own_service(served: tuple[Path, Ask]) -> None:
    package, ask = served
    golden = files.read_json(package / "golden.json")
    status, answer = ask(body_of(*golden["data"]))
    assert status == 200
    assert list(answer) == ["result"]
    assert answer["result"] == pytest.approx(golden["expected"], rel=1e-9)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b'{"data": [[NaN]]}', 400, "NaN is no JSON value"),
        (b'{"rows": []}', 400, "The body must be"),
        (b'{"data": []}', 422, "data is empty"),
        (body_of(GOOD[:3]), 422, "data[0] has 3 values"),
        (
            body_of(GOOD, [*GOOD[:2], "forty", *GOOD[3:]]),
            422,
            "data[1][2] (column 'age') is the string 'forty'",
        ),
        (body_of(*[GOOD] * 1001), 413, "1001 rows"),
    ],
)
def test_a_bad_request_gets_the_status_and_reason_of_our_own_service(
    served: tuple[Path, Ask], body: bytes, status: int, words: str
) -> None:
    found, answer = served[1](body)
    assert found == status
    assert words in answer["error"]
    expected = Scorer(served[0]).score(body_of(GOOD))
    assert served[1](body_of(GOOD))[1]["result"] == pytest.approx(expected, rel=1e-9)


def test_it_says_which_package_answers(served: tuple[Path, Ask]) -> None:
    package, ask = served
    status, said = ask(entry.DESCRIBE.encode())
    assert (status, said["digest"]) == (200, files.sha256(package / "manifest.json"))


def test_the_server_leaves_the_package_as_it_was_but_for_pythons_cache(served: tuple[Path, Ask]) -> None:
    assert integrity.verify(served[0], cached=True).name == "demo"


def test_a_package_that_was_changed_is_not_served(built: Package, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(built.folder, package)
    (package / "golden.json").write_text("{}")
    done = subprocess.run(
        [str(SERVER), "--entry_script", str(package / "score.py"), "--port", str(_free_port())],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_environment(tmp_path),
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "golden.json was changed" in done.stdout + done.stderr
