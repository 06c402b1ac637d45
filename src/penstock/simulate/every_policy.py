"""One door to every policy by name, whichever family its decisions belong to."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.record import Record
from penstock.schedule.table import DispatchTable
from penstock.simulate import simulator, stagewise
from penstock.traffic.arrivals import Arrivals

POLICIES = (*simulator.POLICIES, *stagewise.POLICIES)
"""Those that reserve a whole route, then those that decide stage by stage."""


def simulate_policy(
    table: DispatchTable,
    arrivals: Arrivals,
    *,
    model_names: Sequence[str],
    seed: int,
    noise: bool,
    dispatch_us: int,
    overhead_us: int,
    policy: str,
) -> Record:
    """As :func:`penstock.simulate.simulator.simulate`, for any of :data:`POLICIES`."""
    run = stagewise.simulate_stagewise if policy in stagewise.POLICIES else simulator.simulate
    return run(
        table,
        arrivals,
        model_names=model_names,
        seed=seed,
        noise=noise,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
        policy=policy,
    )
