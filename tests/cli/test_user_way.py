"""What a newcomer hit: wrong calls, silent options, names that mislead. One test for each, as the user sees it."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from api.small_study import write_study
from penstock.cli.common.numbers import Share
from penstock.cli.common.traffic_options import rates_of
from penstock.cli.main import VERBS, cli
from penstock.errors import BadInputError
from penstock.plan.documents.lost_devices import without_lost
from penstock.plan.documents.scenario import load_scenario


def run(*arguments: object, ok: bool = True) -> str:
    """All that the command printed. Errors are raised as they are."""
    done = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
    assert (done.exit_code == 0) is ok, done.output
    return done.output


def refusal(*arguments: object) -> str:
    """What the command says when it refuses, with exit status 2."""
    done = CliRunner().invoke(cli, [*map(str, arguments)])
    if isinstance(done.exception, SystemExit):
        assert done.exit_code == 2, done.output
        return done.output
    assert getattr(done.exception, "exit_status", None) == 2, done.exception
    return str(done.exception)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("way"))


@pytest.fixture(scope="module")
def plan(scenario: Path) -> Path:
    path = scenario.parent / "plan.json"
    run("plan", scenario, "-o", path)
    return path


def one_block(folder: Path, *, slo_ms: int, p99_us: int, runs: int) -> Path:
    """One block of 1.8 ms at the median on an L4."""
    scenario = write_study(folder, slo_ms=slo_ms)
    profile = folder / "profiles" / "detector"
    header = json.loads((profile / "profile.json").read_text())
    header |= {"blocks": [{**header["blocks"][0], "name": "all"}], "boundary_bytes": [0, 0]}
    (profile / "profile.json").write_text(json.dumps(header))
    (profile / "latency.csv").write_text(
        f"device_class,share,block,batch,latency_us,p99_us,runs\nL4,1,all,1,1800,{p99_us},{runs}\n"
    )
    text = scenario.read_text().replace("    T4:\n      count: 4\n      hourly_cost: 0.4\n", "")
    scenario.write_text(text)
    return scenario


class TestProfileTails:
    """A plan "within 100 ms, optimal" whose 99th percentile exceeds the SLO answered 504 to every request."""

    def test_plan_and_explain_name_the_row_and_its_p99(self, tmp_path: Path):
        scenario = one_block(tmp_path, slo_ms=100, p99_us=200_000, runs=10)
        printed = run("plan", scenario, "-o", tmp_path / "p.json") + run("explain", tmp_path / "p.json")
        tails = [line for line in printed.splitlines() if "and the SLO is 100.000 ms" in line]
        assert len(tails) == 2
        assert all(
            "L4,1,all,1,1800,200000 (class, share, block, batch, median us, p99 us)" in line for line in tails
        )
        # 1.8 ms of work and a guard of 200 - 1.8 ms.
        assert "takes 1.800 ms at the median but 200.000 ms at the 99th percentile" in printed
        assert "expect 504 for most requests" in printed
        assert "from 10 runs only" in printed
        assert "docs/profile-quality.md" in printed

    def test_a_p99_within_the_slo_is_spoken_of_only_if_few_runs_know_it(self, tmp_path: Path):
        """The spread of 90 ms is said in any case: the mean of such times is far above the median."""
        scenario = one_block(tmp_path, slo_ms=100, p99_us=90_000, runs=100)
        assert "99th percentile" not in run("plan", scenario)
        (tmp_path / "few").mkdir()
        scenario = one_block(tmp_path / "few", slo_ms=100, p99_us=90_000, runs=10)
        printed = " ".join(run("plan", scenario).split())
        assert "its 99th percentiles come from 10 runs" in printed
        assert "expect 504" not in printed

    def test_a_tail_of_many_runs_is_not_called_few(self, tmp_path: Path):
        scenario = one_block(tmp_path, slo_ms=100, p99_us=200_000, runs=100)
        assert "runs only" not in run("plan", scenario)


def test_options_that_would_be_ignored_are_refused(scenario: Path):
    """`--arrivals` and `--policy` without `--hold` were ignored in silence, and `--planner` with it."""
    assert "--policy and --arrivals would be ignored" in refusal(
        "plan", scenario, "--policy", "edf", "--arrivals", "poisson"
    )
    assert "leave out --planner and --gap" in refusal(
        "plan", scenario, "--hold", "0.99", "--planner", "np", "--gap", "0.01"
    )
    assert "leave out --shared-pools" in refusal("plan", scenario, "--hold", "99%", "--shared-pools")


def test_a_sweep_of_one_request_is_refused(plan: Path):
    """`sweep --seconds 0.001` said "load factor 5.833, 100%" from one request."""
    said = refusal("sweep", plan, "--seconds", "0.001")
    assert "it takes 100 to tell 0.99 from 1" in said
    assert "--seconds" in said


def test_compare_skips_what_it_cannot_compare_and_keeps_the_rest(scenario: Path, tmp_path: Path):
    """`compare a.yaml cost.yaml` failed after two minutes and lost a.yaml's result."""
    cost = write_study(tmp_path, planner={"objective": "cost"})
    text = cost.read_text().replace("slo_ms: 40.0", "slo_ms: 40.0\n  rate_rps: 50.0")
    cost.write_text(text)
    quick = ("--planner", "np", "--policy", "edf", "--seconds", 1, "--seeds", 2)
    printed = run("compare", scenario, cost, *quick)
    assert f"{cost}: skipped: planner.objective is cost" in printed
    assert "published + reservation" in printed
    assert "no scenario can be compared" in refusal("compare", cost, *quick)


