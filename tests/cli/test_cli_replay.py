"""``penstock replay``: records through the simulator, journals through the policy."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from test_cli_simulate import plan  # noqa: F401  # a fixture

from penstock.cli.running import replay, simulate
from penstock.errors import BadInputError, PenstockError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.store import load_plan
from penstock.record import Outcome, load_record, save_record
from penstock.report.replayed import compare_replay
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.serve.dispatcher.journal import JournalFile, read_journal
from penstock.serve.dispatcher.journal_replay import replay_journal
from penstock.simulate.recorded_arrivals import recorded_arrivals


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def none_of(table):
    """``table`` without its rows."""
    return type(table)(*(column[:0] for column in vars(table).values()))


@pytest.fixture(scope="module")
def record(plan, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("record") / "run"
    result = run(simulate.command, plan, "--seconds", 3, "--load", 1.4, "--no-noise", "-o", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_on_the_same_plan_a_simulated_record_comes_out_again(record, plan, tmp_path):  # noqa: F811
    result = run(replay.command, record, "--plan", plan, "--no-noise", "--json", "-o", tmp_path / "again")
    assert result.exit_code == 0, result.output
    (model,) = json.loads(result.stdout)["models"]
    assert model["record"] == model["replay"]
    assert (model["only_record"], model["only_replay"], model["agreement"]) == (0, 0, 1.0)
    first, again = load_record(record).requests, load_record(tmp_path / "again").requests
    np.testing.assert_array_equal(
        first.finish_us - first.arrival_us[0] * (first.finish_us >= 0), again.finish_us
    )
    np.testing.assert_array_equal(first.outcome, again.outcome)


def test_under_other_costs_the_difference_is_shown(record, plan):  # noqa: F811
    result = run(replay.command, record, "--plan", plan, "--no-noise", "--overhead-us", 20_000, "--json")
    (model,) = json.loads(result.stdout)["models"]
    assert model["replay"]["attainment"] < model["record"]["attainment"]
    assert model["only_record"] > model["only_replay"]
    shown = run(replay.command, record, "--plan", plan, "--no-noise").stdout
    for words in ("record", "replay", "100.00%", "toy"):
        assert words in shown


def test_the_fates_of_requests_are_compared_one_by_one(record):
    before = load_record(record)
    met = before.requests.outcome == Outcome.MET
    changed = before.requests.outcome.copy()
    changed[np.flatnonzero(met)[:3]] = Outcome.LATE
    changed[np.flatnonzero(~met)[:2]] = Outcome.MET
    (model,) = compare_replay(before, replace(before, requests=replace(before.requests, outcome=changed)))
    assert (model.only_record, model.only_replay) == (3, 2)
    assert model.agreement == pytest.approx(1 - 5 / len(met))


def test_what_a_client_that_left_would_have_got_is_not_compared(record):
    before = load_record(record)
    left = before.requests.outcome.copy()
    left[:4] = Outcome.CANCELLED
    lost = before.requests.outcome.copy()
    lost[:4] = Outcome.LATE
    outcomes = (replace(before, requests=replace(before.requests, outcome=one)) for one in (left, lost))
    (model,) = compare_replay(*outcomes)
    assert (model.only_record, model.only_replay, model.agreement) == (0, 0, 1.0)


def test_arrivals_keep_times_models_and_deadlines(record):
    before = load_record(record)
    shifted = replace(
        before,
        models=("other", "toy"),
        requests=replace(
            before.requests,
            model=before.requests.model + 1,
            arrival_us=before.requests.arrival_us + 5_000_000,
            deadline_us=before.requests.deadline_us + 5_000_007,
        ),
    )
    found = recorded_arrivals(shifted, ["toy", "third"])
    np.testing.assert_array_equal(
        found.arrival_us, before.requests.arrival_us - before.requests.arrival_us[0]
    )
    assert set(found.model.tolist()) == {0}
    assert set(found.slo_us.tolist()) == {60_007}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: replace(r, models=("nobody",)), "has requests for nobody, but the plan serves toy"),
        (lambda r: replace(r, requests=none_of(r.requests), batches=none_of(r.batches)), "has no requests"),
        (
            lambda r: replace(r, requests=replace(r.requests, deadline_us=r.requests.arrival_us - 3)),
            "3 us before its arrival",
        ),
        (
            lambda r: replace(r, requests=replace(r.requests, arrival_us=r.requests.arrival_us[::-1].copy())),
            "before its arrival|not in order",
        ),
    ],
)
def test_a_record_that_cannot_be_replayed_is_refused(record, change, words):
    with pytest.raises(BadInputError, match=words):
        recorded_arrivals(change(load_record(record)), ["toy"])


def test_a_record_needs_a_plan_and_a_journal_has_one(record, tmp_path):
    for arguments, words in (
        ((record,), "give the plan"),
        ((tmp_path / "none", "--plan", "x.json"), "leave out --plan"),
        ((tmp_path / "none",), "cannot be read as a journal"),
    ):
        result = run(replay.command, *arguments)
        assert isinstance(result.exception, BadInputError)
        assert words in str(result.exception)


@pytest.fixture
def journal(plan, tmp_path):  # noqa: F811
    """The calls of a policy on the plan: three requests, of which the last cannot be met."""
    loaded = load_plan(plan)
    table = dispatch_table(loaded.plan, loaded.profiles)
    policy = ReservationPolicy(table, rule="reservation", dispatch_us=100, overhead_us=1_000)
    path = tmp_path / "journal"
    file = JournalFile(policy, path, table, dispatch_us=100, overhead_us=1_000)
    for request, deadline_us in enumerate((60_000, 60_000, 500)):
        file.policy.arrive(0, 0, request, deadline_us)
    wake_us = file.policy.decide(0).wake_us
    while wake_us < 60_000:
        wake_us = file.policy.decide(wake_us).wake_us
    file.close()
    return path


def test_a_journal_gives_the_same_decisions(journal):
    made = replay_journal(read_journal(journal))
    assert (made.requests, made.drops, made.differing) == (2, 1, ())
    result = run(replay.command, journal, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["differing"] == []


def test_a_changed_journal_is_found_out(journal):
    lines = journal.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith('["decided",[['))
    journal.write_text(
        "\n".join(
            [*lines[:place], lines[place].replace('"decided",[[0,', '"decided",[[7,'), *lines[place + 1 :]]
        )
        + "\n"
    )
    result = run(replay.command, journal)
    assert isinstance(result.exception, PenstockError)
    assert result.exception.exit_status == 1
    assert "1 decisions differ" in str(result.exception)
    other = journal.read_text().replace('"policy":"reservation"', '"policy":"nobodys"')
    journal.write_text(other)
    assert "is none of" in str(run(replay.command, journal).exception)


def test_what_was_written_is_a_record(record, plan, tmp_path):  # noqa: F811
    measured = replace(load_record(record), source="measured")
    save_record(measured, tmp_path / "live")
    result = run(
        replay.command, tmp_path / "live", "--plan", plan, "--json", "--dispatch-us", 0, "--overhead-us", 0
    )
    assert json.loads(result.stdout)["source"] == "measured"
