"""Routes for either kind of fleet: with whole batches, or with split stages.

Each name is one kernel of :mod:`penstock.schedule.mechanism.route_kernels` or its counterpart in
:mod:`penstock.schedule.mechanism.split_route_kernels`.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.schedule.kernel import inner
from penstock.schedule.mechanism import route_kernels as whole
from penstock.schedule.mechanism import split_route_kernels as split
from penstock.schedule.state.arrays import Actions, Facts, Reservations
from penstock.schedule.state.split_choice import by_stages

probe = by_stages(whole.probe, split.split_probe)
reserve = by_stages(whole.reserve, split.split_reserve)
columns_of = by_stages(whole.columns_of, split.split_columns)
waiting_of = by_stages(whole.waiting_of, split.split_waiting_us)
begin_of = by_stages(whole.begin_of, split.split_begins_us)


@inner
def choose_pipeline(
    facts: Facts,
    held: Reservations,
    actions: Actions,
    row: int,
    model: int,
    now_us: int,
    deadline_us: int,
    every_size: bool,
) -> int:
    """The pipeline with the least waiting at its planned batch.

    A pipeline whose planned batch would miss the deadline comes after the others. The published rule does this only if
    the planned batch is 1; with ``every_size`` it is always done. Ties go to the first.
    """
    first, stop = facts.pipeline_offsets[model], facts.pipeline_offsets[model + 1]
    if stop == first + 1:
        return first
    best, best_late, best_waiting_us = first, 2, 0
    for pipeline in range(first, stop):
        batch = facts.pipeline_batch[pipeline]
        finish_us = probe(facts, held, actions, row, pipeline, batch, now_us + facts.dispatch_us[0])
        waiting_us = finish_us - now_us - facts.work_us[pipeline, batch]
        late = 0
        if every_size or batch == 1:
            late = 1 if finish_us + facts.guard_us[pipeline, batch] > deadline_us else 0
        if late < best_late or (late == best_late and waiting_us < best_waiting_us):
            best, best_late, best_waiting_us = pipeline, late, waiting_us
    return best
