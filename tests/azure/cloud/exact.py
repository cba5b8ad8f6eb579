"""Requests and answers held to the SDK's own generated models: nothing may be missing, and nothing be added.

The models are msrest's: `_attribute_map` tells for each attribute its key in JSON and its type, and
`_validation` whether it is required.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from msrest import Deserializer


class NotExactError(ValueError):
    """A request or an answer isn't what the SDK's model says; the message says where."""


def make(model: type, **values: Any) -> Any:
    """Return an instance of a model; unlike its own constructor, refuse what the model doesn't have."""
    unknown = values.keys() - _attributes(model).keys()
    if unknown:
        raise NotExactError(f"{model.__name__} has no {', '.join(sorted(unknown))}")
    return model(**values)


def parse(model: type, data: Any) -> Any:
    """Read JSON as a model.

    Raises
    ------
    NotExactError
        If it has what the model doesn't, or lacks what is required.
    """
    _check(model.__name__, data, _classes(model), model.__name__)
    return Deserializer(_classes(model))(model.__name__, data)


def render(instance: Any) -> Any:
    """Return what a model's instance, or a list of them, is as JSON; values that are None are left out.

    Raises
    ------
    NotExactError
        If something required isn't there.
    """
    if isinstance(instance, list | tuple):
        return [render(each) for each in instance]
    if isinstance(instance, dict):
        return {name: render(value) for name, value in instance.items()}
    if not hasattr(instance, "_attribute_map"):
        return instance
    try:
        data = instance.serialize(keep_readonly=True)
    except Exception as error:
        raise NotExactError(f"{type(instance).__name__}: {error}") from error
    _check(type(instance).__name__, data, _classes(type(instance)), type(instance).__name__)
    return data


def _classes(model: type) -> dict[str, Any]:
    """Return the models beside this one, by name."""
    package = sys.modules[model.__module__.rpartition(".")[0]]
    home = package if hasattr(package, model.__name__) else sys.modules[model.__module__]
    return {name: value for name, value in vars(home).items() if isinstance(value, type)}


def _attributes(model: type) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for each in reversed(model.__mro__):
        found |= vars(each).get("_attribute_map", {})
    return found


def _check(kind: str, data: Any, classes: dict[str, Any], where: str) -> None:
    """Compare data with a type of msrest's: a model's name, [type], {type} or a plain one."""
    if data is None:
        return
    if kind.startswith("["):
        for number, each in enumerate(_of(list, data, where)):
            _check(kind[1:-1], each, classes, f"{where}[{number}]")
    elif kind.startswith("{"):
        for name, each in _of(dict, data, where).items():
            _check(kind[1:-1], each, classes, f"{where}.{name}")
    elif hasattr(classes.get(kind), "_attribute_map"):
        _check_model(_subtype(classes[kind], _of(dict, data, where), classes), data, classes, where)


def _of(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, kind):
        raise NotExactError(f"{where}: {kind.__name__} expected, got {type(data).__name__}")
    return data


def _subtype(model: type, data: dict[str, Any], classes: dict[str, Any]) -> type:
    """Return the model that a discriminator in the data names."""
    # Its own alone: a subtype inherits the map, and would name itself for ever.
    for attribute, kinds in vars(model).get("_subtype_map", {}).items():
        key = _attributes(model)[attribute]["key"]
        named = kinds.get(data.get(key))
        if named and classes[named] is not model:  # which inherits the map
            return _subtype(classes[named], data, classes)
    return model


def _check_model(model: type, data: dict[str, Any], classes: dict[str, Any], where: str) -> None:
    validation: dict[str, dict[str, Any]] = {}
    for each in reversed(model.__mro__):
        validation |= vars(each).get("_validation", {})
    known: set[tuple[str, ...]] = set()
    for attribute, declared in _attributes(model).items():
        path = tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", declared["key"]))
        known.add(path)
        found: Any = data
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        if (
            found is None
            and validation.get(attribute, {}).get("required")
            and not _is_constant(model, attribute)
        ):
            raise NotExactError(f"{where}: {'.'.join(path)} is missing")
        _check(declared["type"], found, classes, f"{where}.{'.'.join(path)}")
    if () not in known and not any(path[0] == "" for path in known):
        _check_known(data, known, where)


def _is_constant(model: type, attribute: str) -> bool:
    return bool(getattr(model, "_validation", {}).get(attribute, {}).get("constant"))


def _check_known(data: dict[str, Any], known: set[tuple[str, ...]], where: str) -> None:
    for key, value in data.items():
        if (key,) in known:
            continue
        below = {path[1:] for path in known if path[0] == key and len(path) > 1}
        if not below:
            raise NotExactError(f"{where} has no {key}")
        if isinstance(value, dict):
            _check_known(value, below, f"{where}.{key}")