def test_a_comparison_of_a_handful_of_requests_is_skipped(scenario: Path):
    """As `sweep`: it stated goodputs from a few requests."""
    said = refusal("compare", scenario, "--planner", "np", "--policy", "edf", "--seconds", "0.001")
    assert "no scenario can be compared" in said
    assert "it takes 100 to tell 0.99 from 1" in said


class TestTrafficOfShops:
    """One `--arrivals` for all models, the column `model` ignored, a rate only as a factor of the plan's."""

    ROWS = "time_s,model\n0,detector\n1,detector\n2,detector\n6,detector\n"

    def test_a_recording_as_it_was(self, plan: Path, tmp_path: Path):
        """Four requests in 8 s, whatever the plan's rate; the first tenth is not counted, so three are."""
        path = tmp_path / "requests.csv"
        path.write_text(self.ROWS)
        trace = ("--arrivals", f"trace:{path}")
        printed = run("simulate", plan, *trace, "--as-recorded", "-o", tmp_path / "record", "--json")
        made = json.loads(printed[printed.index("{") :])
        assert made["requests"] == 4
        assert made["models"][0]["requests"] == 3
        assert made["models"][0]["offered_rps"] == pytest.approx(3 / 7.2)
        assert "leave out --load" in refusal("simulate", plan, *trace, "--as-recorded", "--load", "1")
        assert "9 s from 0 s on reach beyond" in refusal(
            "simulate", plan, *trace, "--as-recorded", "--seconds", 9
        )
        assert "the arrivals fix the load" in refusal("sweep", plan, "--arrivals", f"trace:{path},scale=none")

    def test_arrivals_by_model_where_a_rate_is_looked_for(self, plan: Path, scenario: Path):
        bad = "detector=uniform"
        assert "unknown process 'uniform'" in refusal("sweep", plan, "--arrivals", bad)
        assert "unknown process 'uniform'" in refusal("plan", scenario, "--hold", "0.9", "--arrivals", bad)
        assert "unknown process 'uniform'" in refusal("compare", scenario, "--arrivals", bad)
        printed = run(
            "sweep", plan, "--arrivals", "detector=gamma:cv=1", "--seconds", 2, "--tolerance", "0.1"
        )
        assert "Largest load that holds 99.0%" in printed

    @pytest.mark.parametrize(
        ("texts", "found"),
        [((), ()), (("70",), (70.0,)), (("50", "20"), (50.0, 20.0)), (("b=20", "a=50"), (50.0, 20.0))],
    )
    def test_rates_of_load(self, texts: tuple[str, ...], found: tuple[float, ...]):
        assert rates_of(texts, ["a", "b"]) == found

    @pytest.mark.parametrize(
        ("texts", "words"),
        [
            (("0",), "must be a number of requests per second > 0"),
            (("a=x",), "must be a number of requests per second > 0"),
            (("1", "2", "3"), "with 3 rates"),
            (("a=1",), "one MODEL=RPS for each of the models a, b"),
            (("a=1", "c=1"), "one MODEL=RPS for each of the models a, b"),
            (("a=1", "2"), "one MODEL=RPS for each of the models a, b"),
        ],
    )
    def test_rates_that_do_not_fit(self, texts: tuple[str, ...], words: str):
        with pytest.raises(BadInputError, match=words):
            rates_of(texts, ["a", "b"])


