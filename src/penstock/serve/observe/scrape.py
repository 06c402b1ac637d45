"""A page of ``/metrics`` as numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import final

from prometheus_client.parser import text_string_to_metric_families

from penstock.errors import BadInputError


@final
class Page:
    """The series of a page, by name."""

    def __init__(self, text: str) -> None:
        """Raise :class:`BadInputError` unless ``text`` is in the text format of Prometheus."""
        self._series: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    self._series[sample.name].append((sample.labels, float(sample.value)))
        except (ValueError, KeyError, IndexError) as error:
            raise BadInputError(f"the page is not in the text format of Prometheus ({error!r}).") from None

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series ``name`` that have these label values; 0 if there is none."""
        return sum(value for own, value in self._series.get(name, ()) if labels.items() <= own.items())

    def by(self, name: str, *keys: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The sums of the series ``name`` with ``labels``, for each combination of the labels ``keys``."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for own, value in self._series.get(name, ()):
            if labels.items() <= own.items():
                sums[tuple(own.get(key, "") for key in keys)] += value
        return dict(sums)

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """The counts of a histogram up to each bound, summed over the series with ``labels``."""
        sums: dict[float, float] = defaultdict(float)
        for own, value in self._series.get(f"{name}_bucket", ()):
            if labels.items() <= own.items():
                sums[float(own["le"])] += value
        return dict(sorted(sums.items()))
