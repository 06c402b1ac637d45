"""Plans whose profile says that they cannot do what they state, although the medians do: in the words of every verb.

The policies promise a batch only if its work and a guard fit the SLO: what the 99th percentiles exceed the medians by,
as the root of the sum of squares over the stages. If they do not fit, no policy promises that batch, however
idle the fleet is. The planner leaves such batches out (:mod:`penstock.plan.templates.promise`), unless a model
has no others; and plans also come from elsewhere. A plan of such batches looks optimal and answers nothing. So it is
said, with the row of the profile that causes it.

A pool's rate follows from the *mean* time of a batch. If times are lognormal, as the simulator draws them, the mean is
exp(sigma^2 / 2) medians, where sigma follows from the 99th percentile. If that is much more than 1, the planned rate is
not reached, and that is said too. So are percentiles known from a handful of runs, and times that nobody measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan, StagePlan
from penstock.profile.table import FEW_RUNS, Profile
from penstock.schedule.facts import make_facts

Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal."""

NOTICEABLE = 1.2
"""A mean of so many medians is spoken of: it exceeds what a margin for queueing covers."""


_NO_PROMISE = "no policy can promise an answer in time, on an idle machine either"


@dataclass(frozen=True)
class SlowTail:
    """A pipeline whose ``batch`` takes ``work_us`` at the median and ``tail_us`` at the 99th percentile, past the SLO.

    ``largest_in_time``: the largest batch whose tail fits, 0 if none does. ``row`` names the row of the profile whose
    99th percentile exceeds its median most, of a table for ``device_class`` and ``share``. ``runs``: the timed runs
    behind it, 0 if that is unknown. ``alone_work_us`` and ``alone_tail_us`` are those of a batch of 1.
    """

    model: str
    pipeline: int
    batch: int
    slo_us: int
    work_us: int
    tail_us: int
    alone_work_us: int
    alone_tail_us: int
    largest_in_time: int
    row: str
    device_class: str
    share: int
    runs: int

    @property
    def sentence(self) -> str:
        """For people: what is wrong, the row, and what to do."""
        few = f", from {self.runs} runs only" if self.is_of_few_runs else ""
        effect = (
            f"{_NO_PROMISE}; expect 504 for most requests"
            if self.largest_in_time == 0
            else f"no batch of more than {self.largest_in_time} can be promised in time, so the planned rate is not "
            f"reached"
        )
        return (
            f"model {self.model}, pipeline {self.pipeline}: "
            f"{self._claim(self.batch, self.work_us, self.tail_us)}: {effect}. The cause is the profile's row "
            f"{self.row}{few}. Profile again on a quiet machine with more --seconds, or give the model a longer SLO. "
            f"See docs/profile-quality.md."
        )

    @property
    def for_clients(self) -> str:
        """For a client whose request is dropped: why, if no batch can be promised in time."""
        return f"{self._claim(1, self.alone_work_us, self.alone_tail_us)}: {_NO_PROMISE}"

    @property
    def is_of_few_runs(self) -> bool:
        """Whether the percentile is the slowest run or nearly."""
        return 0 < self.runs < FEW_RUNS

    def _claim(self, batch: int, work_us: int, tail_us: int) -> str:
        return (
            f"a batch of {batch} takes {work_us / 1e3:.3f} ms at the median but {tail_us / 1e3:.3f} ms at the 99th "
            f"percentile, and the SLO is {self.slo_us / 1e3:.3f} ms"
        )


@dataclass(frozen=True)
class WideSpread:
    """A stage whose batches take ``factor`` times the median on average.

    So it sustains ``possible_rps``, and the ``rate_rps`` of its pipeline is not reached.
    """

    model: str
    pipeline: int
    stage: int
    factor: float
    rate_rps: float
    possible_rps: float
    row: str

    @property
    def sentence(self) -> str:
        """For people: by how much the rate is too high, the row, and what to do."""
        return (
            f"model {self.model}, pipeline {self.pipeline}, stage {self.stage}: the profile's times vary so much that "
            f"a batch takes {self.factor:.1f} times the median on average. Of the planned {self.rate_rps:.1f} "
            f"requests/s, about {self.possible_rps:.1f} are possible. The widest row is {self.row}. Profile "
            f"again on a quiet machine. See docs/profile-quality.md."
        )


def profile_doubts(plan: Plan, profiles: Mapping[str, Profile]) -> list[str]:
    """Everything that the spread of the profiles says against ``plan``, as sentences."""
    tails = slow_tails(plan, profiles)
    said = {(one.model, one.device_class, one.share) for one in tails if one.is_of_few_runs}
    return [
        *(one.sentence for one in tails),
        *(one.sentence for one in wide_spreads(plan, profiles)),
        *(text for table, text in _few_runs(plan, profiles) if table not in said),
        *_interpolated(plan, profiles),
    ]


def client_doubts(plan: Plan, profiles: Mapping[str, Profile], overhead_us: int = 0) -> tuple[str, ...]:
    """For each model, what a client whose request is dropped should know: empty if some pipeline keeps the SLO."""
    slow = slow_tails(plan, profiles, overhead_us)
    texts = []
    for model in plan.models:
        hopeless = [one for one in slow if one.model == model.name and one.largest_in_time == 0]
        is_none_left = len(hopeless) == len(model.pipelines)
        texts.append(min(hopeless, key=lambda one: one.alone_tail_us).for_clients if is_none_left else "")
    return tuple(texts)


