"""Stages of a kind share their workers when asked to."""

from __future__ import annotations

import numpy as np

from fleet_tables import Pipeline, Stage, make_table
from penstock.plan.dispatch import sharing


def test_stages_of_a_kind_get_one_pool_with_all_their_workers():
    pipelines = [Pipeline(1, [Stage([5], [0, 1]), Stage([5], [2])]), Pipeline(1, [Stage([7], [3])])]
    table = make_table([(50, pipelines)])
    shared = sharing(table, ["fast", "slow", "fast"])
    assert shared.stage_pool.tolist() == [0, 1, 0]
    assert shared.worker_first.tolist() == [0, 3, 4]
    # Workers 0 and 1 of the first stage, 3 of the last, then 2 of the second.
    assert shared.worker_device.tolist() == [0, 1, 3, 2]
    assert shared.worker_host.tolist() == [0, 1, 3, 2]
    assert all(array.dtype == np.int64 for array in shared)


def test_stages_of_different_kinds_keep_their_workers():
    table = make_table([(50, [Pipeline(1, [Stage([5], [0, 1]), Stage([5], [2])])])])
    shared = sharing(table, ["a", "b"])
    assert shared.pool_of_stage.tolist() == table.pool_of_stage.tolist()
    assert shared.worker_first.tolist() == table.worker_first.tolist()
    assert shared.worker_host.tolist() == table.worker_host.tolist()
