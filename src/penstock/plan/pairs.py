"""Pairs of unlike devices, each a small fleet of its own with the best plan for it: DART-r's second half.

A pair holds its fastest device and its slowest, so of any number of classes the extremes meet first. Every
device is whole, as in all reference plans; where the two work best apart, each runs the whole model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.plan import PipelinePlan
from penstock.plan.planner import SearchLimits
from penstock.plan.pools import PoolPlanner
from penstock.plan.scenario import Scenario, ServedModel
from penstock.profile.table import Profile


def pairings(devices: Mapping[str, int]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Device classes that go together, and how often; ``devices`` by class, fastest class first.

    Fastest with slowest until one class is left, whose devices stay alone.
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
    """``classes`` by the latency of one request of the whole model; those without whole devices left out."""
    blocks = len(profile.blocks)
    timed = [name for name in classes if (name, 1) in profile.tables]
    return sorted(timed, key=lambda name: int(profile.table(name, 1).span_us(0, blocks)[0]))


def best_pipelines(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    model: ServedModel,
    classes: Sequence[str],
    limits: SearchLimits,
) -> list[PipelinePlan]:
    """The best pipelines of one model on one whole device of each of ``classes``; none where none fits."""
    known = scenario.cluster.device_classes
    devices = {name: _one_of(known[name]) for name in classes}
    stages = min(scenario.planner.max_stages, len(classes))
    small = scenario.model_copy(
        update={
            "cluster": scenario.cluster.model_copy(update={"device_classes": devices}),
            "models": [model],
            "planner": scenario.planner.model_copy(update={"max_stages": stages}),
        }
    )
    try:
        return PoolPlanner(limits).plan(small, profiles).solution.models[0].pipelines
    except InfeasibleError:
        return []


def _one_of(spec: DeviceClass) -> DeviceClass:
    """One device in service, which shares its host's interface with as many as in the fleet."""
    of_host = spec.interface_devices
    return spec.model_copy(update={"count": of_host, "lost": tuple(range(1, of_host)), "max_share": 1})


def merged(parts: Sequence[tuple[PipelinePlan, int]]) -> list[PipelinePlan]:
    """Pipelines with ``copies`` times the workers, equal ones as one, largest first.

    A part has one worker a stage.
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
        stage.model_copy(update={"workers": stage.workers * copies, "rate_rps": stage.rate_rps * copies})
        for stage in pipeline.stages
    ]
    return PipelinePlan(rate_rps=min(stage.rate_rps for stage in stages), stages=stages)