def _few_runs(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[tuple[tuple[str, str, int], str]]:
    """The tables that ``plan`` uses, as (model, class, share), with 99th percentiles from a handful of runs."""
    for model in plan.models:
        used = {(s.device_class, s.share) for pipeline in model.pipelines for s in pipeline.stages}
        for device_class, share in sorted(used):
            table = profiles[model.name].table(device_class, _share_of_a_job(plan, share))
            if table.p99_us is not None and 0 < table.runs < FEW_RUNS:
                yield (
                    (model.name, device_class, share),
                    f"profile of {model.name}, device class {device_class!r}: its 99th percentiles come from "
                    f"{table.runs} runs, so each is the slowest run or nearly. Profile with more --seconds, for at "
                    f"least {FEW_RUNS} runs.",
                )


def _share_of_a_job(plan: Plan, share: int) -> int:
    """The share of a device that a stage of ``share`` has while it runs: in a scheduled plan, all of it."""
    return 1 if plan.scheduled is not None else share


def _interpolated(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Stages that run a batch which nobody measured."""
    for model in plan.models:
        profile = profiles[model.name]
        for position, pipeline in enumerate(model.pipelines):
            for place, stage in enumerate(pipeline.stages):
                table = profile.table(stage.device_class, _share_of_a_job(plan, stage.share))
                given = table.batches
                if stage.piece not in given and not table.is_padded:
                    yield (
                        f"model {model.name}, pipeline {position}, stage {place}: a batch of {stage.piece} was not "
                        f"measured on {stage.device_class}; its time is interpolated (measured: "
                        f"{', '.join(map(str, given))})."
                    )


def wide_spreads(plan: Plan, profiles: Mapping[str, Profile]) -> list[WideSpread]:
    """The stages of ``plan`` whose mean time exceeds the median by more than :data:`NOTICEABLE`, and so limits."""
    if plan.scheduled is not None:
        return []
    table = dispatch_table(plan, profiles)
    median = np.maximum(table.latency_us, 1)
    sigma = np.log(np.maximum(table.p99_us, median) / median) / Z99
    factor = np.exp(sigma**2 / 2)
    found, number = [], 0
    for model in plan.models:
        for position, pipeline in enumerate(model.pipelines):
            for place, stage in enumerate(pipeline.stages):
                longer = float(factor[number, stage.piece])
                possible_rps = stage.rate_rps / longer
                if longer > NOTICEABLE and possible_rps < pipeline.rate_rps:
                    row, _, _ = _worst_row([stage], profiles[model.name])
                    found.append(
                        WideSpread(model.name, position, place, longer, pipeline.rate_rps, possible_rps, row)
                    )
                number += 1
    return found


def slow_tails(plan: Plan, profiles: Mapping[str, Profile], overhead_us: int = 0) -> list[SlowTail]:
    """The pipelines of ``plan`` whose planned batch misses the SLO at the 99th percentile.

    ``overhead_us``, in microseconds, is added to each request.
    """
    if plan.scheduled is not None:  # a device's jobs are not promised by this rule
        return []
    facts = make_facts(dispatch_table(plan, profiles))
    found, number = [], 0
    for model in plan.models:
        for position, pipeline in enumerate(model.pipelines):
            work = facts.work_us[number] + overhead_us
            tail = work + facts.guard_us[number]
            batch = pipeline.stages[0].batch
            number += 1
            if tail[batch] <= model.slo_us or tail[batch] == work[batch]:
                continue
            in_time = np.flatnonzero(tail[1 : batch + 1] <= model.slo_us)
            row, stage, runs = _worst_row(pipeline.stages, profiles[model.name])
            found.append(
                SlowTail(
                    model=model.name,
                    pipeline=position,
                    batch=batch,
                    slo_us=model.slo_us,
                    work_us=int(work[batch]),
                    tail_us=int(tail[batch]),
                    alone_work_us=int(work[1]),
                    alone_tail_us=int(tail[1]),
                    largest_in_time=int(in_time.max()) + 1 if in_time.size else 0,
                    row=row,
                    device_class=stage.device_class,
                    share=stage.share,
                    runs=runs,
                )
            )
    return found


def _worst_row(stages: Sequence[StagePlan], profile: Profile) -> tuple[str, StagePlan, int]:
    """The row that adds most to the guard, as ``latency.csv`` has it, its stage, and the runs of its table."""
    _, stage, block = max(_excesses(stages, profile), key=lambda one: one[0])
    table = profile.table(stage.device_class, stage.share)
    assert table.p99_us is not None, "a guard comes from 99th percentiles"
    column = min(stage.piece, table.max_batch) - 1
    cells = (
        stage.device_class,
        stage.share,
        profile.blocks[block].name,
        column + 1,
        table.latency_us[block, column],
        table.p99_us[block, column],
    )
    return f"{','.join(map(str, cells))} (class, share, block, batch, median us, p99 us)", stage, table.runs


def _excesses(stages: Sequence[StagePlan], profile: Profile) -> Iterator[tuple[int, StagePlan, int]]:
    for stage in stages:
        table = profile.table(stage.device_class, stage.share)
        if table.p99_us is None:
            continue
        column = min(stage.piece, table.max_batch) - 1
        for block in range(*stage.blocks):
            yield int(table.p99_us[block, column] - table.latency_us[block, column]), stage, block
