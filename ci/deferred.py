"""Modules whose import takes long and whose use is rare: imported when they are used."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

# jsonschema, which nbformat needs, imports this where it is installed, as it is with JupyterLab, to check
# internationalized addresses. No notebook's schema has any; to compile its grammar takes most of a second.
GRAMMAR = ("rfc3987_syntax", "is_valid_syntax")


class Deferred(ModuleType):
    """Stands in for a module until something of it is used, then gives way to it.

    Parameters
    ----------
    name : str
        Of the module.
    *functions : str
        Of its functions that others import by name; called, they import it.
    """

    def __init__(self, name: str, *functions: str) -> None:
        super().__init__(name)
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        self.__spec__, self.__file__ = spec, spec.origin
        self.__path__ = list(spec.submodule_search_locations or [])
        self.__names = _names(Path(spec.origin or ""))
        for function in functions:
            setattr(self, function, self._calling(function))

    def _calling(self, function: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            return getattr(self._load(), function)(*args, **options)

        return call

    def _load(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        # Some ask every module for a name to find where something is from: pickle, skops, unittest.
        if name.startswith("__") or (self.__names is not None and name not in self.__names):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self._load(), name)


def _names(source: Path) -> set[str] | None:
    """Return the names that a module binds at its top, without importing it; None if that can't be told."""
    try:
        body = ast.parse(source.read_bytes()).body
    except (OSError, SyntaxError):
        return None
    names: set[str] = set()
    for statement in body:
        match statement:
            case ast.ImportFrom(module=str(module), level=1, names=[ast.alias(name="*")]):
                there = _names(source.parent / f"{module}.py")
                if there is None:
                    return None
                names |= there
            case ast.Import(names=imported) | ast.ImportFrom(names=imported):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in imported}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets) if all(isinstance(target, ast.Name) for target in targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Expr():
                continue
            case _:
                return None
    return None if names & {"*", "__getattr__"} else names


def defer(name: str, *functions: str) -> None:
    """Let a module be imported when it is used, unless it has been or isn't there."""
    if name not in sys.modules and importlib.util.find_spec(name) is not None:
        sys.modules[name] = Deferred(name, *functions)
