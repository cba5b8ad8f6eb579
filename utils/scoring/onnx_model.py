"""Models in the ONNX format, asked through ONNX Runtime.

The graph's inputs are ``numbers``, shape (rows, numbers, integers and booleans), of float32 or float64 with
NaN where missing, and ``texts``, shape (rows, strings), "" where missing; both in the schema's order,
either absent if there are none. Its first output is the prediction.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

# Before it is imported: left to itself, ONNX Runtime tells Microsoft of each model that it loads, and keeps
# below the home folder what it couldn't send.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .rows import Row

# A folder that can't be: left to itself, ONNX Runtime reads files that a model names from the working folder.
_NOWHERE = ("session.model_external_initializers_file_folder_path", os.devnull)

# What goes wrong is raised; nothing else belongs into a log.
_FATAL = 4

_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64}


def session(content: bytes) -> onnxruntime.InferenceSession:
    """Load a graph, which reads no other file.

    Parameters
    ----------
    content : bytes
        Of model.onnx.

    Raises
    ------
    Exception
        ONNX Runtime's own, if it can't run the graph or this refers to other files.
    """
    options = onnxruntime.SessionOptions()
    # One row is too little to share; several workers share the processors.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry(*_NOWHERE)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class OnnxModel:
    """A model.onnx.

    Parameters
    ----------
    path : Path
    schema : mapping
        The content of schema.json.

    Raises
    ------
    ValueError
        If the graph doesn't take and give what the schema says.
    """

    def __init__(self, path: Path, schema: Mapping[str, Any]) -> None:
        try:
            self._session = session(path.read_bytes())
        except Exception as error:  # ONNX Runtime's own kinds of error have no common base
            raise ValueError(f"{path.name} can't be loaded: {error}") from error
        types = [column["type"] for column in schema["inputs"]]
        self._numbers = [place for place, kind in enumerate(types) if kind != "string"]
        self._texts = [place for place, kind in enumerate(types) if kind == "string"]
        given = {node.name: node.type for node in self._session.get_inputs()}
        wanted = {"numbers": self._numbers, "texts": self._texts}
        if given.keys() != {name for name, places in wanted.items() if places}:
            raise ValueError(f"{path.name} takes {', '.join(given) or 'nothing'}, unlike its schema.")
        self._float = _FLOATS[given["numbers"]] if self._numbers else np.float32
        self._output = [self._session.get_outputs()[0].name]
        # The labels as the schema has them: ONNX has no way to answer by true or false.
        self._classes = {label: label for label in schema["output"].get("classes", ())}

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """Predict for checked rows."""
        feed: dict[str, NDArray[Any]] = {}
        if not self._texts:
            feed["numbers"] = self._floats(rows)
        else:
            feed["texts"] = np.array(
                [[row[place] or "" for place in self._texts] for row in rows], dtype=object
            )
            if self._numbers:
                take = itemgetter(*self._numbers)
                feed["numbers"] = self._floats(list(map(take, rows))).reshape(len(rows), -1)
        return self.answer(feed)

    def answer(self, feed: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Predict for arrays as the graph takes them."""
        found = self._session.run(self._output, dict(feed))[0].reshape(-1).tolist()
        return [self._classes[label] for label in found] if self._classes else found

    def _floats(self, values: Any) -> NDArray[Any]:
        if self._float is np.float64:
            return np.array(values, dtype=np.float64)
        with np.errstate(over="ignore"):  # what float32 can't hold is an infinity, to the model
            return np.array(values, dtype=np.float32)
