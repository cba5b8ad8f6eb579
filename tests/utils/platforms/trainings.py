"""A training that was recorded, for the tests of what holds on every platform."""

from pathlib import Path
from typing import Any

from utils.platforms.protocol import Platform


def record(platform: Platform, model_folder: Path, **others: Any) -> str:
    """Record a training; return its id."""
    given: dict[str, Any] = {
        "parameters": {"alpha": 0.5},
        "metrics": {"rmse": 54.25},
        "tags": {"scenario": "demo"},
    }
    return platform.history.record("demo", **{**given, **others}, files=model_folder)