def test_python_dash_m_penstock_works():
    """`python -m penstock` did not exist."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "penstock")


def test_the_demo_of_a_core_only_installation_names_the_extra(monkeypatch):
    """A core-only installation ended `penstock demo` in a traceback."""
    monkeypatch.setattr("penstock.serve.find_spec", lambda name: None)
    assert "pip install 'penstock-serving[serve]'" in refusal("demo")


class TestDistribution:
    """The name on the index is a stranger's: messages said `pip install 'penstock[serve]'`."""

    def test_messages_and_metadata_have_a_name_of_our_own(self):
        root = Path(__file__).parents[2]
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        assert project["name"] == "penstock-serving"
        sources = [*(root / "src").rglob("*.py"), *(root / "docs").rglob("*.md"), root / "README.md"]
        assert [path for path in sources if "penstock[" in path.read_text()] == []

    def test_the_metadata_has_urls_that_the_documents_explain(self):
        """Every address is one that docs/theory.md cites; an index shows labels of at most 32 letters."""
        root = Path(__file__).parents[2]
        urls = tomllib.loads((root / "pyproject.toml").read_text())["project"]["urls"]
        cited = (root / "docs" / "theory.md").read_text()
        assert len(urls) >= 5
        assert [url for url in urls.values() if f"({url})" not in cited] == []
        assert [label for label in urls if len(label) > 32] == []

    def test_windows_does_not_require_uvloop_and_the_support_is_stated(self):
        """uvloop has no wheels for Windows, and nothing said Linux and macOS only."""
        root = Path(__file__).parents[2]
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        (uvloop,) = [one for one in project["optional-dependencies"]["serve"] if one.startswith("uvloop")]
        assert "sys_platform != 'win32'" in uvloop
        assert {"Operating System :: MacOS", "Operating System :: POSIX :: Linux"} <= set(
            project["classifiers"]
        )
        readme = (root / "README.md").read_text()
        assert "under Linux (macOS plans and simulates; Windows does not work)" in readme


def test_the_first_screen_of_the_readme_says_the_scope():
    """README never said that everything runs on one machine."""
    first_screen = (Path(__file__).parents[2] / "README.md").read_text().splitlines()[:24]
    assert any("one machine" in line for line in first_screen)


class TestWrongFiles:
    def test_a_scenario_where_a_plan_is_needed(self, scenario: Path):
        """It was "not JSON"."""
        for verb in ("explain", "simulate", "sweep", "serve"):
            said = refusal(verb, scenario)
            assert "a plan is needed. Make one with 'penstock plan" in said

    def test_a_missing_file_is_named_once(self, tmp_path: Path):
        """The message had the file twice."""
        missing = tmp_path / "nope.json"
        assert refusal("explain", missing).count("nope.json") == 1

    def test_partition_of_a_missing_file_speaks_of_the_file(self, tmp_path: Path):
        """`partition nope.onnx` spoke of device classes."""
        said = refusal("partition", tmp_path / "nope.onnx", "-k", 2)
        assert "no such file" in said
        assert "device" not in said


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("model") / "squeeze.onnx"
    run("zoo", "squeezenet1_1", "-o", path)
    return path


class TestProfileCalls:
    def test_more_blocks_than_operators_is_bad_input(self, model: Path, tmp_path: Path):
        """`--blocks 100000` exited 3, as if the model were infeasible."""
        said = refusal("profile", model, "--predict", "L4", "--blocks", 100_000, "-o", tmp_path / "p")
        assert "--blocks 100000 is more than the model's" in said

    def test_an_empty_device_class_is_refused(self, model: Path, tmp_path: Path):
        """`--device-class ""` began to measure."""
        said = refusal("profile", model, "--device-class", "", "-o", tmp_path / "p")
        assert "--device-class is empty" in said

    def test_a_batch_that_writes_a_million_rows_is_refused(self, model: Path, tmp_path: Path):
        said = refusal("profile", model, "--predict", "L4", "--max-batch", 100_000, "-o", tmp_path / "p")
        assert "1<=x<=1024" in said

    def test_a_processor_is_not_measured_under_the_name_of_a_gpu(self, model: Path, tmp_path: Path):
        """`--device-class L4` on a CPU measured the CPU and called it L4."""
        pytest.importorskip("onnxruntime")
        said = refusal("profile", model, "--device-class", "l4", "-o", tmp_path / "p")
        assert "--device-class l4 is the name of a GPU" in said
        assert "--as-emulated" in said
        quick = ("--blocks", 1, "--max-batch", 1, "--seconds", 0.1)
        run("profile", model, "--device-class", "L4", "--as-emulated", *quick, "-o", tmp_path / "q")
        assert (tmp_path / "q" / "latency.csv").read_text().startswith("device_class")


