"""The contract of Azure Machine Learning's entry scripts: `init` loads the model, `run` answers a request.

References
----------
Microsoft, "Deploy machine learning models to online endpoints: understand the scoring script",
https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoints
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from . import integrity, loading
from .integrity import Identity
from .scorer import BadRequest, Scorer
from .settings import Settings

# The whole body of a request that asks which package answers. On Azure nothing but /score can be reached.
DESCRIBE = '{"describe": true}'

_scorer: Scorer | None = None
_identity: Identity | None = None


def init() -> None:
    """Load the model, once, before the first request.

    It is the one of this package, or the one in the folder AZUREML_MODEL_DIR. A package is checked
    against its manifest before.

    Raises
    ------
    OSError, ValueError, KeyError, RuntimeError
        If it can't be read, isn't right, or isn't signed although that is asked for; the service must
        not start then.
    """
    global _scorer, _identity
    folder = Path(os.environ.get("AZUREML_MODEL_DIR") or Path(__file__).resolve().parent.parent)
    if not (folder / "schema.json").is_file():
        # Azure keeps a registered folder as such below the one that it names.
        folder = next((path.parent for path in sorted(folder.glob("*/schema.json"))), folder)
    settings = Settings.read()
    if (folder / integrity.MANIFEST).is_file():
        loaded = loading.load(folder, settings, cached=True)
        _scorer, _identity = loaded.scorer, loaded.identity
    elif settings.public_key:
        raise loading.LoadingError(f"{folder} is no package, so that no signature vouches for it.")
    else:
        _scorer, _identity = Scorer(folder, settings.max_rows), None


def run(raw_data: str | bytes) -> Any:
    """Answer a request.

    Returns
    -------
    dict or AMLResponse
        ``{"result": […]}``; to `DESCRIBE`, name, version and digest of the package. Where Azure's
        inference server runs, a bad request is answered in its own type, with the status that fits.

    Raises
    ------
    BadRequest
        If the request isn't as it should be, and no such server is there to be told.
    RuntimeError
        If `init` hasn't loaded a model.
    """
    if _scorer is None:
        raise RuntimeError("no model is loaded: call init() first")
    if _identity is not None and raw_data in (DESCRIBE, DESCRIBE.encode()):
        return dataclasses.asdict(_identity)
    try:
        return {"result": _scorer.score(raw_data)}
    except BadRequest as refused:
        # Imported by the server itself before any request; elsewhere it may not even be installed.
        server = sys.modules.get("azureml_inference_server_http.api.aml_response")
        if server is None:
            raise
        return server.AMLResponse({"error": refused.message}, refused.status, json_str=True)
