"""The arrivals of a record, to meet a plan again: the same plan or another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.errors import BadInputError
from penstock.record import Record
from penstock.traffic.arrivals import Arrivals


def recorded_arrivals(record: Record, models: Sequence[str]) -> Arrivals:
    """Row i is request i of ``record``, for the model of the same name in ``models``, with its own deadline.

    Times count from the first arrival. Raises :class:`BadInputError` if the record has requests of a model that is
    not in ``models``, or none at all, or a deadline before its arrival.
    """
    requests = record.requests
    if not len(requests.arrival_us):
        raise BadInputError("the record has no requests, so there is nothing to replay.")
    place = {name: index for index, name in enumerate(models)}
    used = [record.models[index] for index in np.unique(requests.model)]
    unknown = [name for name in used if name not in place]
    if unknown:
        raise BadInputError(
            f"the record has requests for {', '.join(unknown)}, but the plan serves {', '.join(models)}. Give the plan "
            f"that was served, or one that has the same models."
        )
    slo_us = requests.deadline_us - requests.arrival_us
    if slo_us.min() <= 0:
        row = int(slo_us.argmin())
        raise BadInputError(
            f"request {row} of the record has its deadline {-int(slo_us[row])} us before its arrival. Save it anew."
        )
    to_plan = np.array([place.get(name, -1) for name in record.models], np.int64)
    order = np.argsort(requests.arrival_us, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        raise BadInputError("the requests of the record are not in order of arrival. Save it anew.")
    origin_us = int(requests.arrival_us[0])
    return Arrivals(requests.arrival_us - origin_us, to_plan[requests.model], slo_us=slo_us)
