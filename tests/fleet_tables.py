"""Small dispatch tables for tests: by hand, and at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from penstock.schedule.table import DispatchTable


class Stage(NamedTuple):
    """``latency_us`` and ``transfer_us`` of batches 1, 2, ...; the hosts of the pool's workers."""

    latency_us: Sequence[int]
    hosts: Sequence[int]
    transfer_us: Sequence[int] = ()
    p99_us: Sequence[int] = ()


class Pipeline(NamedTuple):
    batch: int
    stages: Sequence[Stage]


def make_table(models: Sequence[tuple[int, Sequence[Pipeline]]]) -> DispatchTable:
    """A table of (SLO, pipelines) per model."""
    pipelines = [pipeline for _, own in models for pipeline in own]
    stages = [stage for pipeline in pipelines for stage in pipeline.stages]
    widest = max(len(stage.latency_us) for stage in stages)
    hosts = [host for stage in stages for host in stage.hosts]
    return DispatchTable(
        slo_us=np.array([slo for slo, _ in models], np.int64),
        pipeline_offsets=_first([len(own) for _, own in models]),
        stage_offsets=_first([len(pipeline.stages) for pipeline in pipelines]),
        worker_offsets=_first([len(stage.hosts) for stage in stages]),
        pipeline_batch=np.array([pipeline.batch for pipeline in pipelines], np.int64),
        latency_us=_rows([stage.latency_us for stage in stages], widest),
        p99_us=_rows([stage.p99_us or stage.latency_us for stage in stages], widest),
        transfer_us=_rows([stage.transfer_us or [0] * widest for stage in stages], widest),
        worker_host=np.array(hosts, np.int64),
        worker_device=np.arange(len(hosts), dtype=np.int64),
    )


def _first(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _rows(rows: Sequence[Sequence[int]], widest: int) -> np.ndarray:
    return np.array([[0, *row, *[row[-1]] * (widest - len(row))] for row in rows], np.int64)


@st.composite
def tables(
    draw: st.DrawFn, *, noisy: bool = False, shared: bool = False, lent: bool = False, split: bool = False
) -> DispatchTable:
    """Up to 2 models of 2 pipelines of 3 stages of 3 workers, on shared hosts, batches up to 4.

    With ``shared`` pools any stages may share a pool; if ``lent``, any stages may lend each other workers. If
    ``split``, any stage may be split, and there may be more pieces than workers.
    """
    n_hosts = draw(st.integers(1, 4))
    models = []
    for _ in range(draw(st.integers(1, 2))):
        pipelines = [
            Pipeline(
                draw(st.integers(1, 4)),
                [draw(_stages(index, n_hosts, noisy)) for index in range(draw(st.integers(1, 3)))],
            )
            for _ in range(draw(st.integers(1, 2)))
        ]
        models.append((draw(st.integers(50, 600)), pipelines))
    table = make_table(models)
    # Hosts are dense: number those in use anew.
    _, dense = np.unique(table.worker_host, return_inverse=True)
    table = table._replace(worker_host=dense.astype(np.int64))
    pools = len(table.worker_offsets) - 1
    if split:
        planned = np.repeat(table.pipeline_batch, np.diff(table.stage_offsets))
        most = np.array([draw(st.integers(1, int(batch))) for batch in planned], np.int64)
        table = table._replace(stage_pieces=-(-planned // most))
    if lent:
        group = draw(st.lists(st.integers(0, 1), min_size=pools, max_size=pools))
        return table._replace(lend_group=np.array(group, np.int64))
    if not shared:
        return table
    stage_pool = draw(st.lists(st.integers(0, pools - 1), min_size=pools, max_size=pools))
    return table._replace(stage_pool=np.array(stage_pool, np.int64))


@st.composite
def _stages(draw: st.DrawFn, index: int, n_hosts: int, noisy: bool) -> Stage:
    # Not sorted: a larger batch may be quicker, as measured profiles have it now and then.
    latency = draw(st.lists(st.integers(1, 60), min_size=4, max_size=4))
    spread = [v + draw(st.integers(0, 30)) for v in latency] if noisy else latency
    transfer = draw(st.lists(st.integers(0, 20), min_size=4, max_size=4)) if index else [0] * 4
    hosts = draw(st.lists(st.integers(0, n_hosts - 1), min_size=1, max_size=3))
    return Stage(latency, hosts, transfer, spread)


@st.composite
def traffic(draw: st.DrawFn, n_models: int) -> list[tuple[int, int, int]]:
    """Rows (arrival, model, SLO) in order of arrival; SLOs differ, so deadlines are out of order."""
    gaps = draw(st.lists(st.integers(0, 60), min_size=1, max_size=40))
    rows = []
    now_us = 0
    for gap in gaps:
        now_us += gap
        rows.append((now_us, draw(st.integers(0, n_models - 1)), draw(st.integers(20, 600))))
    return rows
