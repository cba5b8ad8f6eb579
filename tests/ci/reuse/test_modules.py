"""Which of the project's files a notebook's code comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci.reuse import modules
from utils import files, project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a module, a package and packages in it."""
    for name, code in {
        "helper.py": "",
        "unused.py": "",
        "kit/__init__.py": "",
        "kit/plain.py": "",
        "kit/lazy.py": "def later():\n    try:\n        from kit import plain\n    finally:\n        pass\n",
        "kit/relative.py": "from . import plain\nfrom .inner import first\n",
        "kit/unused.py": "",
        "kit/inner/__init__.py": "",
        "kit/inner/first.py": "from ..lazy import later\n",
        "kit/inner/second.py": "",
        "kit/inner/table.csv": "a,b",
        "kit/inner/deep/__init__.py": "",
        "utils/__init__.py": "",
        "utils/platforms/__init__.py": "",
        "utils/platforms/here/__init__.py": "import helper\n",
        "utils/platforms/here/files/image.txt": "",
        "utils/platforms/there/__init__.py": "",
    }.items():
        files.write_text(tmp_path / name, code)
    return tmp_path


def found(root: Path, *cells: str, values: list[Any] | None = None) -> list[str]:
    return list(modules.closure(cells, root, platform="here", values=values or []))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("import os, json, numpy as np", []),
        ("import helper", ["helper.py"]),
        ("import kit.plain", ["kit/__init__.py", "kit/plain.py"]),
        ("from kit import plain as p", ["kit/__init__.py", "kit/plain.py"]),
        ("from kit.plain import anything", ["kit/__init__.py", "kit/plain.py"]),
        ("if 1:\n    with x:\n        import helper", ["helper.py"]),
        ("match x:\n    case 1:\n        import helper", ["helper.py"]),
        ("import kit.lazy", ["kit/__init__.py", "kit/lazy.py", "kit/plain.py"]),
        ("importlib.import_module('kit.plain')", ["kit/__init__.py", "kit/plain.py"]),
        ("'about helper and kit.'", []),
    ],
)
def test_imports_are_found_wherever_they_stand(root: Path, cell: str, expected: list[str]) -> None:
    assert found(root, cell) == expected


INNER = [
    "kit/__init__.py",
    "kit/inner/__init__.py",
    "kit/inner/first.py",
    "kit/inner/second.py",
    "kit/inner/table.csv",
    "kit/lazy.py",
    "kit/plain.py",
]


def test_a_package_within_a_package_counts_as_a_whole_with_the_files_beside_its_modules(root: Path) -> None:
    assert found(root, "import kit.inner.second") == INNER


def test_relative_imports_are_seen_from_their_package(root: Path) -> None:
    assert found(root, "import kit.relative") == [*INNER, "kit/relative.py"]


def test_a_star_may_mean_any_module_of_the_package(root: Path) -> None:
    assert "kit/unused.py" in found(root, "from kit import *")


def test_a_module_that_a_parameter_names_counts(root: Path) -> None:
    assert found(root, "", values=[{"estimator": ["kit.plain.Model"]}, 3]) == [
        "kit/__init__.py",
        "kit/plain.py",
    ]


def test_of_the_platforms_the_one_in_use_counts_with_all_its_files_where_any_is_imported(root: Path) -> None:
    assert found(root, "from utils import platforms") == [
        "helper.py",
        "utils/__init__.py",
        "utils/platforms/__init__.py",
        "utils/platforms/here/__init__.py",
        "utils/platforms/here/files/image.txt",
    ]
    assert found(root, "import utils") == ["utils/__init__.py"]


@pytest.mark.parametrize("cell", ["%run kit/plain.py", "!python helper.py", "def"])
def test_code_that_is_not_plain_python_may_come_from_anywhere(root: Path, cell: str) -> None:
    everything = found(root, cell)
    assert {"helper.py", "unused.py", "kit/unused.py", "utils/platforms/there/__init__.py"} <= set(everything)


def test_a_change_of_a_file_changes_its_digest_alone(root: Path) -> None:
    before = modules.closure(["import kit.plain"], root, platform="here", values=[])
    files.write_text(root / "kit" / "plain.py", "x = 1\n")
    now = modules.closure(["import kit.plain"], root, platform="here", values=[])
    assert [name for name in now if now[name] != before[name]] == ["kit/plain.py"]


def test_a_changed_import_is_followed(root: Path) -> None:
    assert "unused.py" not in found(root, "import helper")
    files.write_text(root / "helper.py", "import unused\n")
    assert "unused.py" in found(root, "import helper")


def code_of(notebook: str) -> list[str]:
    content = files.read_json(project.root() / "notebooks" / f"{notebook}.ipynb")
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def test_in_this_project_a_package_depends_on_the_files_that_it_copies_into_it() -> None:
    found = modules.closure(code_of("05_package"), project.root(), platform="local", values=[])
    assert {
        "utils/scoring/entry.py",
        "utils/scoring/trust.py",
        "utils/scoring/shims/score.py",
        "utils/scoring/shims/serve.py",
    } <= found.keys()


def test_in_this_project_setup_does_not_depend_on_how_models_are_judged() -> None:
    found = modules.closure(code_of("01_setup"), project.root(), platform="local", values=[])
    assert "utils/splits.py" in found
    assert not {"utils/releases.py", "utils/approvals.py"} & found.keys()
