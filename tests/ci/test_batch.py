"""The command `score`: which package it takes, what it prints, and how it ends."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from ci import runs
from ci.cli import main
from tests.utils.conftest import mixed_rows, save_model
from utils import packaging, platforms, signatures, signing_keys
from utils.platforms.protocol import Endpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, folder = mixed_rows(), tmp_path_factory.mktemp("packed")
    y = pd.Series(rows["bmi"] * 2 + rows["age"], name="progression")
    save_model(folder / "model", "sklearn.linear_model.Ridge", rows, y)
    made = packaging.build(
        folder / "model", folder / "package", name="demo", version="3", golden_rows=rows.head(4), lineage={}
    )
    key = signing_keys.generate()
    signatures.sign(made.folder, key)
    (folder / "signing.pub").write_text(key.public_pem)
    return made.folder


@pytest.fixture(autouse=True)
def trusted(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust whoever signed the package."""
    monkeypatch.setenv(signing_keys.PUBLIC_KEY_FILE_VARIABLE, str(package.with_name("signing.pub")))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    mixed_rows(200).to_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def _score(source: Path, *words: object) -> Result:
    output = source.with_name("scored.parquet")
    return CliRunner().invoke(
        main, ["score", "--input", str(source), "--output", str(output), *(str(word) for word in words)]
    )


def test_a_file_is_scored_by_the_package_that_is_named(package: Path, source: Path) -> None:
    done = _score(source, "--package", package, "--keep", "bmi,note", "--chunk-rows", 64)
    assert done.exit_code == 0
    assert "✓ 200 rows in " in done.output
    assert f"package {packaging.load(package).digest[:12]}" in done.output
    found = pd.read_parquet(source.with_name("scored.parquet"))
    assert found.columns.tolist() == ["bmi", "note", "prediction"]
    assert len(found) == 200


def test_a_package_that_nobody_trusted_signed_scores_nothing(
    package: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.pub").write_text(signing_keys.generate().public_pem)
    monkeypatch.setenv(signing_keys.PUBLIC_KEY_FILE_VARIABLE, str(tmp_path / "other.pub"))
    done = _score(source, "--package", package)
    assert done.exit_code == 1
    assert not source.with_name("scored.parquet").exists()


def test_a_runs_package_is_found_by_its_id(
    package: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "find", lambda run_id: SimpleNamespace(folder=package.parent))
    assert _score(source, "--run", "20261123-101502-3fa2").exit_code == 0


def test_what_is_live_in_production_is_the_default(
    package: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(service: str, environment: str) -> Endpoint | None:
        if (service, environment) != ("diabetes", "production"):
            return None
        return Endpoint(environment, service, "", "", "3", confirmed=True, details={"package": str(package)})

    place = platforms.get("local")
    endpoints = SimpleNamespace(find=find)
    monkeypatch.setattr(
        platforms, "get", lambda name: SimpleNamespace(endpoints=endpoints, verify=place.verify)
    )
    assert _score(source).exit_code == 0
    other = _score(source, "--scenario", "other", "--force")
    assert other.exit_code == 1
    assert "No service of other is live in production: name a package by --package or --run" in other.output


def test_refusals_are_one_sentence_and_an_exit_code(package: Path, source: Path) -> None:
    assert _score(source, "--package", package).exit_code == 0
    for words, code, said in (
        (("--package", package), 1, "exists already: name another file, or add --force"),
        (("--package", source.parent, "--force"), 1, "has no model.sig"),
        (("--run", "20261123-101502-3fa2"), 2, "There is no run '20261123-101502-3fa2'"),
        (("--package", package, "--run", "x"), 2, "Give --package or --run, not both"),
    ):
        refused = _score(source, *words)
        assert refused.exit_code == code
        assert said in refused.output
        assert "Traceback" not in refused.output


def test_an_interruption_says_how_to_go_on(package: Path, source: Path) -> None:
    from ci import batch

    def interrupted(rows: int, share: float) -> None:
        raise KeyboardInterrupt

    class Once:
        def __enter__(self) -> object:
            return interrupted

        def __exit__(self, *_: object) -> None: ...

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_progress", Once)
        stopped = _score(source, "--package", package, "--chunk-rows", 50)
    assert stopped.exit_code == 130
    assert "give the same command again to go on" in stopped.output
    assert "200 rows, 50 of them before" in _score(source, "--package", package).output


def test_other_commands_do_not_wait_for_what_scoring_imports() -> None:
    code = (
        "import sys, ci.cli, ci.batch; sys.exit(bool({'pyarrow', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
