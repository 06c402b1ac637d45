"""A plan on many hosts in the simulator: what it attains, and what a decision costs, by the number of hosts.

    python benchmarks/thousand_hosts.py [--hosts 16 128 1000] [--devices 8] [--load 0.9] [--seconds 20]

Half of the hosts have L4 devices and half T4; the model is twenty times as heavy as ResNet-50 at 448 pixels (predicted
profiles, as in ``autoscale.py``). The plan is the planner's own, with its proof. Requests come at Poisson times at a
part of the planned rate, and are simulated with the server's policy, noise and the links between hosts included. Times
are of the processor. A decision is a batch with its route. Beside it stands what the dispatcher takes for a batch with
so many workers (``many_hosts.py``: decision, books and messages), and so how many cores it would need.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

import penstock
from autoscale import scenario
from many_hosts import books_us, passage_us, table_of
from penstock.plan.dispatch_table import dispatch_table
from penstock.record import Outcome
from penstock.schedule.table import DispatchTable
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson

PLAN_S = 120.0
SEED = 7


def fleet(path: Path, hosts: int, devices: int) -> Path:
    """The scenario at ``path`` with so many hosts."""
    document = yaml.safe_load(path.read_text())
    for one in document["cluster"]["device_classes"].values():
        one |= {"count": hosts // 2 * devices, "per_host": devices}
    made = path.with_name(f"hosts-{hosts}.yaml")
    made.write_text(yaml.safe_dump(document))
    return made


def attained(table: DispatchTable, arrivals: Arrivals) -> tuple[float, int, float]:
    """The share of requests that were met, the batches, and the seconds of the processor."""
    begin_s = time.process_time()
    record = simulate(table, arrivals, model_names=["resnet50"], seed=SEED, noise=True)
    spent_s = time.process_time() - begin_s
    met = float(np.mean(record.requests.outcome == Outcome.MET))
    return met, int((record.batches.stage == 0).sum()), spent_s


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--hosts", type=int, nargs="+", default=[16, 128, 1000])
    asked.add_argument("--devices", type=int, default=8)
    asked.add_argument("--load", type=float, default=0.9)
    asked.add_argument("--seconds", type=float, default=20.0)
    given = asked.parse_args()
    small = table_of(1, 8)
    books_us(small), passage_us(2_000)  # compiles
    passage = passage_us()
    print(
        f"{'hosts':>6}{'devices':>9}{'workers':>9}{'stages':>7}{'plan s':>8}{'gap':>8}{'planned/s':>11}{'requests':>10}"
        f"{'attained':>10}{'batches/s':>11}{'cpu s':>8}{'us a batch':>11}{'decisions/s':>12}"
        f"{'dispatcher us':>14}{'cores':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = scenario(Path(folder))
        for hosts in given.hosts:
            study = penstock.Study.read(fleet(path, hosts, given.devices))
            begin_s = time.process_time()
            plan = study.plan(time_limit_s=PLAN_S).plan
            plan_s = time.process_time() - begin_s
            table = dispatch_table(plan, study.profiles)
            rate = plan.models[0].rate_rps
            arrivals = draw_arrivals(poisson, [rate * given.load], given.seconds, np.random.default_rng(SEED))
            if hosts == given.hosts[0]:
                attained(table, draw_arrivals(poisson, [rate], 1.0, np.random.default_rng(SEED)))  # compiles
            met, batches, spent_s = attained(table, arrivals)
            books = min(books_us(table_of(hosts, given.devices))[0] for _ in range(3))
            dispatcher_us = books + 1.5 * passage  # three messages, of each one end
            stages = max(len(one.stages) for one in plan.models[0].pipelines)
            print(
                f"{hosts:>6}{hosts * given.devices:>9}{table.n_workers:>9}{stages:>7}{plan_s:>8.1f}{plan.gap:>8.2%}"
                f"{rate:>11.0f}{len(arrivals):>10}{met:>10.2%}{batches / given.seconds:>11.0f}{spent_s:>8.1f}"
                f"{spent_s / batches * 1e6:>11.1f}{batches / spent_s:>12.0f}"
                f"{dispatcher_us:>14.1f}{batches / given.seconds * dispatcher_us * 1e-6:>7.2f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
