"""A trial: the share of each model's requests that is met at given rates, by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.progress import checkpoint
from penstock.record import Outcome, Record
from penstock.schedule.rule_numbers import DEFAULT_POLICY
from penstock.schedule.table import DispatchTable
from penstock.simulate.every_policy import simulate_policy
from penstock.traffic.arrivals import ArrivalProcess, ArrivalSource, draw_arrivals
from penstock.units import US_PER_S, us_from_seconds

WARM_UP_SHARE = 0.1
"""The first tenth of the time is left out of the figures, because the pools start empty."""


@dataclass(frozen=True)
class Trial:
    """What every rate is tried under. The same seed gives the same sample path, stretched to the rate.

    ``seconds`` of arrivals for each of ``seeds``; ``noise``, ``dispatch_us`` and ``overhead_us`` as in
    :func:`penstock.simulate.routed.routed_simulator.simulate`.
    """

    arrivals: ArrivalProcess | ArrivalSource
    policy: str = DEFAULT_POLICY
    seconds: float = 20.0
    seeds: tuple[int, ...] = (0, 1, 2)
    noise: bool = True
    dispatch_us: int = 0
    overhead_us: int = 0

    def counts(self, table: DispatchTable, rates_rps: Sequence[float]) -> tuple[I64, I64]:
        """Requests missed and requests arrived after the warm-up, each int64 (seeds, models)."""
        rows = [self._of_seed(table, rates_rps, seed) for seed in self.seeds]
        return np.stack([missed for missed, _ in rows]), np.stack([arrived for _, arrived in rows])

    def paths(self, rates_rps: Sequence[float]) -> list[list[F64]]:
        """For each seed and model, the times in seconds of the arrivals that count, as the bounds take them."""
        drawn = [
            draw_arrivals(self.arrivals, rates_rps, self.seconds, np.random.default_rng(seed))
            for seed in self.seeds
        ]
        counted = [one.arrival_us >= us_from_seconds(self.seconds * WARM_UP_SHARE) for one in drawn]
        return [
            [one.arrival_us[own & (one.model == m)] / US_PER_S for m in range(len(rates_rps))]
            for one, own in zip(drawn, counted, strict=True)
        ]

    def record(self, table: DispatchTable, rates_rps: Sequence[float], seed: int) -> Record:
        """The record of a run at ``rates_rps``, with the warm-up."""
        checkpoint()
        arrivals = draw_arrivals(self.arrivals, rates_rps, self.seconds, np.random.default_rng(seed))
        return simulate_policy(
            table,
            arrivals,
            model_names=[str(model) for model in range(table.n_models)],
            seed=seed,
            noise=self.noise,
            dispatch_us=self.dispatch_us,
            overhead_us=self.overhead_us,
            policy=self.policy,
        )

    def _of_seed(self, table: DispatchTable, rates_rps: Sequence[float], seed: int) -> tuple[I64, I64]:
        requests = self.record(table, rates_rps, seed).requests
        counted = requests.arrival_us >= us_from_seconds(self.seconds * WARM_UP_SHARE)
        missed = counted & (requests.outcome != Outcome.MET)
        return (
            np.bincount(requests.model[missed], minlength=table.n_models),
            np.bincount(requests.model[counted], minlength=table.n_models),
        )
