"""The floor: the cells of the lifecycle's notebooks, executed one after the other in one plain process.

    python tests/benchmarks/plain.py <run folder> 01_setup 02_train …

It has no kernel, no runner and no reports; nothing but the cells' own work and the imports that it takes.
A cell that ends in an expression has its value formatted by IPython's own formatter: figures are drawn,
tables become HTML, as the notebooks' readers need them.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def main(folder: str, notebooks: list[str]) -> None:
    """Execute the notebooks' code cells in a namespace for each notebook."""
    sys.path.insert(0, str(ROOT))
    import matplotlib as mpl

    mpl.use("agg")
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import select_figure_formats

    shell: Any = InteractiveShell.instance()
    select_figure_formats(shell, {"png"})  # type: ignore[no-untyped-call]
    show = shell.display_formatter.format
    for notebook in notebooks:
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for cell in json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]:
            if cell["cell_type"] != "code":
                continue
            run("".join(cell["source"]), namespace, show)
            if "parameters" in cell["metadata"].get("tags", []):
                namespace["run_dir"] = folder


def run(source: str, namespace: dict[str, Any], show: Any) -> None:
    """Execute a cell; format the value of an expression at its end."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    exec(compile(tree, "<cell>", "exec"), namespace)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
        if value is not None:
            show(value)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