def test_an_unknown_architecture_is_called_unknown():
    """`zoo resnet51` asked for -o and did not say that the name is unknown."""
    said = refusal("zoo", "resnet51")
    assert "'resnet51' is unknown" in said
    assert "Did you mean resnet" in said


def test_lost_devices_may_be_listed_with_commas(scenario: Path):
    """`--lost L4:0,L4:1` blamed a class 'L4:0,L4'."""
    left = without_lost(load_scenario(scenario), ["L4:0,L4:1", "T4:2"])
    assert {name: spec.lost for name, spec in left.cluster.device_classes.items()} == {
        "L4": (0, 1),
        "T4": (2,),
    }


class TestShares:
    """One option took a percent sign and four did not."""

    def test_every_option_that_takes_a_share_takes_a_percent_sign(self):
        wanted = {
            "--attainment",
            "--hold",
            "--gap",
            "--until-gap",
            "--tolerance",
            "--miss-budget",
            "--require",
        }
        found = set()
        for option in _options():
            names = wanted.intersection(option.opts)
            if names:
                assert isinstance(option.type, Share), option.opts
                found |= names
        assert found >= {"--attainment", "--hold", "--gap", "--until-gap", "--tolerance"}

    @pytest.mark.parametrize(
        ("text", "share"), [("99%", 0.99), ("0.99", 0.99), (" 2.5 %", 0.025), ("1%", 0.01)]
    )
    def test_both_ways_to_write_one(self, text: str, share: float):
        assert Share().convert(text, None, None) == pytest.approx(share)

    @pytest.mark.parametrize("text", ["150%", "x%", "-1%", "nan%", "%"])
    def test_what_is_no_share(self, text: str):
        with pytest.raises(click.BadParameter):
            Share().convert(text, None, None)


def _options() -> list[click.Parameter]:
    context = click.Context(cli)
    found: list[click.Parameter] = []
    commands: list[Any] = [cli.get_command(context, verb) for verb in VERBS]
    while commands:
        command = commands.pop()
        found += command.params
        commands += list(getattr(command, "commands", {}).values())
    return found


class TestProgress:
    """Only `profile` showed progress, and `--hold` printed forty lines with an unexplained "taste"."""

    def test_every_verb_takes_verbose_and_quiet(self):
        context = click.Context(cli)
        for verb in VERBS:
            command = cli.get_command(context, verb)
            inner = list(getattr(command, "commands", {}).values()) or [command]
            for one in inner:
                names = {name for parameter in one.params for name in parameter.opts}
                assert {"-v", "--verbose", "--quiet"} <= names, verb

    def test_verbose_prints_steps_and_quiet_nothing(self, plan: Path):
        command = [sys.executable, "-m", "penstock", "simulate", str(plan), "--seconds", "1", "--seeds", "2"]
        told = subprocess.run([*command, "-v"], capture_output=True, text=True, check=False).stderr
        assert "simulating, seed 1 (2 of 2)" in told
        silent = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False).stderr
        assert "simulating" not in silent


class TestUnits:
    def test_one_model_has_no_unit_of_weight(self, plan: Path):
        """Even one model's rate was "requests/s per unit of weight"."""
        assert "per unit of weight" not in run("explain", plan)

    def test_cost_is_divided_by_the_rate(self, scenario: Path):
        """2 x 0.8 + 4 x 0.4 = 3.2 an hour; nobody divided it by the rate."""
        printed = run("plan", scenario)
        rate = float(printed.split("requests/s within")[0].split()[-1])
        hourly = float(printed.split("cost       ")[1].split()[0])
        per_million = float(printed.split("an hour; ")[1].split()[0])
        assert per_million == pytest.approx(hourly / 3600 / rate * 1e6, abs=0.006)
        assert "per million" in run("capacity", scenario, "--points", 1)


class TestTables:
    """Tables ignored the terminal's width."""

    def test_texts_wrap_and_numbers_never(self):
        from penstock.api.showing.tables import as_text, table

        long = table("t", ["model", "rate", "misses"], [["a", "123456.7", "12 dropped:early, 5 late " * 4]])
        text = as_text([long], width=50)
        assert max(map(len, text.splitlines())) <= 50
        assert "123456.7" in text

    def test_a_table_that_is_still_too_wide_is_split_by_columns(self):
        from penstock.api.showing.tables import as_text, fitted, table

        wide = table(
            "t", ["class", *(f"column{i}" for i in range(9))], [["L4", *("1234567.8" for _ in range(9))]]
        )
        pieces = fitted(wide, 60)
        assert len(pieces) > 1
        assert all(piece.columns[0] == "class" for piece in pieces)
        assert [name for piece in pieces for name in piece.columns[1:]] == list(wide.columns[1:])
        text = as_text([wide], width=60)
        assert max(map(len, text.splitlines())) <= 60
        assert text.count("1234567.8") == 9


