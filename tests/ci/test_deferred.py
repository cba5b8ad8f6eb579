"""A deferred module is the module itself as soon as anything of it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ci import deferred

SHAPES = "print('imported')\nsides: int = 4\ndef area(a, b=1): return a * b\nfrom .parts import *\n"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder with a package that says when it is imported."""
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "__init__.py").write_text(SHAPES)
    (tmp_path / "shapes" / "parts.py").write_text("edges = 4")
    return tmp_path


def said(folder: Path, *lines: str) -> list[str]:
    """Run lines in a process that can import from a folder and has deferred `shapes`."""
    code = "\n".join(["from ci.deferred import defer; defer('shapes', 'area')", *lines])
    root = Path(deferred.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{folder}:{root}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_to_import_it_imports_nothing(shapes: Path) -> None:
    looked_at = "import shapes, inspect; from shapes import area; inspect.getmodule(said := print)"
    assert said(shapes, looked_at, "print(shapes.__file__)") == [str(shapes / "shapes" / "__init__.py")]


@pytest.mark.parametrize(
    ("use", "answer"),
    [
        ("from shapes import area; print(area(2, b=3))", "6"),
        ("import shapes; print(shapes.sides)", "4"),
        ("from shapes import sides; print(sides)", "4"),
    ],
)
def test_to_use_it_imports_it_once(shapes: Path, use: str, answer: str) -> None:
    again = "import shapes; print(type(shapes).__name__, shapes.sides)"
    assert said(shapes, use, again) == ["imported", answer, "module 4"]


def test_its_submodules_are_found(shapes: Path) -> None:
    assert said(shapes, "import shapes.parts; print(shapes.parts.edges)")[-1] == "4"


def test_to_ask_it_for_what_it_has_not_imports_nothing(shapes: Path) -> None:
    assert said(shapes, "import shapes", "print(hasattr(shapes, 'corners'))") == ["False"]


@pytest.mark.parametrize(
    "more", ["from os.path import *", "def __getattr__(name): return name", "if 1: x = 1"]
)
def test_whose_names_cannot_be_told_is_imported_when_it_is_asked(shapes: Path, more: str) -> None:
    (shapes / "shapes" / "__init__.py").write_text(f"{SHAPES}{more}")
    found = said(shapes, "import shapes", "print(hasattr(shapes, 'corners'))")
    assert found == ["imported", str("__getattr__" in more)]


def test_a_module_that_is_not_installed_stays_missing() -> None:
    deferred.defer("no_such_module")
    assert "no_such_module" not in sys.modules


def test_json_schemas_are_checked_for_addresses_as_ever() -> None:
    import jsonschema  # type: ignore[import-untyped] # it has none

    checker = jsonschema.Draft7Validator.FORMAT_CHECKER
    assert checker.conforms("https://ä.example/ö", "iri")
    assert not checker.conforms("not an address", "iri")
