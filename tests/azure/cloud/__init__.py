"""A stateful stand-in for Azure, with just the REST surface that azureml-sdk calls here.

What is a stand-in for: Azure itself can't be had without a subscription. It does what is cheap to do: a step
of a pipeline really runs, a deployed service really starts. It proves that the real SDK accepts the
answers and sends what the SDK's own models allow; it doesn't prove what Azure does.
"""

import importlib
import pkgutil

from tests.azure.cloud.server import Cloud

# Each module registers its routes when it is imported.
for _found in pkgutil.iter_modules(__path__):
    if not _found.name.startswith("__"):
        importlib.import_module(f"{__name__}.{_found.name}")

__all__ = ["Cloud"]
