"""Metrics: the counts of all workers, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .counts import BOUNDS, Counts
from .integrity import Identity

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()


class Metrics(Collector):
    """What is told at /metrics.

    Parameters
    ----------
    counts : Counts
    identity : Identity
        The package that is served.

    References
    ----------
    Prometheus, "Metric and label naming", https://prometheus.io/docs/practices/naming/
    """

    def __init__(self, counts: Counts, identity: Identity) -> None:
        self._counts = counts
        self._identity = identity
        self._registry = CollectorRegistry(auto_describe=True)
        self._registry.register(self)

    def page(self) -> bytes:
        """Write all metrics in the text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by the registry."""
        counts, identity = self._counts, self._identity
        requests = CounterMetricFamily(
            "scoring_requests", "Requests to score, by the status of the answer.", labels=["status"]
        )
        for status, number in counts.requests().items():
            requests.add_metric([str(status)], number)
        yield requests
        bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
        yield HistogramMetricFamily(
            "scoring_request_seconds",
            "Time from a request's head to its answer.",
            buckets=list(zip(bounds, accumulate(counts.buckets()), strict=True)),
            sum_value=counts.seconds,
        )
        yield CounterMetricFamily("scoring_rows", "Rows scored.", counts.rows)
        yield GaugeMetricFamily("scoring_in_flight", "Requests being answered.", counts.in_flight)
        yield GaugeMetricFamily("scoring_workers", "Worker processes.", counts.workers)
        info = GaugeMetricFamily(
            "scoring_model_info", "The package that is served.", labels=["name", "version", "digest"]
        )
        info.add_metric([identity.name, identity.version, identity.digest], 1)
        yield info
