"""The reactive policy's decisions; see :mod:`penstock.schedule.rules.reactive`."""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import numpy as np

from penstock.arrays import I64
from penstock.schedule.kernel import kernel
from penstock.schedule.rules.reactive import ReactiveFacts
from penstock.schedule.state.arrays import Queues
from penstock.units import NEVER_US

WAIT, DROP_DEADLINE, DROP_EARLY = 0, -1, -2


@kernel
def choose_pipeline(facts: ReactiveFacts, sent: I64, model: int) -> int:
    """The pipeline of ``model`` that is furthest behind its share of the planned rate.

    ``sent`` (pipelines,): the requests that each got so far.
    """
    first = facts.pipeline_offsets[model]
    best, best_due = first, np.inf
    for pipeline in range(first, facts.pipeline_offsets[model + 1]):
        due = (sent[pipeline] + 1) / facts.rate[pipeline]
        if due < best_due:
            best, best_due = pipeline, due
    return best


@kernel
def choose_site(load: I64, workers: I64, first: int, stop: int) -> int:
    """The site in ``[first, stop)`` with the fewest requests per worker: those queued, running and on their way."""
    best = first
    for site in range(first + 1, stop):
        if load[site] * workers[best] < load[best] * workers[site]:
            best = site
    return best


@kernel
def step(facts: ReactiveFacts, queues: Queues, site: int, stage: int, idle: int, now_us: int) -> int:
    """The size of the batch to dispatch from the head of the site's queue, or ``WAIT``, or why to drop the head.

    ``idle``: idle workers of the site. If the queue fills the planned batch, but that batch would be late for the head,
    the head is dropped (the early drop of Nexus): with smaller batches the pool would not reach its rate. A shorter
    queue waits until a batch with one more request would be late. ``WAIT`` sets the time to ask about the site again.
    """
    count = queues.length[site]
    if count == 0 or idle == 0:
        queues.wake_us[site] = NEVER_US
        return WAIT
    latency_us = facts.latency_us[stage]
    planned = facts.batch[stage]
    budget_us = queues.deadline_us[site, queues.first[site]] - facts.later_us[stage] - now_us
    if count >= planned:
        if latency_us[planned] <= budget_us:
            return planned
        return DROP_EARLY if latency_us[1] <= budget_us else DROP_DEADLINE
    slack_us = budget_us - latency_us[count + 1]
    if slack_us > 0:
        queues.wake_us[site] = now_us + slack_us
        return WAIT
    for size in range(count, 0, -1):
        if latency_us[size] <= budget_us:
            return size
    return DROP_DEADLINE
