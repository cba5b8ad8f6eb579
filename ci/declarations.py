"""What a notebook declares in its parameters cell: names, types, defaults."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError

from utils import files

_PLAIN: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": FiniteFloat,
    "bool": bool,
    "list": list,
    "dict": dict,
}


class ParameterError(ValueError):
    """One or more parameters are wrong; the message has a line for each."""


@dataclass(frozen=True)
class Declaration:
    """A parameter as a notebook's parameters cell declares it.

    Attributes
    ----------
    name : str
        Such as "alpha".
    annotation : str
        Such as "float" or "list[str]".
    default : object
        The literal's value.
    help : str
        The trailing comment.
    """

    name: str
    annotation: str
    default: Any
    help: str

    def check(self, value: Any) -> Any:
        """Return `value`, as the annotated type.

        An int is taken where a float is expected; nothing else is converted.

        Raises
        ------
        ValueError
            If the value is of another type, or is NaN or infinite.
        """
        adapter = TypeAdapter(_type(self.annotation), config=ConfigDict(strict=True))
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            raise ValueError(f"expected {self.annotation}: {error.errors()[0]['msg']}") from None


def declared(notebook: Path) -> dict[str, Declaration]:
    """Read what a notebook declares in its cell tagged `parameters`.

    Returns
    -------
    dict
        By name, in the order of the cell.

    Raises
    ------
    ParameterError
        If the notebook can't be read, has not just one such cell, or the cell
        holds anything but annotated literals with a trailing comment.
    """
    # Read as plain JSON: to import nbformat takes two seconds, which every command would pay.
    try:
        cells = [
            "".join(cell["source"])
            for cell in files.read_json(notebook)["cells"]
            if "parameters" in cell["metadata"].get("tags", [])
        ]
    except FileNotFoundError:
        raise ParameterError(f"There is no notebook {notebook}.") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ParameterError(f"{notebook} can't be read as a notebook: {error}") from error
    if len(cells) != 1:
        raise ParameterError(f"{notebook.name} must have one cell tagged 'parameters'; it has {len(cells)}.")
    return _declarations(cells[0], notebook.name)


def _declarations(source: str, where: str) -> dict[str, Declaration]:
    try:
        statements = ast.parse(source).body
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
    except (SyntaxError, tokenize.TokenError) as error:
        raise ParameterError(f"{where}: the parameters cell isn't Python: {error}") from error
    found: dict[str, Declaration] = {}
    for statement in statements:
        line = f"{where}, parameters cell, line {statement.lineno}"
        if not (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value
        ):
            raise ParameterError(f"{line}: expected 'name: type = literal  # what it is'.")
        name, comment = statement.target.id, comments.get(statement.end_lineno or statement.lineno, "")
        if not comment:
            raise ParameterError(f"{line}: {name} needs a trailing comment that says what it is.")
        if name in found:
            raise ParameterError(f"{line}: {name} is declared twice.")
        try:
            declaration = Declaration(
                name, ast.unparse(statement.annotation), ast.literal_eval(statement.value), comment
            )
            declaration.check(declaration.default)
        except ValueError as error:
            raise ParameterError(
                f"{line}: the default of {name} is not a literal of its type: {error}"
            ) from error
        found[name] = declaration
    return found


def _type(annotation: str) -> Any:
    """Build the type that an annotation names: str, int, float, bool, list[...] or dict[..., ...]."""

    def build(node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in _PLAIN:
            return _PLAIN[node.id]
        if isinstance(node, ast.Name) and node.id == "object":
            return Any
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("list", "dict")
        ):
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return _PLAIN[node.value.id][tuple(build(part) for part in inner)]
        raise ValueError(f"{annotation} is not one of str, int, float, bool, list[...] and dict[..., ...]")

    return build(ast.parse(annotation, mode="eval").body)
