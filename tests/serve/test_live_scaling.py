"""A server that follows its load: what the hook is asked for, what is switched to, and what goes wrong."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("zmq")

from click.testing import CliRunner
from serve_cases import bytes_profile, write_plan
from started_command import Started
from test_serve_live import ask, wait_until

from penstock.cli.main import cli
from penstock.errors import BadInputError
from penstock.plan.autoscale.ladder_file import LADDER, load_ladder
from penstock.serve.engine.live_scaling import LadderToFollow, LiveScaling
from penstock.serve.local_server import LocalServer
from penstock.serve.observe.catalogue import REQUESTS, SAMPLES
from penstock.units import US_PER_S

RUN = Path("/run")
RULES = {"node_s": 20, "load_s": 1, "every_s": 10, "calm_s": 20, "safety": 1.0}


def write_ladder(
    folder, *, plans=("rung-1.json", "rung-2.json"), base_rps=10.0, rules=RULES, forecast="live"
):
    rungs = [
        {"plan": plan, "factor": float(place), "devices": {"gpu": place}, "hourly_cost": float(place)}
        for place, plan in enumerate(plans, 1)
    ]
    for plan in plans:
        if not (folder / plan).exists():
            (folder / plan).write_text("{}")
    document = {
        "version": 1,
        "base_rps": {"m": base_rps},
        "rules": rules,
        "forecast": forecast,
        "rungs": rungs,
    }
    (folder / LADDER).write_text(json.dumps(document))
    return folder


class Case:
    """A server that gets ``rate`` requests a second, each of two samples, one of ten refused; it is driven by hand."""

    def __init__(self, folder, *, hook=("nodes",)):
        self.notes, self.hooks, self.verbs = [], [], []
        self.met = self.refused = 0
        follow = LadderToFollow(folder, load_ladder(folder), hook, 60 * US_PER_S)
        self.scaling = LiveScaling(
            follow,
            0,
            RUN,
            self.totals,
            self.notes.append,
            start_hook=lambda words: self.hooks.append(Started(words)) or self.hooks[-1],
            start_verb=lambda words: self.verbs.append(Started(words)) or self.verbs[-1],
        )
        self.now_s = 0
        self.scaling.turn(0)

    def totals(self):
        return {
            (REQUESTS.name, ("m", "met")): [self.met],
            (REQUESTS.name, ("m", "refused")): [self.refused],
            (REQUESTS.name, ("m", "malformed")): [10_000 * self.met],
            (SAMPLES.name, ("m",)): [2 * self.met],
        }

    def go_on(self, rate, seconds=10):
        self.met += 9 * rate * seconds / 10
        self.refused += rate * seconds / 10
        self.now_s += seconds
        self.scaling.turn(self.now_s * US_PER_S)


@pytest.fixture
def case(tmp_path):
    return Case(write_ladder(tmp_path))


def test_more_load_than_the_plan_holds_asks_for_devices_then_switches(case, tmp_path):
    """7.5 requests/s of two samples are 1.5 times the base rate of 10, refused ones too, malformed ones not."""
    case.go_on(7.5)
    assert [one.words for one in case.hooks] == [["nodes", '{"gpu": 2}']]
    case.go_on(7.5)
    assert (len(case.hooks), case.verbs) == (1, [])  # it has not come yet
    case.hooks[0].result = ""
    case.go_on(7.5)
    assert case.verbs[0].words == ["switch", str(tmp_path / "rung-2.json"), "--run", "/run"]
    case.scaling.served(str(tmp_path / "rung-2.json"))
    case.verbs[0].result = ""
    case.go_on(7.5)
    assert (len(case.hooks), len(case.verbs)) == (1, 1)


def test_devices_are_given_back_after_the_switch_to_a_smaller_plan(case, tmp_path):
    case.go_on(7.5)
    case.hooks[0].result = ""
    case.go_on(7.5)
    case.scaling.served(str(tmp_path / "rung-2.json"))
    case.verbs[0].result = ""
    for _ in range(100):
        case.go_on(1)
        if len(case.verbs) == 2:
            break
    assert case.verbs[1].words[1] == str(tmp_path / "rung-1.json")
    assert len(case.hooks) == 1  # nothing goes before the plan is served no more
    case.scaling.served(str(tmp_path / "rung-1.json"))
    case.verbs[1].result = ""
    case.go_on(1)
    assert case.hooks[1].words[1] == '{"gpu": 1}'


@pytest.mark.parametrize(("forecast", "asked_in_hour"), [("live", 12), ("yesterday", 10)])
def test_the_busy_hour_of_the_day_before_is_expected_by_a_ladder_that_says_so(
    tmp_path, forecast, asked_in_hour
):
    """A dry run. The hour from 12 to 13 has 1.5 times the base rate, the others a half. What is asked for comes after
    20 minutes, two decisions included; and the hour may begin an hour earlier."""
    rules = RULES | {"every_s": 600, "calm_s": 0}
    case = Case(write_ladder(tmp_path, rules=rules, forecast=forecast), hook=())
    asked_at = []
    for window in range(2 * 24 * 6):
        hour = window // 6
        said = len(case.notes)
        case.go_on(7.5 if hour % 24 == 12 else 2.5, 600)
        if any("would have 2 gpu" in note for note in case.notes[said:]):
            asked_at.append(hour)
    assert min(asked_at) == 12  # on the first day nothing is known
    assert min(hour for hour in asked_at if hour >= 24) == 24 + asked_in_hour


def test_a_hook_that_fails_is_said_and_asked_again(case):
    case.go_on(7.5)
    case.hooks[0].result = "no quota"
    case.go_on(7.5)
    assert [one.words for one in case.hooks] == [["nodes", '{"gpu": 2}']] * 2
    assert any("asked again later: no quota" in note for note in case.notes)
    assert case.verbs == []


def test_a_hook_that_takes_too_long_is_killed(case):
    for _ in range(8):
        case.go_on(7.5)
    assert case.hooks[0].killed
    assert any("it was killed after 60 s" in note for note in case.notes)
    assert len(case.hooks) == 2


def test_a_switch_that_fails_is_tried_again(case):
    case.go_on(7.5)
    case.hooks[0].result = ""
    case.go_on(7.5)
    case.verbs[0].result = "another plan is being prepared"
    case.go_on(7.5)
    assert any("stays as it is for now: another plan" in note for note in case.notes)
    assert len(case.verbs) == 2


def test_without_a_hook_it_only_says_what_it_would_do(tmp_path):
    case = Case(write_ladder(tmp_path), hook=())
    for _ in range(3):
        case.go_on(7.5)
    assert (case.hooks, case.verbs) == ([], [])
    assert [note.partition(": ")[2] for note in case.notes] == [
        "would have 2 gpu and serve rung-1.json",
        "would have 2 gpu and serve rung-2.json",
    ]
    assert "dry run, load 1.50 of the base rates" in case.notes[0]


def test_what_runs_at_the_end_is_ended(case):
    case.go_on(7.5)
    case.scaling.close()
    assert case.hooks[0].killed


def refused(*arguments):
    done = CliRunner().invoke(cli, ["serve", *map(str, arguments)])
    assert isinstance(done.exception, BadInputError), done.exception
    return str(done.exception)


def test_bad_options_are_refused(tmp_path):
    profile = bytes_profile("m", (24, 10), 20_000)
    plan = write_plan(tmp_path, profile, (0, 1), workers=1, batch=1, slo_us=8_000_000)
    assert "give --autoscale FOLDER" in refused(plan, "--autoscale-hook", "nodes")
    assert "has no ladder.json" in refused(plan, "--autoscale", tmp_path)
    write_ladder(tmp_path)
    assert "is no plan of the ladder" in refused(plan, "--autoscale", tmp_path)
    follow = (tmp_path / "rung-1.json", "--autoscale", tmp_path, "--autoscale-hook")
    assert "there is no program 'no-such-program'" in refused(*follow, "no-such-program --now")
    assert "Quote it as for a shell" in refused(*follow, "'nodes")


@pytest.mark.slow
def test_a_server_asks_its_hook_and_switches(tmp_path):
    """A real server, a real hook: load comes, the hook is asked for two devices, and the plan for two is served."""
    profile = bytes_profile("m", (24, 10), 20_000)
    plans = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        plan = write_plan(folder, profile, (0, 1), workers=workers, batch=1, slo_us=8_000_000)
        plans.append(str(plan.relative_to(tmp_path)))
    rules = {"node_s": 0, "load_s": 0, "every_s": 1, "calm_s": 3600, "safety": 1.0}
    write_ladder(tmp_path, plans=plans, base_rps=1.0, rules=rules)
    hook, asked = tmp_path / "hook.py", tmp_path / "asked"
    hook.write_text(f"#!{sys.executable}\nimport sys\nopen({str(asked)!r}, 'a').write(sys.argv[1] + '\\n')\n")
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    body = json.dumps(
        {"inputs": [{"name": "input", "shape": [1, 24], "datatype": "UINT8", "data": [0] * 24}]}
    ).encode()
    options = ["--executor", "emulated", "--autoscale", str(tmp_path), "--autoscale-hook", str(hook)]
    with LocalServer(tmp_path / plans[0], options) as server:

        def served():
            for _ in range(5):
                assert ask(f"{server.url}/v2/models/m/infer", body)[0] == 200
            return "switched to plan" in server.notes

        wait_until(served, 120)
        assert json.loads(asked.read_text().splitlines()[0]) == {"gpu": 2}
