"""Simulate any policy by its name."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import BadInputError
from penstock.record import Record
from penstock.schedule.table import DispatchTable
from penstock.simulate.routed import routed_simulator
from penstock.simulate.stagewise import stagewise_simulator
from penstock.traffic.arrivals import Arrivals

POLICIES = (*routed_simulator.POLICIES, *stagewise_simulator.POLICIES)
"""First those that reserve a whole route, then those that decide stage by stage."""


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
    max_queue_delay_us: int | None = None,
) -> Record:
    """As :func:`penstock.simulate.routed.routed_simulator.simulate`, for any of :data:`POLICIES`.

    Those that decide stage by stage have no ``max_queue_delay_us``: :class:`BadInputError`.
    """
    if policy in stagewise_simulator.POLICIES:
        if max_queue_delay_us is not None:
            raise BadInputError(
                f"max_queue_delay_us (={max_queue_delay_us}) is for policies that reserve routes. Leave it out, or use "
                f"one of: {', '.join(routed_simulator.POLICIES)}."
            )
        return stagewise_simulator.simulate_stagewise(
            table,
            arrivals,
            model_names=model_names,
            seed=seed,
            noise=noise,
            dispatch_us=dispatch_us,
            overhead_us=overhead_us,
            policy=policy,
        )
    return routed_simulator.simulate(
        table,
        arrivals,
        model_names=model_names,
        seed=seed,
        noise=noise,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
        policy=policy,
        max_queue_delay_us=max_queue_delay_us,
    )
