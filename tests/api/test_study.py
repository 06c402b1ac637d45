"""The door for Python programs: the same figures as the command line, progress, cancelling, frames, pictures."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import penstock
from api.small_study import write_study
from penstock.api.showing.shown import Shown
from penstock.cli.main import cli
from penstock.plan.autoscale.ladder_file import load_ladder
from penstock.plan.documents.store import load_plan

SHORT = {"seconds": 2.0, "seeds": 2}


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def study(scenario: Path) -> penstock.Study:
    return penstock.Study.read(scenario)


@pytest.fixture(scope="module")
def plan(study: penstock.Study) -> penstock.PlanResult:
    return study.plan()


@pytest.fixture(scope="module")
def results(study: penstock.Study, plan: penstock.PlanResult) -> dict[str, Shown]:
    return {
        "plan": plan,
        "explain": plan.explain(),
        "simulate": plan.simulate(load=0.5, **SHORT),
        "sweep": plan.sweep(tolerance=0.1, **SHORT),
        "capacity": study.capacity(points=2),
        "autoscale": study.autoscale(arrivals="poisson", rates_rps={"detector": 40.0}, seconds=600, rungs=3),
        "compare": study.compare(planners=["np"], policies=["edf"], **SHORT),
    }


@pytest.fixture(scope="module")
def plan_file(plan: penstock.PlanResult, scenario: Path) -> Path:
    path = scenario.parent / "plan.json"
    plan.save(path)
    return path


def of_the_command_line(*arguments: object) -> Any:
    done = CliRunner().invoke(cli, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """The document without the seconds that a run took, and without the folder of the profiles."""
    kept = {
        key: value for key, value in document.items() if key not in ("wall_seconds", "solve_seconds", "stats")
    }
    if "scenario" in kept:
        kept["scenario"] = {**kept["scenario"], "models": None}
    if "scenarios" in kept:
        kept["scenarios"] = [{**one, "scenario": None} for one in kept["scenarios"]]
    return kept


def test_five_lines_of_python_give_the_figures_of_the_command_line(
    results: dict[str, Shown], scenario: Path, plan_file: Path
):
    """A user who moves from the command line to Python gets equal figures from every question."""
    short = ("--seconds", 2, "--seeds", 2)
    commands = {
        "plan": ("plan", scenario),
        "explain": ("explain", plan_file),
        "simulate": ("simulate", plan_file, "--load", 0.5, *short),
        "sweep": ("sweep", plan_file, "--tolerance", 0.1, *short),
        "capacity": ("capacity", scenario, "--points", 2),
        "autoscale": (
            *("autoscale", scenario, "--arrivals", "poisson"),
            *("--rate", "detector=40", "--seconds", 600, "--rungs", 3),
        ),
        "compare": ("compare", scenario, "--planner", "np", "--policy", "edf", *short),
    }
    for verb, arguments in commands.items():
        printed = without_times(of_the_command_line(*arguments))
        # Through JSON, because that makes lists of tuples.
        assert printed == without_times(json.loads(json.dumps(results[verb].document()))), verb


def test_a_result_prints_as_the_tables_of_the_command_line(results: dict[str, Shown], plan_file: Path):
    printed = CliRunner().invoke(cli, ["explain", str(plan_file)]).stdout
    assert str(results["explain"]) == printed.rstrip("\n")
    assert "objective" in str(results["plan"])


def test_a_notebook_shows_tables_and_escapes_names(results: dict[str, Shown]):
    for result in results.values():
        assert result._repr_html_().count("<table>") >= 1
    from penstock.api.showing.tables import as_html, table

    assert "&lt;b&gt;" in as_html([table("t", ["name"], [["<b>"]])])


def test_a_frame_is_made_by_the_library_that_is_installed(results: dict[str, Shown], monkeypatch):
    """The rows go to pandas or polars, and the error names both if neither is there."""
    made = types.ModuleType("polars")
    made.DataFrame = list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises((penstock.BadInputError, ModuleNotFoundError)):
        results["sweep"].to_frame()
    monkeypatch.setitem(sys.modules, "polars", made)
    for result in results.values():
        rows = result.to_frame("polars")
        assert rows
        assert all(row.keys() == rows[0].keys() for row in rows)
    with pytest.raises(penstock.BadInputError, match="must be one of pandas, polars"):
        results["sweep"].to_frame("excel")  # type: ignore[arg-type]


def test_no_frame_library_is_a_clear_error(monkeypatch):
    import importlib

    from penstock.api.showing.shown import frame_of

    real = importlib.import_module

    def absent(name: str, *rest: Any) -> Any:
        if name in ("pandas", "polars"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(penstock.BadInputError, match="pip install pandas"):
        frame_of([{"a": 1}])


def test_every_result_has_a_picture(results: dict[str, Shown]):
    pytest.importorskip("matplotlib")
    for name, result in results.items():
        axes = result.plot().axes
        assert axes, name
        assert axes[0].has_data(), name


def test_progress_rises_to_the_total(plan: penstock.PlanResult):
    steps: list[penstock.Step] = []
    plan.simulate(load=0.5, seconds=1.0, seeds=3, progress=steps.append)
    assert [step.done for step in steps] == [0, 1, 2, 3]
    assert {step.total for step in steps} == {3}


Work = Callable[[penstock.Study, penstock.PlanResult, dict[str, Any]], object]
LONG: dict[str, Work] = {
    "plan": lambda study, plan, how: study.plan(**how),
    "hold": lambda study, plan, how: study.plan(hold=0.99, **how),
    "simulate": lambda study, plan, how: plan.simulate(**SHORT, **how),
    "sweep": lambda study, plan, how: plan.sweep(**SHORT, **how),
    "capacity": lambda study, plan, how: study.capacity(**how),
    "autoscale": lambda study, plan, how: study.autoscale(rates_rps={"detector": 40.0}, **how),
    "compare": lambda study, plan, how: study.compare(**SHORT, **how),
}


@pytest.mark.parametrize("name", LONG)
def test_a_callback_that_raises_stops_the_work(name: str, study: penstock.Study, plan: penstock.PlanResult):
    class StopError(Exception):
        pass

    def stop(step: penstock.Step) -> None:
        raise StopError

    with pytest.raises(StopError):
        LONG[name](study, plan, {"progress": stop})


@pytest.mark.parametrize("name", LONG)
def test_a_token_stops_the_work_that_has_begun(name: str, study: penstock.Study, plan: penstock.PlanResult):
    """The token is switched at the first step, as another thread would do it."""
    token = penstock.CancelToken()

    def switch(step: penstock.Step) -> None:
        thread = threading.Thread(target=token.cancel)
        thread.start()
        thread.join()

    with pytest.raises(penstock.CancelledError):
        LONG[name](study, plan, {"progress": switch, "cancel": token})


def test_a_plan_is_written_once_and_read_again(plan: penstock.PlanResult, tmp_path: Path):
    path = tmp_path / "deeper" / "p.json"
    path.parent.mkdir()
    plan.save(path)
    with pytest.raises(penstock.BadInputError, match="exists"):
        plan.save(path)
    again = penstock.PlanResult.read(path)
    assert again.objective == plan.objective <= plan.bound
    assert again.document()["models"] == plan.document()["models"]


def test_a_day_of_rising_and_falling_load_costs_less_than_its_peak(results: dict[str, Shown], scenario: Path):
    """A cosine between 0.2 and 1.8 of the mean, on devices that come in half a minute: more rungs than one serve, the
    cost is less than that of the static plan with the same attainment, and the ladder can be served."""
    study = penstock.Study.read(scenario)
    day = study.autoscale(
        arrivals="diurnal:amplitude=0.8,period=3600,start=0",
        rates_rps={"detector": 60.0},
        seconds=3600,
        rungs=6,
        node_s=30.0,
        load_s=5.0,
        every_s=15.0,
        calm_s=120.0,
    )
    assert day.followed.switches >= 2
    assert day.followed.attainment > 0.99
    assert day.same.attainment >= day.followed.attainment or day.same.cost == max(
        one.rung.hourly_cost for one in day.ladder
    )
    assert 0.1 < day.saved < 0.8
    day.save(scenario.parent / "ladder")
    kept = load_ladder(scenario.parent / "ladder")
    assert [rung.factor for rung in kept.rungs] == [one.rung.factor for one in day.ladder]
    for rung, one in zip(kept.rungs, day.ladder, strict=True):
        assert load_plan(scenario.parent / "ladder" / rung.plan).plan.objective == one.plan.objective
    assert "Following the load costs" in str(day)


def test_bad_values_are_refused_with_the_rule(study: penstock.Study, plan: penstock.PlanResult):
    for call, words in (
        (lambda: study.plan(planner="best"), "must be one of penstock, np"),
        (lambda: plan.simulate(load=-1.0), "must be a number > 0"),
        (lambda: plan.sweep(attainment=1.5), "between 0 and 1"),
        (lambda: study.capacity(points=0), "must be >= 1"),
        (study.autoscale, "mean rate of detector is unknown: give --rate detector=RPS"),
        (lambda: study.autoscale(rates_rps={"other": 1.0}), "no such model"),
        (lambda: study.autoscale(rates_rps={"detector": 1.0}, seconds=60), "at least two decisions, 120 s"),
        (lambda: study.autoscale(rates_rps={"detector": 1.0}, safety=0.5), "safety"),
        (lambda: study.autoscale(rates_rps={"detector": 1.0}, policy="best"), "must be one of"),
        (lambda: plan.simulate(arrivals="weekly"), "weekly"),
    ):
        with pytest.raises(penstock.BadInputError, match=words):
            call()


def test_importing_the_package_imports_nothing_heavy():
    """`import penstock` must stay cheap: no numpy, no pydantic, no station of the pipe."""
    code = (
        "import sys, penstock; "
        "heavy = {'numpy', 'numba', 'pydantic', 'yaml', 'rich', 'penstock.api', 'penstock.plan'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "assert 'Study' in dir(penstock); penstock.Study"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Studi'"):
        _ = penstock.Studi  # type: ignore[attr-defined]


def test_profile_and_partition_in_python(tmp_path: Path):
    """A predicted profile, and splits of it: tables, rows and figures as the command line has them."""
    pytest.importorskip("onnx")
    model = tmp_path / "m.onnx"
    assert CliRunner().invoke(cli, ["zoo", "squeezenet1_1", "-o", str(model)]).exit_code == 0
    steps: list[penstock.Step] = []
    made = penstock.profile_model(model, tmp_path / "p", predict=["L4", "T4"], blocks=4, max_batch=2)
    assert {row["device_class"] for row in made.records()} == {"L4", "T4"}
    assert len(made.records()) == 2 * 4 * 2
    split = penstock.partition_graph(tmp_path / "p", 2, device_class="T4", progress=steps.append)
    assert steps
    document = of_the_command_line("partition", tmp_path / "p", "-k", 2, "--device-class", "T4")
    assert {**split.document(), "seconds": 0, "stats": 0} == {**document, "seconds": 0, "stats": 0}
    unlike = penstock.partition_over(tmp_path / "p", {"L4": 1, "T4": 1})
    rows = unlike.records()
    assert {row["device_class"] for row in rows} == {"L4", "T4"}
    assert [name for row in rows for name in row["operators"]]
    for result in (made, split, unlike):
        assert str(result)
        pytest.importorskip("matplotlib")
        assert result.plot().axes[0].has_data()


def test_a_rate_in_requests_per_second(plan: penstock.PlanResult, plan_file: Path):
    """The rate was only to be had as a factor of the plan's."""
    found = plan.simulate(rates_rps={"detector": 40.0}, seconds=50.0)
    # Poisson: 45 s x 40/s, within four standard deviations.
    assert found.runs[0][0].requests == pytest.approx(1800, abs=4 * 1800**0.5)
    same = of_the_command_line("simulate", plan_file, "--rate", "detector=40", "--seconds", 50)
    assert same["models"] == json.loads(json.dumps(found.records()))
    with pytest.raises(penstock.BadInputError, match="no such model"):
        plan.simulate(rates_rps={"classifier": 40.0})
