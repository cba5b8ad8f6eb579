"""The project's own files that a notebook's code comes from, found without running anything."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ci.reuse import digests

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_QUOTED = re.compile(rf"""(["'])({_DOTTED.pattern})\1""")
_PLATFORMS = "utils.platforms"


def closure(cells: Iterable[str], root: Path, *, platform: str, values: Iterable[Any]) -> dict[str, str]:
    """Digest every file of the project that code imports, and what that imports in turn.

    Imports anywhere in the code count, and so do names of modules in its strings. A package below a top-level
    package counts as a whole, with the files beside its modules: some are read rather than imported.

    Parameters
    ----------
    cells : iterable of str
        The code. If one of them is not plain Python, all packages of the project count.
    root : Path
        The project's folder.
    platform : str
        Platforms are imported by name: where the code imports any, this one's folder counts.
    values : iterable
        The notebook's parameters. Such as an estimator's import path, they may name modules.

    Returns
    -------
    dict
        The SHA-256 of each file by its path relative to `root`, in order.
    """
    found = _Closure(root)
    try:
        for cell in cells:
            found.names(_imported(cell))
    except (SyntaxError, ValueError):
        found.everything()
    found.names((name, False) for name in _named(values))
    if root.joinpath(*_PLATFORMS.split("."), "__init__.py") in found.files:
        found.folder(root.joinpath(*_PLATFORMS.split("."), platform), deep=True)
    return {path.relative_to(root).as_posix(): digests.of(path) for path in sorted(found.files)}


class _Closure:
    """Files found so far; each is looked into once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ours = {path.stem for path in (*root.glob("*.py"), *(p.parent for p in root.glob("*/*.py")))}
        self._folders: set[tuple[Path, bool]] = set()
        self.files: set[Path] = set()

    def names(self, imported: Iterable[tuple[str, bool]], package: Path | None = None) -> None:
        """Add modules by their names; those after leading dots are seen from a package."""
        for dotted, everything in imported:
            name = dotted.lstrip(".")
            folder = self._root
            if package is not None and (dots := len(dotted) - len(name)):
                folder = [package, *package.parents][dots - 1]
            elif name.partition(".")[0] not in self._ours:
                continue
            for part in name.split(".") if name else []:
                self._file(folder / f"{part}.py")
                folder = folder / part
                self._file(folder / "__init__.py")
                if not folder.is_dir():
                    break
            if everything and folder.is_dir():
                self.folder(folder)

    def folder(self, folder: Path, *, deep: bool = False) -> None:
        """Add all files of a folder, and of those below it."""
        if (folder, deep) in self._folders:
            return
        self._folders.add((folder, deep))
        for path in folder.rglob("*") if deep else folder.glob("*"):
            if "__pycache__" not in path.parts and not path.name.startswith("."):
                self._file(path)

    def everything(self) -> None:
        """Add all that could be imported."""
        for path in self._root.glob("*.py"):
            self._file(path)
        for path in self._root.glob("*/__init__.py"):
            self.folder(path.parent, deep=True)

    def _file(self, path: Path) -> None:
        if path in self.files or not path.is_file():
            return
        self.files.add(path)
        if path.suffix == ".py":
            self.names(_imports(path, digests.stamp(path)), path.parent)
        if len(path.relative_to(self._root).parts) > 2:
            self.folder(path.parent)


@functools.cache
def _imports(path: Path, stamp: digests.Stamp) -> tuple[tuple[str, bool], ...]:  # noqa: ARG001 - part of the cache's key
    try:
        return tuple(_imported(path.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError):
        return ()  # to import it will fail


def _imported(code: str) -> Iterator[tuple[str, bool]]:
    """Yield what may be modules: with leading dots where relative, and whether all of it is imported (*)."""
    for node in _statements(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            joint = "." if node.module else ""
            for alias in node.names:
                yield (base, True) if alias.name == "*" else (f"{base}{joint}{alias.name}", False)
    yield from ((name, False) for _, name in _QUOTED.findall(code))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements, also those inside of others: imports are nowhere else."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for inner in ("body", "orelse", "finalbody", "handlers", "cases"):
            pending.extend(getattr(node, inner, ()))


def _named(values: Iterable[Any]) -> Iterator[str]:
    """Yield the strings in some values that could be names of modules or of something in one."""
    for value in values:
        if isinstance(value, str):
            if _DOTTED.fullmatch(value):
                yield value
        elif isinstance(value, Mapping):
            yield from _named([*value.keys(), *value.values()])
        elif isinstance(value, list | tuple):
            yield from _named(value)
