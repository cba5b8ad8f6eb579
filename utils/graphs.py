"""Graphs: a fitted pipeline as ONNX, from the raw columns to the prediction.

A graph has at most two inputs, one row each for a row of data: ``numbers``, double [rows, k], the columns
of numbers, integers and booleans in the schema's order, NaN where missing and booleans 1.0 or 0.0; and
``texts``, string [rows, m], the columns of strings in the schema's order, "" where missing. An input
without columns is left out. Its one output is the prediction, [rows]: numbers, or classes of the schema.

References
----------
ONNX operators, https://onnx.ai/onnx/operators/; sklearn-onnx, https://onnx.ai/sklearn-onnx/
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.algebra.onnx_ops import OnnxIsNaN, OnnxWhere
from skl2onnx.common._registration import get_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from skl2onnx.operator_converters.random_forest import (
    convert_sklearn_random_forest_classifier,
    convert_sklearn_random_forest_regressor_converter,
)
from skl2onnx.sklapi import CastTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from utils.inference import NUMBERS, PREDICTION, TEXTS, split

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

# What a tree's numbers are called; as tensors they may be doubles (ai.onnx.ml, version 3).
_TREE_NUMBERS = ("nodes_values", "nodes_hitrates", "base_values", "target_weights", "class_weights")


class GraphError(ValueError):
    """A graph that is refused; the message says what is wrong with it."""


def build(model: Pipeline, schema: Mapping[str, Any], *, single: bool) -> bytes:
    """Write a fitted pipeline of `utils.models.build` as a graph. The same model gives the same bytes.

    Parameters
    ----------
    single : bool
        Whether the estimator reckons in single precision, as scikit-learn's trees do. The steps before
        it always reckon in double precision, as scikit-learn's do.

    Raises
    ------
    GraphError
        If the graph is not what `check` allows.
    Exception
        Whatever skl2onnx raises where it can't convert.
    """
    numbers, texts = split(schema)
    place = {name: number for number, name in enumerate([*numbers, *texts])}
    prepared = copy.copy(model["columns"])
    # skl2onnx counts columns through both inputs; the fitted names would have to be inputs of their own.
    prepared.transformers_ = [
        (group, step, [place[name] for name in names]) for group, step, names in prepared.transformers_
    ]
    # What is encoded is in single precision, until it stands beside numbers.
    cast = [("cast", CastTransformer(dtype=np.float32 if single else np.float64))]
    if numbers and not single:
        cast = []
    inputs = []
    if numbers:
        inputs.append((NUMBERS, DoubleTensorType([None, len(numbers)])))
    if texts:
        inputs.append((TEXTS, StringTensorType([None, len(texts)])))
    converted = convert_sklearn(
        Pipeline([("columns", prepared), *cast, ("estimator", model[-1])]),
        name="model",
        initial_types=inputs,
        # Scores are all that these have: without this, skl2onnx looks for their probabilities.
        options={kind: {"raw_scores": True} for kind in (RidgeClassifier, RidgeClassifierCV, LinearSVC)},
        custom_conversion_functions=dict(_CONVERTERS),
        custom_shape_calculators=dict(_SHAPES),
    )
    content: bytes = _finished(converted, schema).SerializeToString(deterministic=True)
    check(content)
    return content


def check(content: bytes) -> None:
    """Refuse a graph that isn't whole in itself, or asks for operators that are not ONNX's own.

    ONNX Runtime reads external data from the folder that a process works in, also for a model that was
    given to it as bytes; see `utils.inference.session` for what a service does, which lacks this module.

    Raises
    ------
    GraphError
        If it can't be read, holds external data, functions or operators of another domain, or breaks
        a rule of ONNX.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own, of several kinds
        raise GraphError("it can't be read as ONNX") from error
    if model.functions or model.training_info:
        raise GraphError("it holds functions or training steps")
    domains = {entry.domain for entry in model.opset_import}
    for graph in _graphs(model.graph):
        domains |= {node.domain for node in graph.node}
        tensors = [*graph.initializer]
        tensors += [part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)]
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            tensors += [attribute.t, *attribute.tensors]
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                tensors += [sparse.values, sparse.indices]
        if any(tensor.external_data or tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
            raise GraphError("it refers to data outside of its file")
    if foreign := sorted(domains - set(DOMAINS)):
        raise GraphError(f"it needs operators of {', '.join(foreign)}, which are not ONNX's own")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise GraphError(f"it breaks a rule of ONNX: {error}") from error


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all that are within its nodes, such as the body of a loop."""
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for inner in (*attribute.graphs, *([attribute.g] if attribute.type == AttributeProto.GRAPH else [])):
            yield from _graphs(inner)


# ------------------------------------------------------------------ the prediction, and it alone


def _finished(converted: ModelProto, schema: Mapping[str, Any]) -> ModelProto:
    """Keep what the prediction needs, give it the schema's type, and one dimension."""
    found = converted.graph.output[0]
    model: ModelProto = select_model_inputs_outputs(converted, [found.name])
    graph, last = model.graph, found.name
    kind = _kind(schema["output"].get("classes"))
    if kind != TensorProto.STRING:  # which no other type is ever made of
        graph.node.append(
            helper.make_node("Cast", [last], ["prediction_cast"], name="prediction_cast", to=kind)
        )
        last = "prediction_cast"
    graph.initializer.append(helper.make_tensor("prediction_shape", TensorProto.INT64, [1], [-1]))
    graph.node.append(helper.make_node("Reshape", [last, "prediction_shape"], [PREDICTION], name=PREDICTION))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(PREDICTION, kind, [None]))
    used = {name for part in _graphs(graph) for node in part.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _kind(classes: list[Any] | None) -> int:
    """Return the type of the prediction. skl2onnx itself makes integers of true and false."""
    label = classes[0] if classes else 0.0
    kinds = {
        bool: TensorProto.BOOL,
        int: TensorProto.INT64,
        float: TensorProto.DOUBLE,
        str: TensorProto.STRING,
    }
    return kinds[type(label)]


# ------------------------------------------------------------------ where skl2onnx falls short


def _impute(scope: Any, operator: Any, container: Any) -> None:
    """Replace missing numbers. ONNX's own Imputer, which skl2onnx takes, knows single precision alone."""
    values = operator.inputs[0].full_name
    version = container.target_opset
    OnnxWhere(
        OnnxIsNaN(values, op_version=version),
        operator.raw_operator.statistics_.astype(np.float64)[np.newaxis, :],
        values,
        op_version=version,
        output_names=[operator.outputs[0].full_name],
    ).add_to(scope, container)


def _impute_shape(operator: Any) -> None:
    operator.outputs[0].type = DoubleTensorType([None, len(operator.raw_operator.statistics_)])


def _histogram_trees(scope: Any, operator: Any, container: Any) -> None:
    """Convert as skl2onnx does, but with thresholds in double precision, and with integers for its booleans.

    scikit-learn compares in double precision here, other than in its other trees; and a boolean where an
    integer belongs is refused by newer versions of protobuf.
    """
    add_node = container.add_node

    def add_exactly(kind: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        if kind.startswith("TreeEnsemble"):
            for name in [name for name in _TREE_NUMBERS if name in attributes]:
                values = np.asarray(attributes.pop(name), dtype=np.float64).ravel()
                attributes[f"{name}_as_tensor"] = numpy_helper.from_array(values, name)
            missing = attributes["nodes_missing_value_tracks_true"]
            attributes["nodes_missing_value_tracks_true"] = [int(value) for value in missing]
        add_node(kind, inputs, outputs, **attributes)

    container.add_node = add_exactly
    try:
        # Below version 3 of the operator, thresholds are rounded to single precision before they come here.
        _HISTOGRAM_TREES[type(operator.raw_operator)](scope, operator, container, op_version=3)
    finally:
        del container.add_node


_HISTOGRAM_TREES = {
    HistGradientBoostingClassifier: convert_sklearn_random_forest_classifier,
    HistGradientBoostingRegressor: convert_sklearn_random_forest_regressor_converter,
}
_CONVERTERS = {SimpleImputer: _impute, **dict.fromkeys(_HISTOGRAM_TREES, _histogram_trees)}
_SHAPES = {
    SimpleImputer: _impute_shape,
    **{kind: get_shape_calculator(f"Sklearn{kind.__name__}") for kind in _HISTOGRAM_TREES},
}
