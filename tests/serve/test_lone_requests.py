"""A lone request on an idle fleet leaves at once, live and simulated, by the same decisions."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.record import Outcome
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals

LONE = 40


def test_simulated_lone_requests_take_what_their_work_takes(tmp_path):
    """Batch 1 takes 50 ms at each of two stages, and 8 us to send 10 kB. The planned batch is 4, the SLO a second."""
    from serve_cases import bytes_profile, write_plan

    from penstock.plan.dispatch_table import dispatch_table
    from penstock.plan.documents.store import load_plan

    plan = write_plan(tmp_path, bytes_profile("sizes", (24, 10_000, 10), 50_000), (0, 1, 2), workers=3)
    loaded = load_plan(plan)
    table = dispatch_table(loaded.plan, loaded.profiles)
    arrivals = Arrivals(np.arange(LONE) * 200_000, np.zeros(LONE, np.int64))
    lone = simulate(table, arrivals, model_names=["sizes"], seed=0).requests
    assert lone.outcome.tolist() == [Outcome.MET] * LONE
    assert (lone.finish_us - lone.arrival_us).tolist() == [100_008] * LONE
    apart = Arrivals(np.arange(LONE) * 2_000_000, np.zeros(LONE, np.int64))
    published = simulate(table, apart, model_names=["sizes"], seed=0, policy="reservation").requests
    # The published rule waits for a second request until the last moment: that of a batch of two, 110 ms and 16 us.
    assert (published.finish_us - published.arrival_us).tolist() == [1_000_000 - 10_008] * LONE
    soon = simulate(
        table, apart, model_names=["sizes"], seed=0, policy="reservation", max_queue_delay_us=7_000
    )
    assert (soon.requests.finish_us - soon.requests.arrival_us).tolist() == [107_008] * LONE


@pytest.mark.slow
def test_live_lone_requests_leave_with_the_decision_that_sees_them(tmp_path):
    import tritonclient.http as triton
    from serve_cases import bytes_profile, write_plan

    from penstock.schedule.journal import replay
    from penstock.schedule.routed_policy import ReservationPolicy
    from penstock.serve.dispatcher.journal import read_journal
    from penstock.serve.local_server import LocalServer

    plan = write_plan(tmp_path, bytes_profile("sizes", (24, 10_000, 10), 20_000), (0, 1, 2), workers=3)
    path = tmp_path / "journal"
    arguments = ["--executor", "emulated", "--max-queue-delay-ms", "500", "--journal", str(path)]
    with (
        LocalServer(plan, arguments) as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        tensor = triton.InferInput("input", [1, 24], "UINT8")
        tensor.set_data_from_numpy(np.zeros((1, 24), np.uint8))
        for _ in range(LONE):
            client.infer("sizes", [tensor])
    journal = read_journal(path)
    assert (journal.policy, journal.max_queue_delay_us) == ("penstock", 500_000)
    # Each was alone: it left in the first decision after it came, to workers that were idle.
    decisions = iter(journal.decisions)
    waiting: set[int] = set()
    left = 0
    for event in journal.events:
        if event[0] == "arrive":
            waiting.add(event[3])
        elif event[0] == "decide":
            decision = next(decisions)
            for dispatch in decision.dispatches:
                assert dispatch.start_us[0] == event[1] + journal.dispatch_us
                waiting -= set(dispatch.requests)
                left += len(dispatch.requests)
            assert not decision.drops
            assert not waiting
    assert left == LONE
    again = ReservationPolicy(
        journal.table,
        rule=journal.policy,
        dispatch_us=journal.dispatch_us,
        overhead_us=journal.overhead_us,
        max_queue_delay_us=journal.max_queue_delay_us,
    )
    assert replay(again, journal.events) == journal.decisions
