import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from utils import images, requirements
from utils.images import ImageError, bytecode, layers, pruning
from utils.packaging import Package

PYTHON = "{}.{}".format(*sys.version_info)


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    """Requirements that uv has at hand: this environment was made of them."""
    lines = requirements.pinned(Path("model.onnx"))
    entries = lines.replace(" \\\n", " \\").splitlines()
    kept = [entry.replace(" \\", " \\\n") for entry in entries if entry.startswith(("h11==", "click=="))]
    path = tmp_path / "requirements.txt"
    path.write_text("\n".join(kept) + "\n")
    return path


def _names(tar: Path) -> list[str]:
    with tarfile.open(tar) as archive:
        return archive.getnames()


def test_the_same_requirements_give_the_same_bytes_in_another_cache(pinned: Path, tmp_path: Path) -> None:
    first = layers.packages(pinned, "3.11", tmp_path / "one")
    second = layers.packages(pinned, "3.11", tmp_path / "a longer name")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.size > 0


def test_packages_keep_what_a_scanner_reads_and_licences_but_nothing_that_varies(
    pinned: Path, tmp_path: Path
) -> None:
    names = _names(layers.packages(pinned, "3.11", tmp_path).path)
    assert [name for name in names if name.endswith(".dist-info/METADATA")]
    assert [name for name in names if "/licenses/" in name]
    assert not [name for name in names if name.endswith(("/RECORD", "/INSTALLER", "/.lock"))]
    assert not [name for name in names if "/tests/" in name]


def test_modules_are_compiled_for_this_python_alone(pinned: Path, tmp_path: Path) -> None:
    other = "3.12" if PYTHON == "3.11" else "3.11"
    compiled = _names(layers.packages(pinned, PYTHON, tmp_path).path)
    assert f"packages/h11/__pycache__/__init__.{sys.implementation.cache_tag}.pyc" in compiled
    assert not [
        name for name in _names(layers.packages(pinned, other, tmp_path).path) if "__pycache__" in name
    ]


def test_a_layer_is_made_once_and_again_when_its_bytes_have_changed(pinned: Path, tmp_path: Path) -> None:
    made = layers.packages(pinned, "3.11", tmp_path).path
    before, written = made.read_bytes(), made.stat().st_mtime_ns
    assert layers.packages(pinned, "3.11", tmp_path).path.stat().st_mtime_ns == written
    made.write_bytes(before[:-1] + b"x")
    assert layers.packages(pinned, "3.11", tmp_path).path.read_bytes() == before


def test_a_package_that_is_not_the_one_that_was_locked_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(f"h11==0.16.0 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ImageError, match="uv could not install the packages"):
        layers.packages(path, "3.11", tmp_path / "cache")
    assert [name.name for name in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_scikit_learn_model_is_loaded_by_what_is_left_of_its_requirements(
    regression_folder: Path, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    required = tmp_path / "requirements.txt"
    required.write_text(requirements.pinned(regression_folder / "model.skops"))
    monkeypatch.setattr(bytecode, "compile_below", lambda *_: None)  # it takes long, and adds nothing here
    tar = layers.packages(required, PYTHON, tmp_path / "cache").path
    with tarfile.open(tar) as archive:
        archive.extractall(tmp_path, filter="data")
    rows.to_json(tmp_path / "rows.json")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pandas, skops.io\n"
        "model = skops.io.load(sys.argv[2], trusted=skops.io.get_untrusted_types(file=sys.argv[2]))\n"
        "print(len(model.predict(pandas.read_json(sys.argv[3]).fillna({'note': ''}))))"
    )
    words = [tmp_path / "packages", regression_folder / "model.skops", tmp_path / "rows.json"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("60", 0), done.stderr


def test_code_and_model_are_layers_of_their_own_that_hold_the_package_together(
    built: Package, tmp_path: Path
) -> None:
    code = layers.service(built.folder, tmp_path / "service.tar")
    rest = layers.model(built.folder, tmp_path / "model.tar")
    with tarfile.open(code.path) as first, tarfile.open(rest.path) as second:
        held = {entry.name for archive in (first, second) for entry in archive if entry.isreg()}
    # The signature too, where the package step has signed the package.
    assert held <= {f"service/{name}" for name in (*built.manifest.files, "manifest.json", "model.sig")}
    assert code.size + rest.size == built.size
    assert all(name.endswith(".py") for name in _names(code.path) if "." in name)


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("numpy/__init__.py", True),
        ("numpy/tests/test_x.py", False),
        ("numpy/_core/include/numpy/x.h", False),
        ("pandas/_testing/__init__.py", True),
        ("onnxruntime/tools/x.py", False),
        ("onnxruntime/capi/libonnxruntime.so.1.20.0", False),
        ("onnxruntime/capi/libonnxruntime_providers_shared.so", True),
        ("h11-0.16.0.dist-info/METADATA", True),
        ("h11-0.16.0.dist-info/RECORD", False),
        ("bin/uvicorn", False),
    ],
)
def test_pruning(path: str, kept: bool) -> None:
    assert pruning.keeps(path) is kept


def test_an_address_that_is_none_is_refused(built: Package, tmp_path: Path) -> None:
    for registry in ("mlops", "https://example.com/mlops", "example.com/Mlops", "a b"):
        with pytest.raises(ValueError, match="is no registry's address"):
            images.build(built, folder=tmp_path / "image", cache=tmp_path, registry=registry)
