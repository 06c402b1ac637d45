"""The interface through which each worker sends: as placed, or as the published simulator groups hosts.

Two of its flaws are switches here, off by default, because they explain results that differ. First, it assumes that a
host has as many devices as the larger of sender's and receiver's. Second, it puts consecutive workers on one
interface, so that batches that start one after the other also queue for it one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from penstock.arrays import I64
from penstock.cluster import Cluster
from penstock.plan.documents.plan import PipelinePlan, Plan


@dataclass(frozen=True)
class Flaws:
    """Flaws of the published simulator to reproduce. All off: hosts as the plan places them, exact arrival times.

    ``larger_hosts``: a host has as many devices as the larger of sender's and receiver's class.
    ``consecutive_workers``: neighbours in a pool share an interface. ``whole_gaps``: gaps between arrivals are cut
    to whole microseconds (:func:`penstock.ppipe.simulator.renewal_chunks.renewal_chunks`).
    """

    larger_hosts: bool = False
    consecutive_workers: bool = False
    whole_gaps: bool = False


def uplinks(plan: Plan, model: int, flaws: Flaws) -> I64:
    """The interface of each worker of ``model``, in worker order, numbered from 0: (workers,)."""
    if not (flaws.larger_hosts or flaws.consecutive_workers):
        return _placed(plan, plan.models[model].name)
    groups: list[I64] = []
    for pipeline in plan.models[model].pipelines:
        for group in _stage_groups(pipeline, plan.scenario.cluster, flaws):
            start = groups[-1].max() + 1 if groups else 0
            groups.append(group + start)
    return np.concatenate(groups)


def _placed(plan: Plan, name: str) -> I64:
    hosts = [(worker.device_class, worker.host) for worker in plan.placement if worker.model == name]
    number = {host: index for index, host in enumerate(sorted(set(hosts)))}
    return np.array([number[host] for host in hosts], np.int64)


def _stage_groups(pipeline: PipelinePlan, cluster: Cluster, flaws: Flaws) -> list[I64]:
    """Each stage's workers by interface, from 0 within the stage. The last stage sends nothing."""
    devices = [cluster.device_classes[stage.device_class].per_host for stage in pipeline.stages]
    shared = [max(pair) for pair in pairwise(devices)] if flaws.larger_hosts else devices[:-1]
    groups = []
    for stage, per_host in zip(pipeline.stages, [*shared, 1], strict=True):
        slot = np.arange(stage.workers, dtype=np.int64)
        on_interface = per_host * stage.share
        hosts = -(-stage.workers // on_interface)
        groups.append(slot // on_interface if flaws.consecutive_workers else slot % hosts)
    return groups
