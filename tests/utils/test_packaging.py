"""Packages: everything that scoring needs, nothing else, and a manifest that tells when it was touched."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils import files, models, packaging, project, requirements
from utils.packaging import Package, PackageError


def _build(model: Path, destination: Path, rows: pd.DataFrame, **others: str) -> Package:
    return packaging.build(
        model,
        destination,
        name=others.get("name", "demo"),
        version=others.get("version", "3"),
        golden_rows=rows,
        lineage={"commit": "abc"},
    )


# ------------------------------------------------------------------ what is in it


def test_a_package_holds_what_scoring_needs_and_a_manifest_of_it(built: Package) -> None:
    names = {path.relative_to(built.folder).as_posix() for path in built.folder.rglob("*") if path.is_file()}
    modules = {f"scoring/{path.name}" for path in (project.root() / "utils" / "scoring").glob("*.py")}
    assert names - {packaging.SIGNATURE} == {*packaging.FILES, "model.onnx", *modules, "manifest.json"}
    manifest = json.loads((built.folder / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json", packaging.SIGNATURE}
    assert manifest["format"]["name"] == "onnx"
    assert (manifest["name"], manifest["version"]) == ("demo", "3")
    assert manifest["lineage"] == {"commit": "abc", "run": "20261123-101502-3fa2"}
    assert built.digest == files.sha256(built.folder / "manifest.json")
    assert built.size == sum(path.stat().st_size for path in built.folder.rglob("*") if path.is_file())
    assert packaging.verify(built.folder) == built.manifest


def test_the_same_model_gives_the_same_digest_anywhere_and_anytime(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    one = _build(regression_folder, tmp_path / "one", rows.head(5))
    other = _build(regression_folder, tmp_path / "two" / "other", rows.head(5))
    again = _build(regression_folder, tmp_path / "one", rows.head(5))
    assert one.digest == other.digest == again.digest


def test_another_version_or_other_golden_rows_give_another_digest(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    digests = {
        _build(regression_folder, tmp_path / "a", rows.head(5)).digest,
        _build(regression_folder, tmp_path / "b", rows.head(6)).digest,
        _build(regression_folder, tmp_path / "c", rows.head(5), version="4").digest,
    }
    assert len(digests) == 3


def test_golden_rows_carry_the_models_own_predictions(
    built: Package, regression_folder: Path, rows: pd.DataFrame
) -> None:
    golden = files.read_json(built.folder / "golden.json")
    direct = models.predict(models.load(regression_folder / "model.skops"), rows.head(8))
    assert golden["expected"] == pytest.approx(direct.tolist(), rel=1e-12)
    # The first row lacks its pressure and its note.
    assert golden["data"][0][1] is None
    assert golden["data"][0][5] is None
    assert golden["data"][0][3] in (True, False)


def test_golden_predictions_of_a_classifier_are_its_labels(
    classification_folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    package = _build(classification_folder, tmp_path / "package", rows.head(20))
    assert set(files.read_json(package.folder / "golden.json")["expected"]) == {"high", "low"}


def test_columns_beside_the_models_inputs_are_left_out_of_the_golden_rows(
    classification_folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    package = _build(classification_folder, tmp_path / "package", rows[["note", "age", "bmi"]].head(2))
    golden = files.read_json(package.folder / "golden.json")
    assert [len(row) for row in golden["data"]] == [2, 2]
    assert golden["data"][0] == [rows["bmi"][0], rows["age"][0]]


def test_a_package_replaces_the_one_before_and_leaves_nothing_beside_it(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    destination = tmp_path / "run" / "package"
    _build(regression_folder, destination, rows.head(2))
    (destination / "stray.txt").write_text("from an earlier time")
    _build(regression_folder, destination, rows.head(3))
    packaging.verify(destination)
    assert [path.name for path in destination.parent.iterdir()] == ["package"]


# ------------------------------------------------------------------ what is refused in building


@pytest.mark.parametrize("missing", ["model.skops", "schema.json"])
def test_a_model_folder_that_is_not_whole_is_refused(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path, missing: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(regression_folder, folder)
    (folder / missing).unlink()
    with pytest.raises(PackageError, match=re.escape(f"no {missing}")):
        _build(folder, tmp_path / "package", rows)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("home", "model")] == []


def test_golden_rows_must_have_the_models_columns_and_fit_its_schema(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match="no column bmi, age"):
        _build(regression_folder, tmp_path / "package", rows.drop(columns=["bmi", "age"]))
    with pytest.raises(PackageError, match="no golden rows"):
        _build(regression_folder, tmp_path / "package", rows.head(0))
    with pytest.raises(PackageError, match="missing in bmi"):
        _build(regression_folder, tmp_path / "package", rows.assign(bmi=None))
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("file", "content"), [("schema.json", b"{}"), ("schema.json", b"{"), ("model.skops", b"no archive")]
)
def test_a_damaged_model_is_not_packaged(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path, file: str, content: bytes
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(regression_folder, folder)
    (folder / file).write_bytes(content)
    with pytest.raises(PackageError, match="can't be"):
        _build(folder, tmp_path / "package", rows)
    assert not (tmp_path / "package").exists()


def test_a_service_that_would_not_predict_what_the_model_does_is_not_packaged(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "predict", lambda model, table: np.zeros(len(table)))
    with pytest.raises(PackageError, match="something else than the model"):
        _build(regression_folder, tmp_path / "package", rows)


def test_a_package_is_not_built_over_a_file(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "package").write_text("somebody's notes")
    with pytest.raises(PackageError, match="can't be the folder"):
        _build(regression_folder, tmp_path / "package", rows)
    assert (tmp_path / "package").read_text() == "somebody's notes"


# ------------------------------------------------------------------ requirements


def _pins(package: Path) -> dict[str, str]:
    text = (package / "requirements.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE))


def test_requirements_are_pinned_to_what_is_installed_and_hashed_as_locked(built: Package) -> None:
    pins = _pins(built.folder)
    assert {"onnxruntime", "numpy", "msgspec", "uvicorn", "uvloop", "httptools"} <= set(pins)
    for name, version in pins.items():
        assert importlib.metadata.version(name) == version
    lock = (project.root() / "requirements.lock").read_text()
    hashes = re.findall(r"--hash=(\S+)", (built.folder / "requirements.txt").read_text())
    assert len(hashes) > len(pins)
    assert all(digest in lock for digest in hashes)


def test_requirements_are_no_more_than_scoring_needs(built: Package) -> None:
    assert not {
        "scikit-learn",
        "pandas",
        "scipy",
        "mlflow",
        "papermill",
        "pydantic",
        "matplotlib",
        "pytest",
        "pyarrow",
        "jupyter",
    } & set(_pins(built.folder))


def test_a_model_that_onnx_cant_express_is_packed_as_scikit_learn_has_it(unconverted: Package) -> None:
    assert unconverted.manifest.format.name == "skops"
    assert "KernelRidge" in unconverted.manifest.format.reason
    assert (unconverted.folder / "model.skops").is_file()
    assert not (unconverted.folder / "model.onnx").exists()
    assert {"scikit-learn", "skops", "pandas", "scipy", "uvicorn"} <= set(_pins(unconverted.folder))


def test_without_a_lock_requirements_are_pinned_without_hashes(
    regression_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    text = requirements.pinned(regression_folder / "model.skops")
    assert text.startswith("# Without hashes: ")
    assert f"\nnumpy=={importlib.metadata.version('numpy')}\n" in text
    assert "--hash" not in text


def test_a_lock_that_pins_something_else_is_not_followed(
    regression_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = (project.root() / "requirements.lock").read_text()
    installed = importlib.metadata.version("numpy")
    (tmp_path / "requirements.lock").write_text(lock.replace(f"numpy=={installed}", "numpy==1.0"))
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    text = requirements.pinned(regression_folder / "model.skops")
    assert text.startswith("# Without hashes: numpy not as in requirements.lock.\n")
    assert f"\nnumpy=={installed}\n" in text
    assert "--hash" not in text


def test_a_model_of_an_unknown_module_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps({"content": [{"__module__": "of_nowhere.models"}]}))
    with pytest.raises(requirements.RequirementsError, match="'of_nowhere'"):
        requirements.pinned(tmp_path / "model.skops")


@pytest.mark.parametrize("which", ["built", "unconverted"])
def test_the_package_scores_with_its_requirements_alone(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Only the files of the required distributions are on the path: nothing else can be imported."""
    built: Package = request.getfixturevalue(which)
    site = tmp_path / "site"
    site.mkdir()
    allowed = _pins(built.folder)
    for name in allowed:
        files_of = importlib.metadata.files(name) or []
        for top in {path.parts[0] for path in files_of if path.parts[0] not in ("..", "__pycache__")}:
            target = Path(sysconfig.get_paths()["purelib"]) / top
            if target.exists() and not (site / top).exists():
                (site / top).symlink_to(target)
    code = f"""
import importlib.util, json, pathlib, sys
sys.dont_write_bytecode = True
sys.path += [{str(site)!r}, sys.argv[1]]
import score, serve
from scoring import worker
score.init()
golden = json.loads(pathlib.Path(sys.argv[1], "golden.json").read_text())
result = score.run(json.dumps({{"data": golden["data"]}}))["result"]
assert max(abs(a - b) for a, b in zip(result, golden["expected"], strict=True)) < 1e-9, result
print([name for name in ("mlflow", "utils", "pyarrow", "pydantic") if importlib.util.find_spec(name)])
print([name for name in ("pandas", "sklearn", "skops", "scipy") if name in sys.modules])
"""
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(built.folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    there, loaded = answer.stdout.splitlines()
    assert there == "[]"
    assert (loaded == "[]") == (which == "built")
    packaging.verify(built.folder)


@pytest.mark.parametrize("which", ["built", "unconverted"])
def test_every_requirement_is_reached_from_what_scoring_imports(
    which: str, request: pytest.FixtureRequest
) -> None:
    """No more: each pin is a distribution that the scoring files import, or one that such a one requires."""
    built: Package = request.getfixturevalue(which)
    pins = set(_pins(built.folder))
    imported = set()
    for file in (built.folder / "scoring").glob("*.py"):
        imported |= set(re.findall(r"^ *(?:from|import) (\w+)", file.read_text(), re.MULTILINE))
    providers = importlib.metadata.packages_distributions()
    direct = {providers[name][0].lower().replace("_", "-") for name in imported if name in providers}
    direct |= {"httptools", "cryptography"}  # by uvicorn's protocol; by what verifies signatures
    required = {
        re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
        for name in pins
        for line in importlib.metadata.requires(name) or []
        if "extra ==" not in line
    }
    assert pins <= direct | required


# ------------------------------------------------------------------ verifying


def test_a_whole_package_passes_and_is_described(package: Path, built: Package) -> None:
    found = packaging.load(package)
    assert (found.digest, found.size, found.manifest) == (built.digest, built.size, built.manifest)


def test_every_changed_file_is_named(package: Path) -> None:
    for file in packaging.load(package).manifest.files:
        original = (package / file).read_bytes()
        (package / file).write_bytes(original + b" ")
        with pytest.raises(PackageError, match=re.escape(f"({file} was changed)")):
            packaging.verify(package)
        (package / file).write_bytes(original)
    packaging.verify(package)


def test_missing_and_added_files_are_named(package: Path) -> None:
    (package / "score.py").unlink()
    (package / "sitecustomize.py").write_text("")
    (package / "folder").mkdir()
    with pytest.raises(
        PackageError, match=r"folder is not in the manifest; score\.py is missing; sitecustomize"
    ):
        packaging.verify(package)


def test_a_link_is_refused_even_if_its_content_is_right(package: Path, built: Package) -> None:
    (package / "score.py").unlink()
    (package / "score.py").symlink_to(built.folder / "score.py")
    with pytest.raises(PackageError, match=r"score\.py is a link"):
        packaging.verify(package)


@pytest.mark.parametrize(
    "name",
    ["../outside.txt", "/etc/hostname", "scoring/../score.py", "scoring//trust.py", "a\\b", "..", ".", ""],
)
def test_a_manifest_that_points_elsewhere_is_refused(package: Path, name: str) -> None:
    manifest = files.read_json(package / "manifest.json")
    manifest["files"][name] = "0" * 64
    files.write_json(package / "manifest.json", manifest)
    with pytest.raises(PackageError, match="is no path of a file"):
        packaging.verify(package)


def test_a_manifest_that_leaves_out_what_is_needed_is_refused(package: Path) -> None:
    manifest = files.read_json(package / "manifest.json")
    del manifest["files"]["golden.json"]
    (package / "golden.json").unlink()
    files.write_json(package / "manifest.json", manifest)
    with pytest.raises(PackageError, match=r"golden\.json is not in it"):
        packaging.verify(package)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": {}}', '{"schema_version": 1}'])
def test_a_damaged_manifest_is_refused(package: Path, content: str) -> None:
    (package / "manifest.json").write_text(content)
    with pytest.raises(PackageError, match="can't be read"):
        packaging.verify(package)


def test_a_folder_without_a_manifest_is_no_package(package: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(package)
    (package / "manifest.json").unlink()
    for folder in (package, tmp_path / "nowhere", tmp_path / "link"):
        with pytest.raises(PackageError, match="is no package"):
            packaging.verify(folder)
