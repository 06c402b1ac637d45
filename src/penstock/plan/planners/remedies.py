"""Remedies: the smallest changes that give a plan to a scenario without one. Each change is solved again.

- SLOs: every model that has no pipeline gets the nearest SLO that its fastest pipeline meets. If each model has one
  but the fleet is too small, one model's SLO is raised until some slower pipeline fits on idle devices.
- Devices: as few more of one class as are enough. If one class does not help: more of several classes, or SLOs too.

With a higher SLO or with more devices, a plan never becomes impossible. So bisection finds the least change: the
change that is smaller by one was tried and gives no plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from penstock.clock import solving_seconds
from penstock.cluster import MOST_DEVICES
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.remedy import Remedy
from penstock.plan.documents.scenario import Scenario
from penstock.plan.no_pipeline import NoPlanError
from penstock.profile.table import Profile

MOST_SLO_FACTOR = 64
"""An SLO that is longer by more than this factor is not offered as a remedy."""

MOST_MODELS = 8
"""The most models whose SLOs are raised, one at a time."""

MOST_MORE_DEVICES = 1 << 16
"""More further devices of a class than this are not offered as a remedy."""


def with_remedies(
    reason: NoPlanError,
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    solve: Callable[[Scenario], object],
    deadline: float,
) -> NoPlanError:
    """``reason`` with the remedies found. ``solve`` raises :class:`NoPlanError` for a scenario without a plan.

    The search stops at ``deadline``, by ``penstock.clock.solving_seconds``. The remedies found are then valid, but
    they may not be the smallest.
    """
    remedies = tuple(smallest_remedies(reason, scenario, profiles, solve))
    listed = "; or ".join(remedy.described(scenario) for remedy in remedies)
    is_cut = solving_seconds() >= deadline
    if remedies:
        which = (
            "Changes (smaller ones may do: the time limit ended the search)" if is_cut else "Smallest changes"
        )
        words = f"{which} that make it feasible, each solved again: {listed}."
    elif is_cut:
        words = "The time limit ended the search for changes that make it feasible."
    else:
        words = "No change of SLOs and device counts that was tried makes it feasible."
    return NoPlanError(f"{reason} {words}", nearest_slo=reason.nearest_slo, remedies=remedies)


def smallest_remedies(
    reason: NoPlanError,
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    solve: Callable[[Scenario], object],
) -> Iterator[Remedy]:
    """The smallest change of SLOs, and the smallest change that adds devices, if they exist."""

    def is_feasible(remedy: Remedy) -> bool:
        try:
            solve(remedy.applied(scenario))
        # It is proven to have no plan, not decided in time, or not a valid scenario. Then it is no remedy.
        except (InfeasibleError, BadInputError):
            return False
        return True

    needed = _nearest_slos(reason, scenario, solve)
    slos_suffice = bool(needed) and is_feasible(Remedy(needed))
    if slos_suffice:
        yield Remedy(needed)
    elif not needed:
        yield from _one_slo(scenario, is_feasible)
    slos: list[dict[str, int]] = [{}, needed] if needed and not slos_suffice else [{}]
    for grows in (_one_class, _every_class):
        for slo_us in slos:
            for remedy in grows(scenario, profiles, slo_us, is_feasible):
                yield _lowered(remedy, scenario, is_feasible)
                return


def _lowered(remedy: Remedy, scenario: Scenario, is_feasible: Callable[[Remedy], bool]) -> Remedy:
    """``remedy`` with each of its numbers lowered, one after the other, as far as the others allow."""
    slo_us, count = dict(remedy.slo_us), dict(remedy.count)
    least_slo = {model.name: model.latency_slo_us for model in scenario.models}
    least_count = {name: spec.count for name, spec in scenario.cluster.device_classes.items()}
    for least, numbers in ((least_count, count), (least_slo, slo_us)):
        for name in list(numbers):

            def is_enough(value: int, name: str = name, numbers: dict[str, int] = numbers) -> bool:
                before, numbers[name] = numbers[name], value
                found = is_feasible(Remedy(dict(slo_us), dict(count)))
                numbers[name] = before
                return found

            numbers[name] = _least(least[name] - 1, numbers[name], is_enough)
            if numbers[name] == least[name]:
                del numbers[name]
    return Remedy(slo_us, count)


def _nearest_slos(
    reason: NoPlanError, scenario: Scenario, solve: Callable[[Scenario], object]
) -> dict[str, int]:
    """The nearest SLO of every model that has no pipeline."""
    needed: dict[str, int] = {}
    found: NoPlanError | None = reason
    while found is not None and found.nearest_slo is not None and found.nearest_slo[0] not in needed:
        needed |= [found.nearest_slo]
        try:
            solve(Remedy(needed).applied(scenario))
            found = None
        except NoPlanError as next_reason:
            found = next_reason
        except (InfeasibleError, BadInputError):
            found = None
    return needed


def _one_slo(scenario: Scenario, is_feasible: Callable[[Remedy], bool]) -> Iterator[Remedy]:
    """The SLO of one model, raised by the least factor."""
    best: tuple[float, Remedy] | None = None
    for model in scenario.models[:MOST_MODELS]:
        now_us = model.latency_slo_us
        most_us = now_us * MOST_SLO_FACTOR if best is None else math.ceil(now_us * best[0]) - 1

        def is_enough(slo_us: int, name: str = model.name) -> bool:
            return is_feasible(Remedy({name: slo_us}))

        if most_us > now_us and is_enough(most_us):
            slo_us = _least(now_us, most_us, is_enough)
            best = slo_us / now_us, Remedy({model.name: slo_us})
    if best is not None:
        yield best[1]


def _one_class(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    slo_us: Mapping[str, int],
    is_feasible: Callable[[Remedy], bool],
) -> Iterator[Remedy]:
    """The fewest further devices of one class that every model's profile covers."""
    best: Remedy | None = None
    fewest = _most_devices(scenario)
    for name, spec in scenario.cluster.device_classes.items():
        if not all(profile.shares_of(name) for profile in profiles.values()):
            continue

        def is_enough(more: int, name: str = name, count: int = spec.count) -> bool:
            return is_feasible(Remedy(slo_us, {name: count + more}))

        most = min(fewest, MOST_DEVICES - spec.count)
        if most > 0 and is_enough(most):
            fewest = _least(0, most, is_enough)
            best = Remedy(slo_us, {name: spec.count + fewest})
            # Another class is better only if it needs fewer.
            fewest -= 1
        if fewest == 0:
            break
    if best is not None:
        yield best


def _every_class(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    slo_us: Mapping[str, int],
    is_feasible: Callable[[Remedy], bool],
) -> Iterator[Remedy]:
    """As many further devices of every class as could help, if that gives a plan."""
    more = _most_devices(scenario)
    remedy = Remedy(
        slo_us,
        {
            name: min(spec.count + more, MOST_DEVICES)
            for name, spec in scenario.cluster.device_classes.items()
            if all(profile.shares_of(name) for profile in profiles.values())
        },
    )
    if is_feasible(remedy):
        yield remedy


def _most_devices(scenario: Scenario) -> int:
    """The most devices that could help: a worker for each stage of a pipeline of every model, or any number."""
    if scenario.planner.pays_for_devices:
        return MOST_MORE_DEVICES
    return len(scenario.models) * scenario.planner.max_stages


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number above ``low`` at which ``holds`` is true. It is true at ``high``. Steps double, then halve."""
    step = 1
    while low + step < high:
        if holds(low + step):
            high = low + step
            break
        low, step = low + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
