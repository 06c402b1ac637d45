"""The trials of questions that simulate plans many times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from penstock.errors import BadInputError
from penstock.traffic.arrivals import ArrivalSource
from penstock.traffic.by_model import AnyArrivals, parse_by_model
from penstock.traffic.source.superposed import refuse_fixed_rate


def any_rate(arrivals: str | Sequence[str], models: Sequence[str]) -> AnyArrivals:
    """The arrivals of ``models`` for a search over rates. Those of a fixed rate are refused."""
    process = parse_by_model(arrivals, models)
    refuse_fixed_rate(process)
    return process


def stream_notes(process: AnyArrivals, rates_rps: Sequence[float]) -> tuple[str, ...]:
    """How many streams make up a load, if it has any. n of them make its variation smaller by sqrt(n)."""
    if not isinstance(process, ArrivalSource):
        return ()
    own_rps, streams = process.own_rate_rps(), process.streams_for(rates_rps)
    fixed = (
        ()
        if own_rps is None
        else (f"The arrivals have a rate of {own_rps:g} requests a second, whatever load was asked for.",)
    )
    return (*((f"{streams:,.0f} streams are superposed.",) if streams else ()), *fixed)


def least_requests(share: float) -> int:
    """How many requests it takes before one miss is no more than ``share`` allows."""
    return math.ceil(1 / (1 - share) - 1e-9)


def check_requests(share: float, rates_rps: Mapping[str, float], seconds: float) -> None:
    """Raise :class:`BadInputError` if some model has too few requests in ``seconds`` to tell ``share`` from all.

    ``rates_rps``: the planned rate by model. ``seconds``: of all runs, without the warm-up.
    """
    name, slowest_rps = min(rates_rps.items(), key=lambda one: one[1])
    expected, least = slowest_rps * seconds, least_requests(share)
    if expected < least:
        factor = least / expected
        raise BadInputError(
            f"about {expected:.3g} requests of {name} are counted in all, but it takes {least} to tell {share:.4g} "
            f"from 1. Give {factor:.2g} times the --seconds or --seeds, or a lower --attainment."
        )


def check_share(what: str, share: float) -> None:
    """Raise :class:`BadInputError` unless ``share`` lies between 0 and 1."""
    if not 0 < share < 1:
        raise BadInputError(f"{what} (={share:g}) must lie between 0 and 1, such as 0.99.")
