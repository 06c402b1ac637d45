"""What one request takes of the fleet, at the least, for every chain of pieces that could serve its model.

A worker may run any batch up to the planned one, and later batches may be of another size. So a *chain* (cuts, classes,
shares, largest batch) counts with the best rate of each stage over all batches up to its largest, and with the
least time of the other stages. Time to gather a batch is not counted: requests may arrive together. If stages may be
split, the best is over numbers of pieces too, and a transfer counts as that of the fewest rows that the largest of the
transfers between two stages can have: others pass other links at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.table import LatencyBudget, Templates, piece_times
from penstock.units import US_PER_S


@dataclass(frozen=True)
class ChainUses:
    """One row for each chain.

    ``model`` (n,). ``window_s`` (n,): how long after it arrived a request may still use the slowest stage's capacity.
    ``device_s`` (n, classes) and ``link_s`` (n, links): the time of each that one request takes. Links are the
    uplinks of each class's hosts, then the downlinks. ``devices`` (classes,), ``links`` (links,): how many there are.
    """

    model: I64
    window_s: F64
    device_s: F64
    link_s: F64
    devices: F64
    links: F64


def chain_uses(question: PlanningQuestion) -> ChainUses:
    """The chains of every model of ``question`` that can meet its SLO on an idle fleet."""
    cluster = question.scenario.cluster
    hosts = np.array([cluster.hosts_of(name) for name in cluster.device_classes], np.float64)
    models, windows, uses = [], [], []
    for m, model in enumerate(question.scenario.models):
        budget = LatencyBudget(model.latency_slo_us, 0.0)
        # A batch may be lucky and end before its 99th percentile.
        templates = question.templates(m, budget, promised=False)
        space = question.space(m, budget, promised=False)
        unit = _units(templates, space.device_class, space.share)
        used = templates.share > 0
        largest_us, work_us = piece_times(space, unit, templates.cuts, templates.batch, templates.pieces)
        inference_us, work_us = np.where(used, largest_us, 0.0), np.where(used, work_us, 0.0)
        # One sample over each boundary between stages, 0 where there is no next stage.
        classes = np.where(used, templates.device_class, 0)
        sample_us = np.where(
            used[:, 1:], space.sample_us[templates.cuts[:, 1:-1], classes[:, :-1], classes[:, 1:]], 0.0
        )
        sample_s = work_us / templates.batch[:, None] / US_PER_S
        pairs = templates.pieces[:, :-1] + templates.pieces[:, 1:] - 1
        moved_us = (-(-templates.batch[:, None] // pairs) * sample_us).sum(axis=1)
        other_us = (inference_us.sum(axis=1) + moved_us)[:, None] - inference_us
        last, least_s, least_other_us = _best_over_batches(templates, sample_s, other_us)
        chains = templates.take(last)
        models.append(chains.model)
        windows.append(_windows(chains, least_other_us, model.latency_slo_us))
        uses.append(_uses(chains, least_s, sample_us[last], len(hosts)))
    return ChainUses(
        np.concatenate(models),
        np.concatenate(windows),
        np.concatenate([device_s for device_s, _ in uses]),
        np.concatenate([link_s for _, link_s in uses]),
        question.device_counts.astype(np.float64),
        np.concatenate([hosts, hosts]),
    )


def _units(templates: Templates, device_class: I64, share: I64) -> I64:
    """The unit of each stage, by class and share; 0 where there is no stage."""
    number = {key: u for u, key in enumerate(zip(device_class.tolist(), share.tolist(), strict=True))}
    pairs = zip(templates.device_class.ravel().tolist(), templates.share.ravel().tolist(), strict=True)
    return np.array([number.get(pair, 0) for pair in pairs], np.int64).reshape(templates.share.shape)


def _best_over_batches(templates: Templates, sample_s: F64, other_us: F64) -> tuple[I64, F64, F64]:
    """For each chain the row of its largest batch, and over its batches the least time of a sample and of the others.

    The two are (chains, stages). A chain with a smaller largest batch takes more and may wait less, so no mix needs it.
    """
    key = np.column_stack([templates.cuts, templates.device_class, templates.share])
    _, chain = np.unique(key, axis=0, return_inverse=True)
    chain = chain.ravel()
    chains = int(chain.max(initial=-1)) + 1
    stages = sample_s.shape[1]
    least_s, least_other_us = np.full((chains, stages), np.inf), np.full((chains, stages), np.inf)
    np.minimum.at(least_s, chain, sample_s)
    np.minimum.at(least_other_us, chain, other_us)
    order = np.lexsort((templates.batch, chain))
    last = order[np.flatnonzero(np.diff(chain[order], append=chains))]
    return last, least_s, least_other_us


def _windows(chains: Templates, least_other_us: F64, slo_us: int) -> F64:
    """The window of the slowest stage. Any stage of a real pool may be the slowest, so the longest window counts."""
    window_us = np.where(chains.share > 0, slo_us - least_other_us, 0.0).max(axis=1)
    return np.asarray(window_us / US_PER_S)


def _uses(chains: Templates, least_s: F64, sample_us: F64, classes: int) -> tuple[F64, F64]:
    """Device time, and link time of transfers between classes: workers of one class may share a host."""
    device_s, link_s = np.zeros((len(chains), classes)), np.zeros((len(chains), 2 * classes))
    rows = np.arange(len(chains))
    for s in range(chains.share.shape[1]):
        used = chains.share[:, s] > 0
        receiver = np.where(used, chains.device_class[:, s], 0)
        share = np.maximum(chains.share[:, s], 1)
        np.add.at(device_s, (rows, receiver), np.where(used, least_s[:, s] / share, 0.0))
        if s:
            sender = np.where(used, chains.device_class[:, s - 1], 0)
            moved_s = np.where(sender != receiver, sample_us[:, s - 1] / US_PER_S, 0.0)
            np.add.at(link_s, (rows, sender), moved_s)
            np.add.at(link_s, (rows, classes + receiver), moved_s)
    return device_s, link_s
