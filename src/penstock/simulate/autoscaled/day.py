"""The requests of a day, served by the plans of a timeline.

Every spell is a simulation of its own. At a switch the old plan answers all that came before, and the workers of the
new plan on devices that the old one used wait until it has: a server lets units that wait move to the new plan, so
this is the worse of the two. Spells are cut into parts of an hour at most, so that memory stays small; the same rule
holds between the parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from penstock.arrays import I64
from penstock.plan.documents.plan import Plan
from penstock.progress import checkpoint
from penstock.record import Outcome, Record
from penstock.schedule.table import DispatchTable
from penstock.simulate.autoscaled.timeline import Spell
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals
from penstock.units import us_from_seconds

LONGEST_S = 3600.0


class ServedRung(NamedTuple):
    """A rung as it is served: ``devices`` (workers,) has the class of each worker's device and its number, as text."""

    table: DispatchTable
    devices: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan, table: DispatchTable) -> ServedRung:
        """The rung that ``plan`` serves, with its dispatch table."""
        workers = sorted(plan.placement, key=lambda placed: placed.worker)
        return cls(table, tuple(f"{one.device_class}:{one.device}" for one in workers))


@dataclass(frozen=True)
class HowServed:
    """How each part is simulated, as for :func:`penstock.simulate.routed.routed_simulator.simulate`."""

    policy: str
    seed: int = 0
    noise: bool = True
    dispatch_us: int = 0
    overhead_us: int = 0


@dataclass(frozen=True)
class DayCounts:
    """Requests that came and that were met, by hour of the run and model: (hours, models)."""

    came: I64
    met: I64

    @property
    def attainment(self) -> float:
        """The share of all requests that was met; 1 if none came."""
        return float(self.met.sum() / self.came.sum()) if self.came.sum() else 1.0

    @property
    def worst_hour(self) -> float:
        """The attainment of the worst hour."""
        came, met = self.came.sum(axis=1), self.met.sum(axis=1)
        return float((met[came > 0] / came[came > 0]).min(initial=1.0))


def serve_day(
    rungs: Sequence[ServedRung],
    spells: Sequence[Spell],
    arrivals: Arrivals,
    names: Sequence[str],
    how: HowServed,
) -> DayCounts:
    """What becomes of ``arrivals`` of the models ``names`` if the rungs serve by turns as ``spells`` say."""
    hours = max(1, -(-int(spells[-1].end_s) // int(LONGEST_S)))
    came, met = (np.zeros((hours, len(names)), np.int64) for _ in range(2))
    busy_us: dict[str, int] = {}
    for number, (rung, begin_us, stop_us) in enumerate(_parts(spells)):
        checkpoint()
        own = slice(*np.searchsorted(arrivals.arrival_us, [begin_us, stop_us]))
        served = rungs[rung]
        free_us = np.array([max(busy_us.get(device, 0) - begin_us, 0) for device in served.devices], np.int64)
        record = simulate(
            served.table,
            _from(arrivals, own, begin_us),
            model_names=names,
            seed=how.seed + number,
            noise=how.noise,
            dispatch_us=how.dispatch_us,
            overhead_us=how.overhead_us,
            policy=how.policy,
            free_us=free_us,
        )
        busy_us = _busy(served, record, begin_us, stop_us)
        _count(record, begin_us, came, met)
    return DayCounts(came, met)


def _parts(spells: Sequence[Spell]) -> Iterator[tuple[int, int, int]]:
    for rung, begin_s, end_s in spells:
        parts = max(1, int(np.ceil((end_s - begin_s) / LONGEST_S)))
        edges = [us_from_seconds(float(at)) for at in np.linspace(begin_s, end_s, parts + 1)]
        yield from ((rung, begin, stop) for begin, stop in pairwise(edges))


def _from(arrivals: Arrivals, own: slice, begin_us: int) -> Arrivals:
    slo_us = None if arrivals.slo_us is None else arrivals.slo_us[own]
    return Arrivals(arrivals.arrival_us[own] - begin_us, arrivals.model[own], slo_us)


def _busy(served: ServedRung, record: Record, begin_us: int, stop_us: int) -> dict[str, int]:
    """The devices that still work for this part when the next one begins, and until when."""
    batches = record.batches
    late = batches.end_us > stop_us - begin_us
    busy: dict[str, int] = {}
    for worker, end_us in zip(batches.worker[late].tolist(), batches.end_us[late].tolist(), strict=True):
        device = served.devices[worker]
        busy[device] = max(busy.get(device, 0), end_us + begin_us)
    return busy


def _count(record: Record, begin_us: int, came: I64, met: I64) -> None:
    requests = record.requests
    hour = (requests.arrival_us + begin_us) // us_from_seconds(LONGEST_S)
    hour = np.minimum(hour, len(came) - 1)
    np.add.at(came, (hour, requests.model), 1)
    kept = requests.outcome == Outcome.MET
    np.add.at(met, (hour[kept], requests.model[kept]), 1)
