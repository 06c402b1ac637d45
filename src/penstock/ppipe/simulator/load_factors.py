"""The published experiment: each model's largest load factor, lowered step by step, in the published simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.errors import BadInputError
from penstock.plan.documents.plan import Plan
from penstock.ppipe.simulator.fleet import only_model
from penstock.ppipe.simulator.network import Flaws, uplinks
from penstock.ppipe.simulator.published import tally
from penstock.ppipe.simulator.renewal_chunks import renewal_chunks
from penstock.schedule.table import DispatchTable
from penstock.simulate.judge.load_search import step_down


@dataclass(frozen=True)
class Experiment:
    """The fixed settings. ``cv`` is that of the gaps between arrivals: 1 is Poisson."""

    policy: str = "reservation"
    flaws: Flaws = field(default_factory=Flaws)
    seconds: float = 30.0
    seed: int = 0
    cv: float = 1.0
    attainment: float = 0.99
    step: float = 0.05


@dataclass(frozen=True)
class LoadFactors:
    """One load factor per model, and the requests that were simulated to find them."""

    values: tuple[float, ...]
    requests: int


def load_factors(
    plan: Plan, table: DispatchTable, rates_rps: Sequence[float], experiment: Experiment
) -> LoadFactors:
    """For each model of ``plan``, the first load factor from 1 downwards that holds the attainment. 0 if none does.

    ``rates_rps``: the rate at load factor 1, by model. The published experiment takes the PPipe plan's rates for
    every plan. Every load of a model draws its arrivals from the same seed. Raises :class:`BadInputError` if the
    numbers of rates and models differ.
    """
    if len(rates_rps) != len(plan.models):
        raise BadInputError(f"rates_rps (={list(rates_rps)}) must give one rate for each model of the plan.")
    runs = [_Runs(plan, table, model, rate_rps, experiment) for model, rate_rps in enumerate(rates_rps)]
    values = [
        step_down(run.attainment_of, step=experiment.step, target=experiment.attainment) for run in runs
    ]
    return LoadFactors(tuple(values), sum(run.simulated for run in runs))


class _Runs:
    """The runs of one model, by load factor."""

    def __init__(
        self, plan: Plan, table: DispatchTable, model: int, rate_rps: float, experiment: Experiment
    ) -> None:
        self._table = only_model(table, model)
        self._uplink = uplinks(plan, model, experiment.flaws)
        self._model, self._rate_rps, self._experiment = model, rate_rps, experiment
        self.simulated = 0

    def attainment_of(self, load: float) -> float:
        """The attainment at ``load`` times the rate."""
        experiment = self._experiment
        chunks = renewal_chunks(
            load * self._rate_rps,
            experiment.seconds,
            np.random.default_rng((experiment.seed, self._model)),
            cv=experiment.cv,
            whole_gaps=experiment.flaws.whole_gaps,
        )
        found = tally(self._table, self._uplink, chunks, policy=experiment.policy)
        self.simulated += found.requests
        return found.attainment