class TestMargin:
    """`explain` blamed "want of L4", although the margin of 40% was the cause."""

    def test_explain_says_that_the_margin_binds_and_what_to_try(self, tmp_path: Path):
        # All blocks on a T4 take 33 ms. The SLO is 34 ms, less 13.6 ms of margin: 20.4 ms. It fits at 1 ms, 2.94%.
        scenario = write_study(tmp_path, slo_ms=34.0)
        run("plan", scenario, "-o", tmp_path / "p.json")
        printed = run("explain", tmp_path / "p.json")
        assert "1 T4 idle" in printed
        assert "the margin of detector binds: with at most 2.9% of the SLO as margin, T4" in printed
        assert "Try slo_margin: 0.029" in printed
        assert "--hold 0.99" in printed

    def test_the_report_says_why_devices_are_idle(self, tmp_path: Path):
        scenario = write_study(tmp_path, slo_ms=34.0)
        run("plan", scenario, "-o", tmp_path / "p.json")
        run("report", tmp_path / "p.json", "-o", tmp_path / "page.html")
        (reason,) = [line for line in run("explain", tmp_path / "p.json").splitlines() if "1 T4 idle" in line]
        assert f"<li>{reason.strip()}" in html.unescape((tmp_path / "page.html").read_text())

    def test_with_that_margin_all_devices_are_used(self, tmp_path: Path):
        scenario = write_study(tmp_path, slo_ms=34.0)
        scenario.write_text(scenario.read_text().replace("slo_ms: 34.0", "slo_ms: 34.0\n  slo_margin: 0.029"))
        devices = run("plan", scenario).split("Devices")[1]
        assert [line.split() for line in devices.splitlines() if line.strip().startswith("T4")] == [
            ["T4", "4", "4"]
        ]


class TestSpread:
    """A profile that other programs disturbed gave a plan of 22,599 requests/s that met none of them."""

    def test_plan_says_what_rate_the_spread_allows(self, tmp_path: Path):
        # p99 / median = 50: sigma = ln(50) / 2.326 = 1.682, the mean is exp(sigma^2 / 2) = 4.11 medians.
        scenario = one_block(tmp_path, slo_ms=1000, p99_us=90_000, runs=1000)
        printed = run("plan", scenario)
        rate = float(printed.split("requests/s within")[0].split()[-1])
        assert "takes 4.1 times the median on average" in printed
        assert f"about {rate / 4.113:.0f}" in printed.replace(".", " ").replace(",", "")

    def test_profile_says_that_the_machine_was_busy_and_that_runs_are_few(self):
        import numpy as np

        from penstock.profile.steadiness import remarks
        from penstock.profile.table import Block, LatencyTable, Profile, Provenance

        def told(p99_us: int, runs: int) -> list[str]:
            table = LatencyTable(np.array([[100]]), np.array([[p99_us]]), runs)
            made = Provenance("measured", "toy", "toy", "2025-01-01")
            return list(
                remarks(Profile("m", (Block("b", (), 0, 0),), (0, 0), {("cpu", 1): table}, made), ["cpu"])
            )

        (busy,) = told(2_000, 100)
        assert "99th percentile of b at batch 1 is 2000 us, 20 times its median" in busy
        (few,) = told(150, 99)
        assert "of 99 runs only" in few
        assert told(150, 100) == []
        # Half a millisecond does not matter, whatever its ratio.
        assert told(500, 100) == []


@pytest.mark.slow
def test_a_terminated_profile_leaves_nothing_in_the_temporary_folder(model: Path, tmp_path: Path):
    """SIGTERM of `profile` left 780 MB in the temporary folder."""
    pytest.importorskip("onnxruntime")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [
        sys.executable,
        "-m",
        "penstock",
        "profile",
        str(model),
        "--device-class",
        "cpu",
        "--max-batch",
        "1",
    ]
    process = subprocess.Popen(
        [*command, "--seconds", "9", "--blocks", "1", "-v", "-o", str(tmp_path / "p")],
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("measuring block"):
                break
        assert any(scratch.iterdir())
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(60) == 143
    finally:
        process.kill()
        process.wait()
    # The runtime keeps a session's number of 51 bytes there.
    assert [path.name for path in scratch.iterdir() if path.name != ".ses"] == []
