"""Pairs of different devices. Each pair is a small fleet with its best plan: the second half of DART-r.

A pair holds the fastest device and the slowest one. So with any number of classes, the extremes are paired first.
Every device is whole, as in all reference plans. If the two work best separately, each runs the whole model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import PipelinePlan
from penstock.plan.documents.scenario import ServedModel
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile


def pairings(devices: Mapping[str, int]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Device classes that form a pair, and how many such pairs. ``devices`` by class, fastest class first.

    The fastest is paired with the slowest until one class is left. Its devices stay alone.
    """
    left = Counter(devices)
    classes = [name for name, count in devices.items() if count]
    while len(classes) > 1:
        fastest, slowest = classes[0], classes[-1]
        copies = min(left[fastest], left[slowest])
        yield (fastest, slowest), copies
        left[fastest] -= copies
        left[slowest] -= copies
        classes = [name for name in classes if left[name]]
    for name in classes:
        yield (name,), left[name]


def fastest_first(model: ServedModel, profile: Profile, classes: Sequence[str]) -> list[str]:
    """``classes`` by the latency of one request of the whole model, without those that have no whole devices."""
    blocks = len(profile.blocks)
    timed = [name for name in classes if (name, 1) in profile.tables]
    return sorted(timed, key=lambda name: int(profile.table(name, 1).span_us(0, blocks)[0]))


def best_pipelines(question: PlanningQuestion, m: int, classes: Sequence[str]) -> list[PipelinePlan]:
    """The best pipelines of model ``m`` on one whole device of each of ``classes``. None if none fits."""
    scenario = question.scenario
    devices = {name: _one_of(scenario.cluster.device_classes[name]) for name in classes}
    alone = scenario.edited(models=[scenario.models[m]]).with_device_classes(devices)
    small = alone.with_planner(max_stages=min(question.max_stages, len(classes)))
    try:
        return PoolPlanner(question.limits).plan(small, question.profiles).solution.models[0].pipelines
    except InfeasibleError:
        return []


def _one_of(spec: DeviceClass) -> DeviceClass:
    """One device in service. It shares its host's interface with as many devices as in the fleet."""
    of_host = spec.interface_devices
    return spec.edited(count=of_host, lost=tuple(range(1, of_host)), max_share=1)


def merged(parts: Sequence[tuple[PipelinePlan, int]]) -> list[PipelinePlan]:
    """Pipelines with ``copies`` times the workers, largest first. Equal ones become one.

    A part has one worker per stage.
    """
    template: dict[tuple[Hashable, ...], PipelinePlan] = {}
    copies_of: Counter[tuple[Hashable, ...]] = Counter()
    for pipeline, copies in parts:
        key = tuple((stage.blocks, stage.device_class, stage.share, stage.batch) for stage in pipeline.stages)
        template[key] = pipeline
        copies_of[key] += copies
    made = [_copied(template[key], copies) for key, copies in copies_of.items()]
    return sorted(made, key=lambda pipeline: -pipeline.rate_rps)


def _copied(pipeline: PipelinePlan, copies: int) -> PipelinePlan:
    stages = [
        stage.edited(workers=stage.workers * copies, rate_rps=stage.rate_rps * copies)
        for stage in pipeline.stages
    ]
    return PipelinePlan(rate_rps=min(stage.rate_rps for stage in stages), stages=stages)
