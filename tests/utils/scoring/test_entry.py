"""The entry script, by Azure's contract."""

import json
from pathlib import Path

import pytest

from utils import files, signing_keys
from utils.packaging import Package
from utils.scoring import entry
from utils.scoring.integrity import IntegrityError
from utils.scoring.loading import LoadingError
from utils.scoring.scorer import BadRequest
from utils.signing_keys import SigningKey


@pytest.fixture(autouse=True)
def _not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_scorer", None)
    monkeypatch.setattr(entry, "_identity", None)


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


def test_it_says_which_package_answers(built: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder))
    entry.init()
    said = {"name": "demo", "version": "3", "digest": built.digest}
    assert entry.run(entry.DESCRIBE) == entry.run(entry.DESCRIBE.encode()) == said


def test_a_model_without_a_package_can_not_say_which_it_is(
    regression_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(regression_folder))
    entry.init()
    with pytest.raises(BadRequest, match="The body must be"):
        entry.run(entry.DESCRIBE)


def test_a_signature_that_is_asked_for_has_to_hold(
    built: Package,
    regression_folder: Path,
    signing_key: SigningKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = signing_keys.generate()

    def line(key: SigningKey) -> str:
        return "".join(key.public_pem.splitlines()[1:-1])

    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder))
    for trusted in (signing_key.public_pem, f"{line(other)},{line(signing_key)}"):
        monkeypatch.setenv("SCORING_PUBLIC_KEY", trusted)
        entry.init()
    for trusted in (other.public_pem, line(other)):
        monkeypatch.setenv("SCORING_PUBLIC_KEY", trusted)
        with pytest.raises(LoadingError, match="key"):
            entry.init()
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(regression_folder))
    with pytest.raises(LoadingError, match="no signature vouches"):
        entry.init()


def test_the_limit_of_rows_is_as_set(built: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder))
    monkeypatch.setenv("SCORING_MAX_ROWS", "3")
    entry.init()
    rows = files.read_json(built.folder / "golden.json")["data"]
    assert len(entry.run(json.dumps({"data": rows[:3]}))["result"]) == 3
    with pytest.raises(BadRequest, match="4 rows: send at most 3"):
        entry.run(json.dumps({"data": rows[:4]}))
