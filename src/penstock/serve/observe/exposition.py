"""The page of ``/metrics``: the totals in the text format of Prometheus, or as OpenMetrics if the scraper asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from penstock import __version__
from penstock.serve.observe.catalogue import FAMILIES, Family
from penstock.serve.observe.counter_file import Labels, Totals


def metrics_page(totals: Totals, accept: str = "") -> tuple[bytes, str]:
    """The page and its content type; ``accept`` is the scraper's header of that name."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(totals))
    encode, content_type = choose_encoder(accept)
    page: bytes = encode(registry)
    return page, content_type


class _Page(Collector):
    """What a registry collects; made for one page."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        """Every exported family that has series, in the order of the catalogue."""
        by_family: dict[str, list[tuple[Labels, list[int]]]] = defaultdict(list)
        for (name, labels), slots in self._totals.items():
            if FAMILIES[name].merge == "max" and not any(slots):
                continue  # of a plan that is not served now
            by_family[name].append((labels, list(slots)))
        yield InfoMetricFamily("penstock_build", "The version of the server.", {"version": __version__})
        for name, family in FAMILIES.items():
            if family.exported and by_family[name]:
                yield _metric(family, by_family[name])


def _metric(family: Family, series: list[tuple[Labels, list[int]]]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        bounds = [f"{bound / family.divisor:g}" for bound in family.bounds] + ["+Inf"]
        for labels, slots in series:
            buckets = list(zip(bounds, accumulate(slots[:-1]), strict=True))
            histogram.add_metric(labels, buckets, slots[-1] / family.divisor)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, slots in series:
        metric.add_metric(labels, slots[0] / family.divisor)
    return metric
