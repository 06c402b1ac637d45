"""The answer of Prometheus to a range query of a rate, as JSON: requests per second, at equal steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import BadInputError
from penstock.files import read_text
from penstock.traffic.formats.counting import Series
from penstock.traffic.formats.rate_ranges import RateSeries, counts_of, rate_of, step_of


def matches(header: list[str]) -> bool:
    """Whether ``header``, the first line, begins such a document."""
    line = "".join(header).replace(" ", "")
    return line.startswith('{"status":') or '"resultType":"matrix"' in line


def step_s(path: Path) -> int:
    """The step of the query in whole seconds."""
    return step_of(path, _result(path))


def read_series(path: Path) -> Iterator[Series]:
    """The counts of every series. Raises :class:`BadInputError` for a document that is no range of rates."""
    return counts_of(path, _result(path))


def _result(path: Path) -> list[RateSeries]:
    try:
        document = json.loads(read_text(path))
        found = [
            RateSeries(
                {key: str(value) for key, value in dict(one.get("metric", {})).items()},
                [(float(time), rate_of(str(path), str(text))) for time, text in one["values"]],
            )
            for one in document["data"]["result"]
        ]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise BadInputError(
            f"{path}: not the answer to a range query: data.result must be a list of series with values. Ask "
            f"/api/v1/query_range, not /api/v1/query."
        ) from None
    kept = [one for one in found if one.values]
    if not kept:
        raise BadInputError(f"{path}: has no values. Check the query and its time range.")
    return kept
