"""Texts that people write: YAML files and words of a command line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ci.declarations import ParameterError
from utils import platforms


class _Loader(yaml.SafeLoader):
    """YAML whose numbers are those of YAML 1.2, so that `1e-3` is a number, and no key is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:float"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def read_yaml(text: str) -> Any:
    """Read YAML safely, with YAML 1.2's numbers, refusing a key that is given twice.

    Raises
    ------
    yaml.YAMLError
        If it isn't YAML; the message has the line.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader


def read_literal(text: str) -> Any:
    """Read a command line's word as YAML; what isn't YAML is a plain string."""
    try:
        return read_yaml(text)
    except yaml.YAMLError:
        return text


def read_file(path: Path) -> dict[str, Any]:
    """Read a flat file of parameters.

    Raises
    ------
    ParameterError
        If the file isn't there, isn't YAML, or isn't a mapping from names to values.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = sorted(
            other.stem
            for other in path.parent.glob("*.yml")
            if other.stem not in ("pipeline", *platforms.NAMES)
        )
        raise ParameterError(
            f"There is no file {path}; beside it are: {', '.join(near) or 'none'}."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ParameterError(f"{path} can't be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ParameterError(f"{path} must be a mapping from parameter names to values.")
    return content


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known name nearest to `name`, or "."."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "."
