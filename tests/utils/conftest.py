"""Models, packages, and a platform of each kind, for the tests of what works with them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils import files, models, packaging, platforms, project
from utils.packaging import Package
from utils.platforms.local import processes
from utils.platforms.protocol import Platform


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
def built(rows: pd.DataFrame, regression_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package that no test may change."""
    return packaging.build(
        regression_folder,
        tmp_path_factory.mktemp("built") / "package",
        name="demo",
        version="3",
        golden_rows=rows.head(8),
        lineage={"run": "20261123-101502-3fa2", "commit": "abc"},
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


@pytest.fixture(params=platforms.NAMES)
def platform(request: pytest.FixtureRequest, provisioned_home: Path, home: Path) -> Iterator[Platform]:
    shutil.copytree(provisioned_home, home, dirs_exist_ok=True)
    found = platforms.get(request.param)
    yield found
    for endpoint in found.endpoints.everything():
        found.endpoints.remove(endpoint.service, endpoint.environment)
    assert found.endpoints.everything() == []
    # Whatever a test did to the records: no service may outlive it.
    assert processes.below(home) == []


# Answers as a package's own service does, from its golden rows and without a model: importing
# scikit-learn would take seconds in each of many tests that aren't about predictions.
LIGHT_SERVICE = """
import hashlib, http.server, json, pathlib, socket, sys
folder = pathlib.Path(__file__).parent
golden = json.loads((folder / "golden.json").read_text())
digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())
    def do_GET(self):
        self.answer({"status": "ok", "digest": digest})
    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]
        self.answer({"result": golden["expected"][: len(rows)]})
    def log_message(self, *words):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=int(sys.argv[2]))
server.serve_forever()
"""


def rewrite(package: Path, file: str, content: str, **manifest: str) -> Package:
    """Change a file of a package and its manifest, so that it is whole again."""
    (package / file).write_text(content)
    record = {**files.read_json(package / "manifest.json"), **manifest}
    record["files"][file] = files.sha256(package / file)
    files.write_json(package / "manifest.json", record)
    return packaging.load(package)


@pytest.fixture
def light(built: Package, tmp_path: Path) -> Package:
    """A package whose service starts at once."""
    shutil.copytree(built.folder, tmp_path / "light")
    return rewrite(tmp_path / "light", "serve.py", LIGHT_SERVICE)


@pytest.fixture
def challenger(built: Package, tmp_path: Path) -> Package:
    """A package of the next version, whose service starts at once."""
    shutil.copytree(built.folder, tmp_path / "challenger")
    return rewrite(tmp_path / "challenger", "serve.py", LIGHT_SERVICE, version="4")


@pytest.fixture
def broken(built: Package, tmp_path: Path) -> Package:
    """A package whose service ends while it starts."""
    shutil.copytree(built.folder, tmp_path / "broken")
    return rewrite(tmp_path / "broken", "serve.py", "raise SystemExit('deliberately broken')\n")


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """What a training leaves, as far as the run history cares: files in a folder "model"."""
    folder = tmp_path / "run" / "model"
    (folder / "plots").mkdir(parents=True)
    (folder / "model.skops").write_bytes(b"a model")
    (folder / "schema.json").write_text("{}")
    (folder / "plots" / "residuals.png").write_bytes(b"a plot")
    return folder
