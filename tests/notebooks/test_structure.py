"""Each notebook is thin, in order, and what pipeline.yml says of it; found out without running any."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from ci import declarations
from utils import project
from utils.decisions import Evidence, Policy
from utils.evaluation import Evaluation

NOTEBOOKS = sorted((project.root() / "notebooks").glob("*.ipynb"))
PIPELINE = yaml.safe_load((project.root() / "parameters" / "pipeline.yml").read_text())
ALLOWED = {"utils", "pandas", "scrapbook"} | set(sys.stdlib_module_names)
FACTS = {"setup": 1, "train": 2, "evaluate": 3, "register": 4, "package": 5, "deploy": 6, "test": 7}


class Notebook:
    """A notebook's cells, its code as one tree, and its parameters."""

    def __init__(self, name: str) -> None:
        self.path = project.root() / "notebooks" / f"{name}.ipynb"
        self.text = self.path.read_text()
        self.cells = nbformat.read(self.path, as_version=4).cells
        self.code = [cell for cell in self.cells if cell.cell_type == "code"]
        self.tree = ast.parse("\n".join(cell.source for cell in self.code))


@pytest.fixture(params=[path.stem for path in NOTEBOOKS])
def notebook(request: pytest.FixtureRequest) -> Notebook:
    return Notebook(request.param)


def test_each_is_for_the_kernel_that_there_is_everywhere(notebook: Notebook) -> None:
    # JupyterLab writes the name of the kernel that was chosen last.
    assert nbformat.read(notebook.path, as_version=4).metadata.kernelspec.name == "python3"


def test_there_are_seven_in_the_order_in_which_they_run() -> None:
    assert [path.stem for path in NOTEBOOKS] == [f"{place:02d}_{name}" for name, place in FACTS.items()]


def test_every_notebook_is_a_step_and_every_step_a_notebook() -> None:
    assert {step["notebook"] for step in PIPELINE["steps"].values()} == {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize(
    "path", sorted((project.root() / "parameters").glob("*.yml")), ids=lambda path: str(path.stem)
)
def test_a_scenarios_file_tells_stock_papermill_the_scenarios_name(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    if "data" in content:  # the others are the pipeline and the platforms
        assert content["scenario"] == path.stem


def test_it_begins_by_saying_what_it_does_takes_and_gives(notebook: Notebook) -> None:
    first, number = notebook.cells[0], int(notebook.path.stem[:2])
    assert first.cell_type == "markdown"
    assert re.match(rf"# {number} · \w+\n\n\w", first.source)
    for word in ("takes", "does", "gives"):
        assert re.search(rf"\| \*\*{word}\*\* \| \S.+ \|", first.source), word


def test_its_parameters_are_annotated_literals_each_with_a_comment(notebook: Notebook) -> None:
    declared = declarations.declared(notebook.path)
    assert {"scenario", "platform", "run_dir"} <= set(declared)
    assert "parameters" in notebook.cells[1].metadata.get("tags", [])


def test_parameters_of_the_same_name_mean_the_same_in_all_notebooks() -> None:
    found: dict[str, tuple[Any, ...]] = {}
    for path in NOTEBOOKS:
        for name, declaration in declarations.declared(path).items():
            # Whose digest it is, or what an empty value stands for, depends on the notebook.
            about = (declaration.annotation, declaration.default)
            assert found.setdefault(name, about) == about, f"{path.stem}: {name}"


def test_it_is_committed_without_outputs(notebook: Notebook) -> None:
    for cell in notebook.code:
        assert cell.outputs == []
        assert cell.execution_count is None


def test_it_imports_utils_pandas_and_scrapbook_alone(notebook: Notebook) -> None:
    imported = set()
    for node in ast.walk(notebook.tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported <= ALLOWED


def test_it_defines_nothing_that_belongs_into_utils(notebook: Notebook) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in ast.walk(notebook.tree) if isinstance(node, kinds)]


def test_it_holds_no_absolute_path_and_no_secret(notebook: Notebook) -> None:
    strings = [node.value for node in ast.walk(notebook.tree) if isinstance(node, ast.Constant)]
    assert not [text for text in strings if isinstance(text, str) and re.match(r"[/~\\]|[A-Za-z]:\\", text)]
    assert not re.search(
        r"(?i)(password|passwd|secret|token|api_?key|credential)s?\\?[\"']?\s*[=:]", notebook.text
    )
    assert str(project.root()) not in notebook.text


def test_it_has_a_plot_or_a_table_and_every_plot_says_what_it_shows(notebook: Notebook) -> None:
    assert re.search(r"\b(tables|plots)\.", "\n".join(cell.source for cell in notebook.code))
    for cell in notebook.code:
        drawn = [
            node.func.attr
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "plots"
        ]
        if set(drawn) - {"save"}:
            assert len(cell.metadata.get("alt", "")) > 20, cell.source


def test_every_code_cell_with_something_to_see_stands_below_text(notebook: Notebook) -> None:
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert kinds.count("markdown") >= 3


def test_it_ends_by_gluing_what_the_pipeline_declares_of_it(notebook: Notebook) -> None:
    steps = [step for step in PIPELINE["steps"].values() if step["notebook"] == notebook.path.stem]
    glued = list(_glued(notebook.tree))
    assert len(glued) == len(set(glued))
    for step in steps:
        assert set(glued) == set(step["gives"])
    assert "sb.glue(" in notebook.code[-1].source


def _glued(tree: ast.Module) -> Iterator[str]:
    """Name the scraps that a notebook glues: one by one, or in a loop over names or over a record's items."""
    records = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for statement in tree.body:
        for node in ast.walk(statement):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "sb.glue"):
                continue
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value)
            elif isinstance(statement, ast.For) and isinstance(statement.iter, ast.Tuple):
                yield from ast.literal_eval(statement.iter)
            else:
                assert isinstance(statement, ast.For)
                record = records[ast.unparse(statement.iter).removesuffix(".items()")]
                if isinstance(record, ast.Dict):
                    yield from (ast.literal_eval(key) for key in record.keys if key)
                else:
                    assert ast.unparse(record) == "evaluation.record()"
                    yield from _evaluation_record()


def _evaluation_record() -> list[str]:
    evidence = Evidence(
        policy=Policy(metric="r2"), rows=0, challenger={}, opponent="", opponent_metrics={}, difference=None
    )
    return list(Evaluation("blocked", "nothing was judged", evidence).record())
