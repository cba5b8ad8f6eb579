"""What people see of a training in Azure ML's studio: as much as its run history has room for.

It is never read back: `records` has all of it. The limits are those that Microsoft documents as "Service
limits in Azure Machine Learning".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from utils.platforms.protocol import PlatformError

# Of the 50 that a run may have; the service itself takes some.
TAGS = 40
PROPERTIES = 40
METRICS = 50
KEY_LENGTH = 100
VALUE_LENGTH = 1000
NAME_LENGTH = 255


def texts(given: Mapping[str, object], room: int, there: Iterable[str] = ()) -> dict[str, str]:
    """Return what of some texts has room: the first ones, cut where they are too long.

    Parameters
    ----------
    room : int
        How many there may be at all.
    there : iterable of str
        Names that have their place already.
    """
    taken = set(there)
    shown: dict[str, str] = {}
    for name, value in given.items():
        if not name or len(name) > KEY_LENGTH or (name not in taken and len(taken) >= room):
            continue
        taken.add(name)
        text = str(value)
        shown[name] = text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 1] + "…"
    return shown


def metrics(numbers: Mapping[str, float], images: Mapping[str, str], there: Iterable[str] = ()) -> list[Any]:
    """Return metrics as the service takes them: numbers that are such, and images, as many as have room.

    Parameters
    ----------
    images : mapping
        Addresses of artifacts, by the names that they are shown under.
    there : iterable of str
        Names that have their place already.
    """
    from azureml.core._metrics import ImageMetric, ScalarMetric

    made = [ScalarMetric(name, float(value)) for name, value in numbers.items() if math.isfinite(value)]
    made += [ImageMetric(name, None, address) for name, address in images.items()]
    taken = set(there)
    shown = []
    for each in made:
        if len(each.name) <= NAME_LENGTH and (each.name in taken or len(taken) < METRICS):
            taken.add(each.name)
            shown.append(each.create_v2_dto())
    return shown


def send(client: Any, batch: list[Any]) -> None:
    """Send metrics by the SDK's client for a run's metrics, and demand that all of them were taken.

    The SDK's own `Run.log` sends them from a thread, and only logs what was refused.

    Raises
    ------
    PlatformError
        If one of them was refused.
    Exception
        Whatever the SDK raises.
    """
    from azureml._restclient.models import BatchMetricV2Dto

    answer = client._execute_with_workspace_run_arguments(
        client._client.metric.post_run_metrics, BatchMetricV2Dto(values=batch, report_errors=True)
    )
    for each in getattr(answer, "errors", None) or []:
        reason = each.error_response.error.message
        raise PlatformError(f"The metric {each.metric.name!r} was refused: {reason}")
