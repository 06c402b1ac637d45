"""Replanning within a number of loads: an exhaustive oracle, theorems, and lost devices."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import Cluster, DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.held_pieces import running_pieces
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.questions.difference import difference
from penstock.plan.replan import replan_search
from penstock.plan.replan.replanner import Replanner, replan
from penstock.plan.replan.share_patterns import maximal_patterns
from penstock.profile.table import Profile

EXACT = SearchLimits(gap=1e-7, time_limit_s=30)


def with_settings(scenario: Scenario, **settings: object) -> Scenario:
    return scenario.model_copy(update={"planner": scenario.planner.model_copy(update=settings)})


def with_classes(scenario: Scenario, classes: dict[str, DeviceClass]) -> Scenario:
    cluster = Cluster(bandwidth_gbps=scenario.cluster.bandwidth_gbps, device_classes=classes)
    return scenario.model_copy(update={"cluster": cluster})


def planned(scenario: Scenario, profiles: dict[str, Profile]) -> Plan:
    return PoolPlanner(EXACT).plan(scenario, profiles).solution


def replanned(
    running: Plan, scenario: Scenario, profiles: dict[str, Profile], most_loads: int | None
) -> Plan:
    """The plan, after every check that holds for any."""
    result = replan(running, scenario, profiles, most_loads, EXACT)
    check_plan(result.solution, profiles)
    if most_loads is not None:
        assert difference(running, result.solution).loads <= most_loads
    return result.solution


class TestByHand:
    # Whole model 20 ms on fast; front half 10 ms on fast, back half 40 ms on slow. SLO 50 ms: a fast and
    # four slow devices serve 100/s, a fast device alone 50/s.
    profile = toy_profile("m", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[40_000], [40_000]]})

    def scenario(self, fast: DeviceClass, slow: DeviceClass) -> Scenario:
        return toy_scenario({"fast": fast, "slow": slow}, [toy_model("m", 50_000)])

    def test_a_lost_back_device_is_made_up_for_by_loading_what_stands_idle(self):
        running = planned(self.scenario(DeviceClass(count=1), DeviceClass(count=5)), {"m": self.profile})
        assert running.objective == pytest.approx(100.0)
        [idle] = set(range(5)) - {w.device for w in running.placement if w.device_class == "slow"}
        lost = next(device for device in range(5) if device != idle)
        changed = self.scenario(DeviceClass(count=1), DeviceClass(count=5, lost=(lost,)))
        assert replanned(running, changed, {"m": self.profile}, 0).objective == pytest.approx(75.0)
        mended = replanned(running, changed, {"m": self.profile}, 1)
        assert mended.objective == pytest.approx(100.0)
        [move] = difference(running, mended).moves or difference(running, mended).starts
        assert idle in {getattr(move, "target", None), getattr(move, "device", None)}

    def test_the_only_fast_device_lost_leaves_nothing_to_load(self):
        running = planned(self.scenario(DeviceClass(count=1), DeviceClass(count=4)), {"m": self.profile})
        changed = self.scenario(DeviceClass(count=1, lost=(0,)), DeviceClass(count=4))
        with pytest.raises(InfeasibleError, match="'m'"):
            replan(running, changed, {"m": self.profile}, 9, EXACT)

    def test_too_few_loads_name_how_many_serve(self):
        # Both fast devices held the front; both are lost, and a third stood idle.
        running = planned(self.scenario(DeviceClass(count=1), DeviceClass(count=4)), {"m": self.profile})
        changed = self.scenario(DeviceClass(count=2, lost=(0,)), DeviceClass(count=4))
        with pytest.raises(InfeasibleError, match=r"within 0 loads.* 1 loads serve"):
            replan(running, changed, {"m": self.profile}, 0, EXACT)
        assert replanned(running, changed, {"m": self.profile}, 1).objective == pytest.approx(100.0)

    def test_a_smaller_count_takes_the_highest_devices(self):
        running = planned(self.scenario(DeviceClass(count=1), DeviceClass(count=4)), {"m": self.profile})
        fewer = replanned(
            running, self.scenario(DeviceClass(count=1), DeviceClass(count=3)), {"m": self.profile}, 0
        )
        assert fewer.objective == pytest.approx(75.0)
        stopped = {worker.device for worker in difference(running, fewer).stops}
        assert stopped == {3}

    def test_a_negative_number_of_loads_is_refused(self):
        scenario = self.scenario(DeviceClass(count=1), DeviceClass(count=4))
        running = planned(scenario, {"m": self.profile})
        with pytest.raises(BadInputError, match="-1"):
            replan(running, scenario, {"m": self.profile}, -1)

    def test_what_runs_beyond_the_worst_model_keeps_running(self):
        # b's SLO bars it from slow devices, a runs on both: nothing raises a's neighbour b past its device,
        # and a change of nothing loads nothing and stops nothing.
        tables = {("fast", 1): [[10_000]], ("slow", 1): [[40_000]]}
        models = [toy_model("a", 50_000), toy_model("b", 10_000)]
        scenario = toy_scenario({"fast": DeviceClass(count=1), "slow": DeviceClass(count=4)}, models)
        profiles = dict.fromkeys("ab", toy_profile("m", tables))
        running = planned(scenario, profiles)
        again = difference(running, replanned(running, scenario, profiles, 0))
        assert again.loads == 0 and not again.stops


# --- an oracle that shares nothing with the planner: it tries every content of every device --------------


def contents(scenario: Scenario, name: str) -> list[Counter]:
    """Every content of one device: a multiset of (blocks, share) of a model of two blocks."""
    shares = range(1, scenario.cluster.device_classes[name].max_share + 1)
    pieces = [(span, share) for span in ((0, 1), (1, 2), (0, 2)) for share in shares]
    found = []
    for size in range(max(shares) + 1):
        for held in itertools.combinations_with_replacement(pieces, size):
            positions = {span[0] > 0 for span, _ in held}
            fits = sum(Fraction(1, share) for _, share in held) <= 1
            if fits and (scenario.planner.share_devices or len(positions) <= 1):
                found.append(Counter(held))
    return found


def best_by_trying_all(running: Plan, scenario: Scenario, profile: Profile, slo_us: int, most: int) -> float:
    """The best rate of one model of two blocks, one batch, over all contents within ``most`` loads."""
    held: dict[tuple[str, int], Counter] = {}
    for piece, device in running_pieces(running):
        held.setdefault((piece.device_class, device), Counter())[(piece.start, piece.stop), piece.share] += 1

    def work_us(name: str, span: tuple[int, int], share: int) -> int:
        return int(profile.tables[name, share].latency_us[slice(*span), 0].sum())

    units = [(n, s) for n, s in profile.tables if s <= scenario.cluster.device_classes[n].max_share]
    whole = [(n, s) for n, s in units if work_us(n, (0, 2), s) <= slo_us]
    pairs = [
        (a, b)
        for a in units
        for b in units
        if work_us(a[0], (0, 1), a[1]) + work_us(b[0], (1, 2), b[1]) <= slo_us
    ]

    @cache
    def rate(workers: tuple[tuple[tuple[str, tuple[int, int], int], int], ...]) -> float:
        number = dict(workers)
        total = sum(
            number.get((n, (0, 2), s), 0) * 1e6 / work_us(n, (0, 2), s) for n, s in whole
        )  # alone in their spans
        return total + paired(tuple(number.get((n, (0, 1), s), 0) for n, s in units), workers)

    def paired(fronts: tuple[int, ...], workers) -> float:
        number = dict(workers)
        backs = {u: number.get((u[0], (1, 2), u[1]), 0) for u in units}
        left = dict(zip(units, fronts, strict=True))

        def extend(k: int) -> float:
            if k == len(pairs):
                return 0.0
            a, b = pairs[k]
            best = extend(k + 1)
            for i, j in itertools.product(range(1, left[a] + 1), range(1, backs[b] + 1)):
                left[a] -= i
                backs[b] -= j
                gain = min(i * 1e6 / work_us(a[0], (0, 1), a[1]), j * 1e6 / work_us(b[0], (1, 2), b[1]))
                best = max(best, gain + extend(k + 1))
                left[a] += i
                backs[b] += j
            return best

        return extend(0)

    # (workers by piece) -> fewest loads, device by device.
    states: dict[tuple, int] = {(): 0}
    for name, spec in scenario.cluster.device_classes.items():
        choices = contents(scenario, name)
        for device in spec.devices:
            now = held.get((name, device), Counter())
            after: dict[tuple, int] = {}
            for state, loads in states.items():
                for content in choices:
                    total = loads + sum((content - now).values())
                    if total > most:
                        continue
                    number = Counter(dict(state))
                    for (span, share), n in content.items():
                        number[name, span, share] += n
                    key = tuple(sorted(number.items()))
                    after[key] = min(total, after.get(key, total))
            states = after
    return max(map(rate, states))


@st.composite
def changes(draw):
    """A profile of two blocks, a fleet, the same fleet changed, an SLO."""
    times = st.integers(1, 30).map(lambda k: 100 * k)
    tables = {key: [[draw(times)] for _ in range(2)] for key in (("a", 1), ("b", 1), ("b", 2))}
    before = {"a": DeviceClass(count=draw(st.integers(1, 2))), "b": DeviceClass(count=2, max_share=2)}
    lost = draw(st.sampled_from([(), (0,), (1,)]))
    after = {
        "a": DeviceClass(count=draw(st.integers(0, 2))),
        "b": DeviceClass(count=2, max_share=2, lost=lost),
    }
    slo_us, later_us = draw(st.integers(1_000, 6_000)), draw(st.integers(1_000, 6_000))
    return toy_profile("m", tables), before, after, slo_us, later_us


@settings(max_examples=50, deadline=None)
@given(changes(), st.booleans(), st.integers(0, 4))
def test_no_change_within_so_many_loads_is_better(change, share_devices, most_loads):
    profile, before, after, slo_us, later_us = change
    first = with_settings(toy_scenario(before, [toy_model("m", slo_us)]), share_devices=share_devices)
    then = with_settings(toy_scenario(after, [toy_model("m", later_us)]), share_devices=share_devices)
    try:
        running = planned(first, {"m": profile})
    except InfeasibleError:
        return
    try:
        found = replanned(running, then, {"m": profile}, most_loads).objective
    except InfeasibleError:
        found = 0.0
    assert found == pytest.approx(best_by_trying_all(running, then, profile, later_us, most_loads), rel=1e-6)


@st.composite
def two_models(draw):
    times = st.integers(1, 30).map(lambda k: 100 * k)
    profiles = {}
    for name in "mn":
        tables = {
            (c, s): [[draw(times), draw(times) * 2] for _ in range(2)]
            for c, s in (("a", 1), ("b", 1), ("b", 3))
        }
        profiles[name] = toy_profile(name, tables, boundary_bytes=[0, draw(st.sampled_from([0, 400_000])), 0])
    classes = {
        "a": DeviceClass(count=draw(st.integers(1, 3)), per_host=2, hourly_cost=2.0),
        "b": DeviceClass(count=draw(st.integers(2, 4)), max_share=3, hourly_cost=1.0),
    }
    models = [
        toy_model("m", draw(st.integers(2_000, 9_000))),
        toy_model("n", draw(st.integers(2_000, 9_000))),
    ]
    scenario = with_settings(toy_scenario(classes, models), share_devices=draw(st.booleans()))
    lost = draw(st.integers(0, classes["b"].count - 1))
    changed = with_classes(scenario, {**classes, "b": classes["b"].model_copy(update={"lost": (lost,)})})
    return profiles, scenario, changed


@settings(max_examples=12, deadline=None)
@given(two_models())
def test_more_loads_never_lower_the_rate_and_enough_give_the_fresh_plan(case):
    profiles, scenario, changed = case
    try:
        running = planned(scenario, profiles)
        replanner = Replanner.of(running, changed, profiles, EXACT)
    except InfeasibleError:
        return
    points = list(replanner.curve())
    for point in points:
        check_plan(point.plan, profiles)
        assert difference(running, point.plan).loads == point.loads <= point.most_loads
        assert point.objective <= point.bound * (1 + 1e-6)
    rates = [point.objective for point in points]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(replanner.fresh.objective, rel=1e-6)
    if points[0].most_loads:
        with pytest.raises(InfeasibleError, match=f"{points[0].most_loads} loads serve"):
            replanner.within(points[0].most_loads - 1)


def test_workers_that_serve_only_some_models_are_no_plan(monkeypatch):
    """Two models lost their devices, so one load is too few. The solver may return the workers of the third."""
    fast, slow = {("a", 1): [[1_000]]}, {("b", 1): [[1_000]], ("c", 1): [[1_000]]}
    profiles = {name: toy_profile(name, table) for name, table in (("m", fast), ("n", slow), ("o", slow))}
    classes = {"a": DeviceClass(count=1), "b": DeviceClass(count=2), "c": DeviceClass(count=2)}
    scenario = toy_scenario(classes, [toy_model(name, 9_000) for name in "mno"])
    first = with_classes(scenario, {**classes, "c": DeviceClass(count=2, lost=(0, 1))})
    then = with_classes(scenario, {**classes, "b": DeviceClass(count=2, lost=(0, 1))})
    replanner = Replanner.of(planned(first, profiles), then, profiles, EXACT)
    assert replanner.search.fewest_loads() == 2
    solve = replan_search.solve_change

    def eager(change, templates, aim, effort, start):
        found = solve(change, templates, aim, effort, start)
        only_m = np.where(templates.model[:, None] == 0, 1, np.zeros_like(found.workers))
        return found if found.workers.any() else replace(found, workers=only_m)

    monkeypatch.setattr(replan_search, "solve_change", eager)
    with pytest.raises(InfeasibleError, match="within 1 loads"):
        replanner.within(1)


@settings(max_examples=8, deadline=None)
@given(two_models(), st.integers(0, 3))
def test_demands_are_met_at_no_more_cost_with_more_loads(case, most_loads):
    profiles, scenario, changed = case
    try:
        rates = {model.name: model.rate_rps * 0.4 for model in planned(scenario, profiles).models}
        changed, scenario = (
            with_settings(
                one.model_copy(
                    update={"models": [model.demanding(rates[model.name]) for model in one.models]}
                ),
                objective="cost",
            )
            for one in (changed, scenario)
        )
        running = planned(scenario, profiles)
        replanner = Replanner.of(running, changed, profiles, EXACT)
    except InfeasibleError:
        return
    try:
        some = replanned(running, changed, profiles, most_loads)
    except InfeasibleError:
        some = None
    freely = replanned(running, changed, profiles, None)
    assert freely.objective == pytest.approx(replanner.fresh.objective)
    if some is not None:
        assert some.objective >= freely.objective * (1 - 1e-9)
        assert some.bound <= some.objective * (1 + 1e-9)


def test_patterns_are_those_that_take_no_more():
    assert set(maximal_patterns(Fraction(1), (1, 2, 3))) == {
        ((1, 1),),
        ((2, 2),),
        ((2, 1), (3, 1)),
        ((3, 3),),
    }
    assert maximal_patterns(Fraction(1, 4), (1, 2)) == ((),)
    assert maximal_patterns(Fraction(2, 3), (2, 3)) == (((3, 2),), ((2, 1),))
