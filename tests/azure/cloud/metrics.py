"""The metrics of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from tests.azure.cloud.exact import make
from tests.azure.cloud.history import BY_ID, BY_NAME
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, missing, refused, route
from tests.azure.cloud.server import Cloud

RUN = "/metric/v2.0" + WORKSPACE + "/runs/{run}"

# "Service limits in Azure Machine Learning", metrics.
NAMES = 50
ROWS = 250
NAME_LENGTH = 255


@dataclass
class Metrics:
    """MetricV2Dto by run and name, with all values that were ever sent."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def values(self, run: str) -> dict[str, Any]:
        """Return each metric's value: the last one of those that were sent."""
        return {name: each.value[-1].data[name] for name, each in self.runs.get(run, {}).items()}


@route("POST", RUN + "/batch")
def write(cloud: Cloud, request: Request) -> Answer:
    """Take metrics; which of them are refused is told in the answer, if it is asked for."""
    from azureml._restclient.models import (
        BatchMetricV2Dto,
        ErrorResponse,
        PostRunMetricsError,
        PostRunMetricsResultDto,
        RootError,
    )

    sent = request.model(BatchMetricV2Dto)
    if sum(len(each.value) for each in sent.values) > ROWS:
        return refused(400, "UserError", f"A batch can't have more than {ROWS} rows.")
    found = cloud.area(Metrics).runs.setdefault(request.names["run"], {})
    errors = []
    for each in sent.values:
        fault = _fault(each, found)
        if fault:
            response = make(ErrorResponse, error=make(RootError, code="UserError", message=fault))
            errors.append(make(PostRunMetricsError, metric=each, error_response=response))
        elif each.name in found:
            found[each.name].value += each.value
        else:
            each.data_container_id = f"dcid.{request.names['run']}"
            found[each.name] = each
    if errors and not sent.report_errors:
        return refused(400, "UserError", errors[0].error_response.error.message)
    # The SDK reads no answer but this one.
    return Answer(207, make(PostRunMetricsResultDto, errors=errors)) if errors else Answer()


def _fault(sent: Any, found: dict[str, Any]) -> str:
    if sent.name not in found and len(found) >= NAMES:
        return f"A run can't have more than {NAMES} names of metrics."
    if len(sent.name) > NAME_LENGTH:
        return f"The name of a metric can't be longer than {NAME_LENGTH} characters."
    if sent.name in found and found[sent.name].columns != sent.columns:
        return f"The metric {sent.name} was logged with other columns before."
    values = [value for each in sent.value for value in each.data.values()]
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        return f"The value of {sent.name} is no JSON."
    return ""


@route("GET", BY_NAME + "/runs/{run}/metricsingest/wait")
@route("GET", BY_ID + "/runs/{run}/metricsingest/wait")
def ingested(cloud: Cloud, request: Request) -> Answer:
    """Say that all metrics have arrived."""
    return Answer()


@route("POST", RUN + "/list")
def names(cloud: Cloud, request: Request) -> Answer:
    """List a run's metrics."""
    from azureml._restclient.models import (
        DerivedMetricKeyDto,
        ListMetricsDto,
        MetricDefinitionDto,
        PaginatedMetricDefinitionDto,
    )

    request.model(ListMetricsDto)
    found = cloud.area(Metrics).runs.get(request.names["run"], {})
    listed = [
        make(MetricDefinitionDto, metric_key=make(DerivedMetricKeyDto, name=name), columns=each.columns)
        for name, each in found.items()
    ]
    return Answer(body=make(PaginatedMetricDefinitionDto, value=listed))


@route("POST", RUN + "/full")
def read(cloud: Cloud, request: Request) -> Answer:
    """Return a metric with all its values."""
    from azureml._restclient.models import RetrieveFullFidelityMetricRequestDto

    name = request.model(RetrieveFullFidelityMetricRequestDto).metric_name
    found = cloud.area(Metrics).runs.get(request.names["run"], {})
    return Answer(body=found[name]) if name in found else missing("UserError", f"There is no metric {name}.")
