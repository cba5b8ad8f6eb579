"""Models, packages, and a platform of each kind, for the tests of what works with them."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils import files, models, packaging, platforms, project, signatures, signing_keys
from utils.packaging import Package
from utils.platforms.local.targets import processes
from utils.platforms.protocol import Platform
from utils.signing_keys import SigningKey


def mixed_rows(rows: int = 60) -> pd.DataFrame:
    """Rows with a column of each type, some of them with missing values."""
    random = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "bmi": random.normal(25, 4, rows),
            "pressure": np.where(np.arange(rows) % 7 == 0, np.nan, random.normal(90, 9, rows)),
            "age": random.integers(20, 80, rows),
            "smoker": random.integers(0, 2, rows).astype(bool),
            "region": random.choice(["north", "south", "Zürich"], rows),
            "note": [None if row % 5 == 0 else "abc"[row % 3] for row in range(rows)],
        }
    )


def save_model(folder: Path, estimator: str, table: pd.DataFrame, y: pd.Series) -> Path:
    """Train a model and leave what a training leaves for the package."""
    model = models.fit(models.build(estimator, {}, table), table, y)
    folder.mkdir(parents=True)
    models.save(model, folder / "model.skops")
    files.write_json(folder / "schema.json", models.schema(table, y, model))
    return folder


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    """What the models of these tests were trained on."""
    return mixed_rows()


@pytest.fixture(scope="session")
def regression_folder(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a regression on columns of all types."""
    y = pd.Series(rows["bmi"] * 2 + rows["age"] + rows["smoker"] * 5, name="progression")
    return save_model(tmp_path_factory.mktemp("regression") / "model", "sklearn.linear_model.Ridge", rows, y)


@pytest.fixture(scope="session")
def classification_folder(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a classification into two words, on numbers alone."""
    y = pd.Series(np.where(rows["bmi"] + rows["age"] / 10 > 30, "high", "low"), name="risk")
    folder = tmp_path_factory.mktemp("classification") / "model"
    return save_model(folder, "sklearn.ensemble.RandomForestClassifier", rows[["bmi", "age"]], y)


@pytest.fixture(scope="session")
def signing_key() -> SigningKey:
    """A key that exists in memory alone."""
    return signing_keys.generate()


@pytest.fixture(scope="session")
def built(
    rows: pd.DataFrame,
    regression_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    signing_key: SigningKey,
) -> Package:
    """A signed package that no test may change."""
    made = packaging.build(
        regression_folder,
        tmp_path_factory.mktemp("built") / "package",
        name="demo",
        version="3",
        golden_rows=rows.head(8),
        lineage={"run": "20261123-101502-3fa2", "commit": "abc"},
    )
    signatures.sign(made.folder, signing_key)
    return packaging.load(made.folder)


@pytest.fixture(scope="session")
def unconverted(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package whose model ONNX can't express, with columns of all types; no test may change it."""
    y = pd.Series(rows["bmi"] * 2 + rows["age"] + rows["smoker"] * 5, name="progression")
    folder = tmp_path_factory.mktemp("unconverted")
    save_model(folder / "model", "sklearn.kernel_ridge.KernelRidge", rows, y)
    return packaging.build(
        folder / "model",
        folder / "package",
        name="demo",
        version="3",
        golden_rows=rows.head(8),
        lineage={},
    )


@pytest.fixture
def package(built: Package, tmp_path: Path) -> Path:
    """A package's folder that a test may change."""
    folder = tmp_path / "package"
    shutil.copytree(built.folder, folder)
    return folder


@pytest.fixture(scope="session")
def provisioned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose workspace is made once: MLflow takes seconds for its tables."""
    home = tmp_path_factory.mktemp("provisioned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(project.HOME_VARIABLE, str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        platforms.get("local").provision()
    return home


# Those of Azure run in tests/azure, on a platform of their own.
@pytest.fixture(params=("local",))
def platform(
    request: pytest.FixtureRequest,
    provisioned_home: Path,
    home: Path,
    signing_key: SigningKey,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Platform]:
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_key.private_pem())
    shutil.copytree(provisioned_home, home, dirs_exist_ok=True)
    found = platforms.get(request.param)
    yield found
    for endpoint in found.endpoints.everything():
        found.endpoints.remove(endpoint.service, endpoint.environment)
    assert found.endpoints.everything() == []
    # Whatever a test did to the records: no service may outlive it.
    assert processes.below(home) == []


@pytest.fixture
def rewritten(signing_key: SigningKey) -> Callable[..., Package]:
    """A function that changes a package, so that it is whole and signed again."""

    def rewrite(folder: Path, texts: Mapping[str, str] | None = None, **manifest: str) -> Package:
        for name, content in (texts or {}).items():
            (folder / name).write_text(content)
        record = {**files.read_json(folder / "manifest.json"), **manifest}
        record["files"] |= {name: files.sha256(folder / name) for name in texts or {}}
        files.write_json(folder / "manifest.json", record)
        signatures.sign(folder, signing_key)
        return packaging.load(folder)

    return rewrite


@pytest.fixture
def challenger(package: Path, rewritten: Callable[..., Package]) -> Package:
    """A package of the next version."""
    return rewritten(package, version="4")


@pytest.fixture
def broken(built: Package, tmp_path: Path, rewritten: Callable[..., Package]) -> Package:
    """A package whose service ends while it starts."""
    shutil.copytree(built.folder, tmp_path / "broken")
    ending = "raise SystemExit('deliberately broken')\n"
    return rewritten(tmp_path / "broken", {"serve.py": ending, "score.py": ending})


@pytest.fixture
def signable(tmp_path: Path) -> Path:
    """What a package looks like from outside, with little in it: made at once."""
    folder = tmp_path / "signable"
    for name, content in {
        "manifest.json": '{"schema_version": 2}',
        "model.onnx": "\x08\x01a model",
        "schema.json": "{}",
        "golden.json": '{"data": [[1]], "expected": [2]}',
        "requirements.txt": "numpy==2.1.0\n",
        "sbom.cdx.json": "{}",
        "score.py": "def init(): ...\n",
        "serve.py": "import scoring\n",
        "scoring/__init__.py": "",
        "scoring/trust.py": "TYPES = ()\n",
    }.items():
        files.write_text(folder / name, content, durable=False)
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """What a training leaves, as far as the run history cares: files in a folder "model"."""
    folder = tmp_path / "run" / "model"
    (folder / "plots").mkdir(parents=True)
    (folder / "model.skops").write_bytes(b"a model")
    (folder / "schema.json").write_text("{}")
    (folder / "plots" / "residuals.png").write_bytes(b"a plot")
    return folder
