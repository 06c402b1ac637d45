"""A plan as a result: its pools, devices and proof; and the questions that can be asked about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from penstock.api.showing.plan_tables import plan_parts
from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.store import load_plan, relocated, save_plan
from penstock.plan.measured_where import profile_warnings
from penstock.plan.questions.tail_latency import profile_doubts
from penstock.profile.table import Profile
from penstock.progress import CancelToken, Watcher, watched
from penstock.schedule.rule_numbers import DEFAULT_POLICY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penstock.api.results.explanation_result import ExplanationResult
    from penstock.api.results.simulation_result import SimulationResult
    from penstock.api.results.sweep_result import SweepResult
    from penstock.api.serving import PlanServer


@dataclass(frozen=True, repr=False)
class PlanResult(Shown):
    """A plan that passed the checker, with the ``profiles`` by model name that it was made from.

    ``plan`` is the document (:class:`penstock.plan.documents.plan.Plan`). The profile paths in it are relative to
    ``folder``. ``solve_seconds``: the time of the search, without compilation.
    """

    plan: Plan
    profiles: Mapping[str, Profile]
    folder: Path
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The plan in the file ``path``, checked. :class:`BadInputError` if file, profiles or plan are not valid."""
        loaded = load_plan(Path(path))
        return cls.of(loaded.plan, loaded.profiles, Path(path).parent)

    @classmethod
    def of(cls, plan: Plan, profiles: Mapping[str, Profile], folder: str | Path = ".") -> Self:
        """A result from a plan and its profiles."""
        found = [*profile_warnings(plan.scenario, profiles), *profile_doubts(plan, profiles)]
        return cls(plan, profiles, Path(folder), tuple(found))

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the plan file ``path``, whole or not at all. ``force`` replaces a file that exists."""
        path = Path(path)
        save_plan(relocated(self.plan, self.folder, path.parent), path, self.profiles, force=force)

    def relocated(self, folder: str | Path) -> Self:
        """The same plan with profile paths relative to ``folder``."""
        return replace(self, plan=relocated(self.plan, self.folder, Path(folder)), folder=Path(folder))

    @property
    def objective(self) -> float:
        """Least rate / weight in requests per second; with objective cost, the cost per hour; with energy, W."""
        return self.plan.objective

    @property
    def bound(self) -> float:
        """No plan of the searched space passes this; in the unit of :attr:`objective`."""
        return self.plan.bound

    @property
    def solve_seconds(self) -> float:
        """How long the search took, without compilation."""
        return float(self.plan.stats["solve_seconds"])

    def explain(self) -> ExplanationResult:
        """What limits the plan, and why each idle device is idle. As ``penstock explain``."""
        from penstock.api.results.explanation_result import explain_plan

        return explain_plan(self)

    def simulate(
        self,
        *,
        load: float = 1.0,
        rates_rps: Mapping[str, float] | None = None,
        arrivals: str | Sequence[str] = "poisson",
        seconds: float | None = None,
        seed: int = 0,
        seeds: int = 1,
        mode: Literal["full", "published"] = "full",
        policy: str | None = None,
        noise: bool | None = None,
        dispatch_us: int = 0,
        overhead_us: int = 0,
        max_queue_delay_us: int | None = None,
        progress: Watcher | None = None,
        cancel: CancelToken | None = None,
    ) -> SimulationResult:
        """Run the plan against arrivals, without devices. As ``penstock simulate``.

        The options are the fields of :class:`penstock.api.results.simulation_result.Simulation`. ``policy`` is by
        default the best known, in published mode the published one. ``seconds`` is by default 30, or the recording's
        if the arrivals are a trace with ``scale=none``.
        """
        from penstock.api.results.simulation_result import Simulation, simulate_plan
        from penstock.traffic.by_model import parse_by_model, recorded_s

        process = parse_by_model(arrivals, [model.name for model in self.plan.models])
        if seconds is None:
            seconds = recorded_s(process) or 30.0
        asked = Simulation(
            load,
            (arrivals,) if isinstance(arrivals, str) else tuple(arrivals),
            seconds,
            seed,
            seeds,
            mode,
            policy or (DEFAULT_POLICY if mode == "full" else "reservation"),
            noise,
            dispatch_us,
            overhead_us,
            rates_rps or {},
            max_queue_delay_us,
        )
        with watched(progress, cancel):
            return simulate_plan(self, asked, process)

    def sweep(
        self,
        *,
        attainment: float = 0.99,
        policy: str = DEFAULT_POLICY,
        arrivals: str | Sequence[str] = "poisson",
        seconds: float = 20.0,
        seeds: int = 3,
        noise: bool = True,
        tolerance: float = 0.005,
        progress: Watcher | None = None,
        cancel: CancelToken | None = None,
    ) -> SweepResult:
        """The largest load factor of each model that holds the target attainment. As ``penstock sweep``.

        The options are the fields of :class:`penstock.api.results.sweep_result.Sweep`.
        """
        from penstock.api.results.sweep_result import Sweep, sweep_plan

        with watched(progress, cancel):
            specs = (arrivals,) if isinstance(arrivals, str) else tuple(arrivals)
            return sweep_plan(self, Sweep(attainment, policy, specs, seconds, seeds, noise, tolerance))

    def serve(self, *arguments: str) -> PlanServer:
        """A server of the plan on a free port of this machine: ``with plan.serve() as server: server.url``.

        ``arguments``: options of ``penstock serve``, such as ``"--executor", "emulated"``.
        """
        from penstock.api.serving import PlanServer

        return PlanServer(self, arguments)

    def parts(self) -> list[Part]:
        """Pools of every model, devices of every class, and the proof."""
        return plan_parts(self.plan)

    def document(self) -> dict[str, Any]:
        """The plan file, and ``solve_seconds``."""
        return {**self.plan.model_dump(mode="json"), "solve_seconds": self.plan.stats["solve_seconds"]}

    def records(self) -> list[dict[str, Any]]:
        """One row a stage."""
        return [
            {
                "model": model.name,
                "pipeline": number,
                "stage": position,
                "first_block": stage.blocks[0],
                "stop_block": stage.blocks[1],
                "device_class": stage.device_class,
                "share": stage.share,
                "batch": stage.batch,
                "pieces": stage.pieces,
                "workers": stage.workers,
                "inference_us": stage.inference_us,
                "transfer_us": stage.transfer_us,
                "rate_rps": stage.rate_rps,
            }
            for model in self.plan.models
            for number, pipeline in enumerate(model.pipelines)
            for position, stage in enumerate(pipeline.stages)
        ]

    def plot(self) -> Figure:
        """The rate of every pool, stage by stage."""
        from penstock.api.showing.pictures import bars

        rows = self.records()
        names = [
            f"{row['model']} {row['pipeline']}.{row['stage']} on {row['workers']} x {row['device_class']}"
            for row in rows
        ]
        return bars(names, [row["rate_rps"] for row in rows], "requests/s that the pool sustains")
