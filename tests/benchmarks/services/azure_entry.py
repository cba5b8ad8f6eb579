"""An entry script for Azure's server as people write it: the model by joblib, rows by pandas, predict."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

model: Any = None


def init() -> None:
    """Load the model."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


def run(raw_data: str) -> list[float]:
    """Predict."""
    rows = pd.DataFrame(json.loads(raw_data)["data"], columns=model.feature_names_in_)
    predictions: list[float] = model.predict(rows).tolist()
    return predictions
