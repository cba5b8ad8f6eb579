"""Which types a model file may hold: those that can't run code while the file is read.

A skops file names the types that it wants built, and skops builds those it is told to trust, some of
them by calling them with arguments from the file. So a whole package must never be trusted by its
name alone: ``sklearn.datasets`` can read and fetch files, and many modules hold functions of others.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import skops.io
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

# Beside what skops trusts by itself (scikit-learn's public estimators, NumPy's arrays and ufuncs):
# plain holders of fitted numbers. Trees can be read out of bounds when their node indices were forged,
# which `check_trees` rules out. Search trees (KDTree, BallTree) can be too, but can't be checked: they
# are left out.
TYPES = frozenset(
    {
        "numpy.dtype",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.ExpSineSquared",
        "sklearn.gaussian_process.kernels.Exponentiation",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
    }
)


class TrustError(RuntimeError):
    """A file or a setting asks for more trust than is given; the message says what for."""


def check_prefixes(prefixes: Iterable[str]) -> None:
    """Refuse import paths that can't be trusted as a whole.

    Parameters
    ----------
    prefixes : iterable of str
        Import paths of packages or types, such as "lightgbm".

    Raises
    ------
    TrustError
        If one is no import path, or is part of Python itself, whose types can do anything.
    """
    for prefix in prefixes:
        if not isinstance(prefix, str) or not all(part.isidentifier() for part in prefix.split(".")):
            raise TrustError(f"trusted names {prefix!r}, which is no import path: name a package.")
        if prefix.split(".")[0] in sys.stdlib_module_names:
            raise TrustError(f"trusted names {prefix!r}, a part of Python that can run anything: remove it.")


def below(path: str, prefixes: Sequence[str]) -> bool:
    """Tell whether an import path is one of the prefixes or inside it."""
    return any(path == prefix or path.startswith(prefix + ".") for prefix in prefixes)


def check_types(data: bytes, prefixes: Sequence[str] = ()) -> list[str]:
    """Find out which types a model file needs and whether each may be built.

    Parameters
    ----------
    data : bytes
        The skops file.
    prefixes : sequence of str
        Packages (or types) that the scenario trusts beside `TYPES`; of these, classes that
        the package itself defines.

    Returns
    -------
    list of str
        The types to be trusted on loading, beside those that skops trusts by itself.

    Raises
    ------
    TrustError
        Naming each type that may not be built.

    References
    ----------
    skops, "Secure persistence with skops", https://skops.readthedocs.io/en/stable/persistence.html
    """
    check_prefixes(prefixes)
    needed: list[str] = skops.io.get_untrusted_types(data=data)
    refused = [name for name in needed if name not in TYPES and not _is_class_of(name, prefixes)]
    if refused:
        raise TrustError(
            f"it holds types that aren't trusted ({', '.join(refused)}): "
            "if their package is yours to trust, name it in the parameter trusted."
        )
    return needed


def _is_class_of(name: str, prefixes: Sequence[str]) -> bool:
    if not below(name, prefixes):
        return False
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    # A package's modules also hold what they imported from elsewhere, such as os or subprocess.
    return isinstance(found, type) and found.__module__.split(".")[0] == name.split(".")[0]


def check_trees(model: object) -> None:
    """Refuse decision trees whose nodes point outside of them.

    scikit-learn follows a tree's node indices without looking whether they are inside it, so that
    forged ones would read foreign memory in predict.

    Raises
    ------
    TrustError
        If a tree has a child or a feature that doesn't exist, or a loop.
    """
    features = int(getattr(model, "n_features_in_", np.iinfo(np.int32).max))
    for part in _parts(model, set()):
        if isinstance(part, Tree):
            state = part.__getstate__()
            nodes, leaf = state["nodes"], state["nodes"]["left_child"] == -1
            _check_nodes(nodes["left_child"], nodes["right_child"], nodes["feature"], leaf, part.n_features)
            if len(state["values"]) != len(nodes):
                raise TrustError("it holds a damaged decision tree: train the model again.")
        elif isinstance(part, TreePredictor):
            nodes, leaf = part.nodes, part.nodes["is_leaf"] != 0
            _check_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, max(features, 1))
            categorical = nodes["bitset_idx"][(nodes["is_categorical"] != 0) & ~leaf]
            if (categorical >= len(part.raw_left_cat_bitsets)).any():
                raise TrustError("it holds a damaged decision tree: train the model again.")


def _check_nodes(left: Any, right: Any, feature: Any, leaf: Any, features: int) -> None:
    inner = np.flatnonzero(~leaf)
    # Both of scikit-learn's growers number a child after its parent: an index that isn't larger is a loop.
    sound = all(
        bool(((child[inner].astype(np.int64) > inner) & (child[inner] < len(leaf))).all())
        for child in (left, right)
    )
    if not len(leaf) or not sound or not ((feature[inner] >= 0) & (feature[inner] < features)).all():
        raise TrustError("it holds a damaged decision tree: train the model again.")


def _parts(thing: object, seen: set[int]) -> Iterator[object]:
    """Walk everything that an estimator holds, each object once."""
    pending = [thing]
    while pending:
        part = pending.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float | type | None):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, list | tuple | set):
            pending.extend(part)
        elif isinstance(part, np.ndarray):
            pending.extend(part.ravel().tolist() if part.dtype == object else [])
        else:
            pending.extend(vars(part).values() if hasattr(part, "__dict__") else [])
