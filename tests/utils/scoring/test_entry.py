"""The entry script, by Azure's contract."""

import json
from pathlib import Path

import pytest

from utils import files
from utils.packaging import Package
from utils.scoring import entry
from utils.scoring.integrity import IntegrityError
from utils.scoring.scorer import BadRequest


@pytest.fixture(autouse=True)
def _not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_scorer", None)


def test_init_loads_the_model_that_azure_names(
    built: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    golden = files.read_json(built.folder / "golden.json")
    request = json.dumps({"data": golden["data"]})
    with pytest.raises(RuntimeError, match="init"):
        entry.run(request)
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder))
    entry.init()
    assert entry.run(request) == {"result": golden["expected"]}
    # Azure mounts a registered folder below the one that it names.
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder.parent))
    entry.init()
    assert entry.run(request.encode()) == {"result": golden["expected"]}
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    with pytest.raises(OSError, match="schema"):
        entry.init()


def test_a_model_without_a_package_is_loaded_too(
    regression_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(regression_folder))
    entry.init()
    with pytest.raises(BadRequest, match="data is empty"):
        entry.run('{"data": []}')


def test_a_package_that_was_changed_is_not_loaded(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "schema.json").write_bytes((package / "schema.json").read_bytes() + b" ")
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(package))
    with pytest.raises(IntegrityError, match=r"schema\.json was changed"):
        entry.init()


def test_the_limit_of_rows_is_as_set(built: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder))
    monkeypatch.setenv("SCORING_MAX_ROWS", "3")
    entry.init()
    rows = files.read_json(built.folder / "golden.json")["data"]
    assert len(entry.run(json.dumps({"data": rows[:3]}))["result"]) == 3
    with pytest.raises(BadRequest, match="4 rows: send at most 3"):
        entry.run(json.dumps({"data": rows[:4]}))
