"""The contract of Azure Machine Learning's entry scripts: `init` loads the model, `run` answers a request.

References
----------
Microsoft, "Deploy machine learning models to online endpoints: understand the scoring script",
https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoints
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from . import integrity, loading
from .scorer import BadRequest, Scorer
from .settings import Settings

_scorer: Scorer | None = None


def init() -> None:
    """Load the model, once, before the first request.

    It is the one of this package, or the one in the folder AZUREML_MODEL_DIR. A package is checked
    against its manifest before.

    Raises
    ------
    OSError, ValueError, KeyError, RuntimeError
        If it can't be read or isn't right; the service must not start then.
    """
    global _scorer
    folder = Path(os.environ.get("AZUREML_MODEL_DIR") or Path(__file__).resolve().parent.parent)
    if not (folder / "schema.json").is_file():
        # Azure keeps a registered folder as such below the one that it names.
        folder = next((path.parent for path in sorted(folder.glob("*/schema.json"))), folder)
    settings = Settings.read()
    if (folder / integrity.MANIFEST).is_file():
        _scorer = loading.load(folder, settings, cached=True).scorer
    else:
        _scorer = Scorer(folder, settings.max_rows)


def run(raw_data: str | bytes) -> Any:
    """Answer a request.

    Returns
    -------
    dict or AMLResponse
        ``{"result": […]}``. Where Azure's inference server runs, a bad request is answered in its
        own type, with the status that fits.

    Raises
    ------
    BadRequest
        If the request isn't as it should be, and no such server is there to be told.
    RuntimeError
        If `init` hasn't loaded a model.
    """
    if _scorer is None:
        raise RuntimeError("no model is loaded: call init() first")
    try:
        return {"result": _scorer.score(raw_data)}
    except BadRequest as refused:
        # Imported by the server itself before any request; elsewhere it may not even be installed.
        server = sys.modules.get("azureml_inference_server_http.api.aml_response")
        if server is None:
            raise
        return server.AMLResponse({"error": refused.message}, refused.status, json_str=True)
