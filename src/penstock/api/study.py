"""The door for Python programs: a scenario with its profiles, and the questions that Penstock answers about it.

.. code-block:: python

    import penstock

    study = penstock.Study.read("scenario.yaml")
    plan = study.plan()
    print(plan.simulate(load=0.9))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from penstock.api.results.plan_result import PlanResult
from penstock.errors import BadInputError
from penstock.plan.documents.scenario import Scenario, load_profiles, load_scenario
from penstock.plan.documents.shared_pools import with_shared_pools
from penstock.plan.interfaces import SearchLimits
from penstock.plan.measured_where import profile_warnings
from penstock.plan.planners.by_name import PLANNERS
from penstock.profile.table import Profile
from penstock.progress import CancelToken, Watcher, task, watched
from penstock.schedule.rule_numbers import DEFAULT_POLICY

if TYPE_CHECKING:
    from penstock.api.results.autoscale_result import AutoscaleResult
    from penstock.api.results.capacity_result import CapacityResult
    from penstock.api.results.comparison_result import ComparisonResult
    from penstock.api.results.explanation_result import ExplanationResult
    from penstock.api.results.simulation_result import SimulationResult
    from penstock.api.results.sweep_result import SweepResult
    from penstock.api.serving import PlanServer


@dataclass(frozen=True)
class Study:
    """A ``scenario`` (models, SLOs, fleet) and the ``profiles`` of its models by name, as read from ``folder``.

    Every method raises :class:`penstock.errors.BadInputError` for a value out of range and
    :class:`penstock.errors.InfeasibleError` if no answer exists; the message says why, and what would help. Long work
    takes ``progress``, which is called with a :class:`penstock.progress.Step` from time to time, and ``cancel``, a
    :class:`penstock.progress.CancelToken`; a callback that raises stops the work too.
    """

    scenario: Scenario
    profiles: Mapping[str, Profile]
    folder: Path = Path()
    name: str = "scenario"

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The study of the scenario file ``path`` (YAML). Profiles are read from where the file says."""
        path = Path(path)
        scenario = load_scenario(path)
        return cls(scenario, load_profiles(scenario, path.parent), path.parent, str(path))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What may be wrong with the profiles: measured elsewhere, on unlike machines, or too varied for the SLO."""
        return tuple(profile_warnings(self.scenario, self.profiles))

    def plan(
        self,
        *,
        planner: str = "penstock",
        time_limit_s: float = 60.0,
        gap: float = 1e-3,
        shared_pools: bool = False,
        lent_pools: bool = False,
        hold: float | None = None,
        policy: str | None = None,
        arrivals: str | Sequence[str] | None = None,
        progress: Watcher | None = None,
        cancel: CancelToken | None = None,
    ) -> PlanResult:
        """Choose pools of devices for the pieces of each model, with a proof of how good they are.

        ``planner``: penstock, np (whole models), dart-r or even. The search stops at the relative ``gap`` between
        plan and bound, or after ``time_limit_s`` seconds. ``shared_pools``: stages of one class, share and place share
        their workers. ``lent_pools``: they keep their workers, and lend each other idle ones. ``hold``: choose margins
        by simulation, and state only rates at which this share of the requests (0.99) is met; it has a planner and
        limits of its own. ``policy`` (by default the simulator's) and ``arrivals``
        (poisson) are for ``hold``: without it they are refused.
        """
        if shared_pools and lent_pools:
            raise BadInputError(
                "a shared pool belongs to all of its stages, a lent one to its own stage first: leave out shared_pools "
                "(--shared-pools) or lent_pools (--lent-pools)."
            )
        if hold is None and (policy is not None or arrivals is not None):
            raise BadInputError("policy and arrivals are for hold: add hold=0.99, or leave them out.")
        if planner not in PLANNERS:
            raise BadInputError(f"planner (={planner!r}) must be one of {', '.join(PLANNERS)}.")
        with watched(progress, cancel):
            if hold is not None:
                specs = (arrivals,) if isinstance(arrivals, str) else tuple(arrivals or ("poisson",))
                return self._held(hold, policy or DEFAULT_POLICY, specs, shared_pools or lent_pools, planner)
            with task("searching for a plan"):
                limits = SearchLimits(gap=gap, time_limit_s=time_limit_s)
                plan = PLANNERS[planner](limits).plan(self.scenario, self.profiles).solution
            if shared_pools or lent_pools:
                plan = with_shared_pools(plan, self.profiles, lent=lent_pools)
        return PlanResult.of(plan, self.profiles, self.folder)

    def _held(
        self, hold: float, policy: str, arrivals: tuple[str, ...], shared_pools: bool, planner: str
    ) -> PlanResult:
        from penstock.api.holding import Holding, plan_held

        if shared_pools:
            raise BadInputError(
                "--hold measures plans with shared and lent pools too: leave out --shared-pools and --lent-pools."
            )
        if planner != "penstock":
            raise BadInputError(f"--hold has a planner of its own: leave out --planner {planner}.")
        plan = plan_held(self.scenario, self.profiles, Holding(hold, policy, arrivals))
        return PlanResult.of(plan, self.profiles, self.folder)

    @cached_property
    def _usual_plan(self) -> PlanResult:
        return self.plan()

    def explain(self, plan: PlanResult | None = None) -> ExplanationResult:
        """What limits ``plan``, by default the plan that :meth:`plan` makes without options (made once)."""
        return (plan or self._usual_plan).explain()

    def simulate(self, plan: PlanResult | None = None, **options: Any) -> SimulationResult:
        """Run ``plan`` (default as in :meth:`explain`) without devices; options as :meth:`PlanResult.simulate`."""
        return (plan or self._usual_plan).simulate(**options)

    def sweep(self, plan: PlanResult | None = None, **options: Any) -> SweepResult:
        """The largest load that ``plan`` holds; options as :meth:`PlanResult.sweep`."""
        return (plan or self._usual_plan).sweep(**options)

    def serve(self, plan: PlanResult | None = None, *arguments: str) -> PlanServer:
        """A server of ``plan`` on this machine; see :meth:`PlanResult.serve`."""
        return (plan or self._usual_plan).serve(*arguments)

    def capacity(
        self,
        *,
        points: int = 5,
        time_limit_s: float = 20.0,
        gap: float = 1e-3,
        progress: Watcher | None = None,
        cancel: CancelToken | None = None,
    ) -> CapacityResult:
        """What a rate costs (``points`` of a curve, if every class has an hourly cost), and one more device's worth.

        ``time_limit_s`` and ``gap`` are for each plan.
        """
        from penstock.api.results.capacity_result import capacity_of

        if points < 1:
            raise BadInputError(f"points (={points}) must be >= 1.")
        with watched(progress, cancel):
            limits = SearchLimits(gap=gap, time_limit_s=time_limit_s)
            return capacity_of(self.scenario, self.profiles, points, limits)

    def autoscale(
        self,
        *,
        arrivals: str | Sequence[str] | None = None,
        rates_rps: Mapping[str, float] | None = None,
        seconds: float = 86_400.0,
        seed: int = 0,
        forecast: Literal["live", "yesterday", "known"] = "live",
        before: str | Sequence[str] | None = None,
        node_s: float = 180.0,
        load_s: float = 30.0,
        every_s: float = 60.0,
        calm_s: float = 900.0,
        safety: float = 1.2,
        rungs: int = 12,
        attainment: float = 0.99,
        policy: str = DEFAULT_POLICY,
        time_limit_s: float = 10.0,
        gap: float = 1e-3,
        progress: Watcher | None = None,
        cancel: CancelToken | None = None,
    ) -> AutoscaleResult:
        """A day on a fleet that follows the load, beside static plans.

        ``rates_rps``: each model's mean, by default the scenario's demands. ``arrivals``: by default a day that rises
        and falls as a cosine; ``before``: those of the day before, by default the same with other chance. A device is
        there ``node_s`` after it was asked for, a plan's workers have loaded ``load_s`` later; a decision is made every
        ``every_s``, and devices are given back after ``calm_s`` of low load. What is planned for is ``safety`` times
        the forecast.
        """
        from penstock.api.scaling import Autoscaling, autoscale_of
        from penstock.plan.autoscale.scaler import ScalingRules

        specs = (arrivals,) if isinstance(arrivals, str) else tuple(arrivals or Autoscaling.arrivals)
        rules = ScalingRules(node_s, load_s, every_s, calm_s, safety)
        asked = Autoscaling(
            specs,
            dict(rates_rps or {}),
            seconds,
            seed,
            rungs,
            forecast,
            attainment,
            policy,
            rules,
            before=(before,) if isinstance(before, str) else tuple(before or ()),
        )
        with watched(progress, cancel):
            limits = SearchLimits(gap=gap, time_limit_s=time_limit_s)
            return autoscale_of(self.scenario, self.profiles, self.folder, asked, limits)

    def compare(self, **options: Any) -> ComparisonResult:
        """Planners and policies on this scenario, each at its own best margin; options as :func:`compare`."""
        return compare([self], **options)


def compare(
    studies: Sequence[Study],
    *,
    planners: Sequence[str] = ("penstock", "np", "dart-r"),
    policies: Sequence[str] = (DEFAULT_POLICY,),
    attainment: float = 0.99,
    arrivals: str | Sequence[str] = "poisson",
    seconds: float = 20.0,
    seeds: int = 3,
    noise: bool = True,
    progress: Watcher | None = None,
    cancel: CancelToken | None = None,
) -> ComparisonResult:
    """Compare planners and policies on every study, by the goodput that they hold at ``attainment``.

    The closed loop is always among them, and so is the published system. ``seconds`` of ``arrivals`` in each of
    ``seeds`` runs. Seeds for choosing margins differ from those for the results. A study that cannot be compared is
    skipped, and the result says why.
    """
    from penstock.api.results.comparison_result import Comparison, compare_scenarios

    specs = (arrivals,) if isinstance(arrivals, str) else tuple(arrivals)
    how = Comparison(tuple(planners), tuple(policies), attainment, specs, seconds, seeds, noise)
    with watched(progress, cancel):
        return compare_scenarios([(one.name, one.scenario, one.profiles) for one in studies], how)
