"""A real model in two stages on several hosts: answers beside onnxruntime's, attainment beside the simulator's.

    sudo python benchmarks/across_hosts.py [--where namespaces ray] [--hosts 2 4] [--loads 0.3 0.6] [--seconds 60]

SqueezeNet 1.1 of the zoo is profiled on this machine, now, and cut where both stages take the same time. A host is a
network namespace of this machine with an address of its own (``--rehearse-hosts``, needs root), or a node of a real
Ray cluster that is started here (``ray.cluster_utils``, needs Ray). Each has one device. A worker computes the real
results and is held to the table, whose times are the measured ones times what makes a stage --stage-ms long: so all
hosts together leave most of this machine's cores free, as devices would, and what is compared is the server.

The simulator knows nothing of processes that wait for a core. On a busy machine choose long stages and low loads, or
what is compared is the machine: with 200 ms a stage at a load average of 12 on two cores, a load of 0.8 came late.

The same Poisson arrivals, at each of --loads times the planned rate, are sent to the server and simulated with the
server's allowance. Exit status 1 if an answer differs from onnxruntime's, or if the attainments differ by more than
two points.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
from serve_cases import write_plan

from penstock.plan.documents.store import load_plan
from penstock.profile.emulate import derive_slower
from penstock.profile.store import load_profile
from penstock.serve.local_server import LocalServer

MODEL = "squeezenet1_1"
SIDE = 224
SLO_STAGES = 12
"""The SLO is so many times a stage."""
ASKED = 16
"""Answers that are compared with onnxruntime's."""
POINTS = 2.0
NOTES = 20
"""Lines of the server's log that are shown if requests were refused."""
READY_S = 300.0


def penstock(*words: object) -> dict[str, object]:
    """What a verb prints as JSON."""
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", *map(str, words)]
    done = subprocess.run([*command, "--quiet"], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")
    return dict(json.loads(done.stdout)) if "--json" in words else {}


def planned(folder: Path, model: Path, hosts: int, stage_us: int) -> Path:
    """A plan of two stages on half of the hosts each."""
    measured = load_profile(folder / "measured")
    times_us = measured.table("cpu", 1).latency_us[:, 0].astype(float)
    factor = 2 * stage_us / times_us.sum()
    ends_us = times_us.cumsum()
    cut = 1 + int(np.abs(ends_us[:-1] - ends_us[-1] / 2).argmin())
    profile = derive_slower(measured, "cpu", "gpu", np.full(len(times_us), factor), "hosts that share cores")
    own = folder / f"hosts-{hosts}"
    own.mkdir()
    print(
        f"{hosts} hosts: measured {times_us.sum() / 1e3:.1f} ms at batch 1, times {factor:.0f}; "
        f"stages of blocks 0 to {cut} and {cut} to {len(times_us)}"
    )
    slo_us = SLO_STAGES * stage_us
    return write_plan(own, profile, (0, cut, len(times_us)), workers=hosts // 2, batch=1, slo_us=slo_us)


@contextmanager
def cluster(hosts: int) -> Iterator[list[str]]:
    """The options of a server on a Ray cluster of a head and a node for each host."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(hosts):
            made.add_node(num_cpus=1, resources={"penstock-gpu": 1}, include_dashboard=False)
        made.wait_for_nodes()
        yield ["--engine", "ray", "--address", made.address]
    finally:
        made.shutdown()


@contextmanager
def namespaces(hosts: int) -> Iterator[list[str]]:
    """The options of a rehearsal."""
    yield ["--rehearse-hosts"]


PLACES = {"namespaces": namespaces, "ray": cluster}


def largest_difference(url: str, name: str, model: Path) -> float:
    """From onnxruntime's outputs, over all values of some answers, relative to the largest output."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    client = triton.InferenceServerClient(url.removeprefix("http://"), network_timeout=60.0)
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(ASKED):
        image = rng.normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
        tensor = triton.InferInput(given.name, list(image.shape), "FP32")
        tensor.set_data_from_numpy(image)
        answer = _asked_until_answered(client, name, tensor).as_numpy(output.name)
        wanted = session.run([output.name], {given.name: image})[0]
        assert answer is not None
        assert answer.shape == wanted.shape
        worst = max(worst, float(np.abs(answer - wanted).max() / np.abs(wanted).max()))
    client.close()
    return worst


def _asked_until_answered(
    client: triton.InferenceServerClient, name: str, tensor: triton.InferInput
) -> triton.InferResult:
    """On a busy machine a worker may be given up for a moment just after the start (503)."""
    end_s = time.monotonic() + READY_S
    while True:
        try:
            return client.infer(name, [tensor])
        except InferenceServerException as error:
            if error.status() not in ("503", "504") or time.monotonic() > end_s:
                raise


def attained(document: dict[str, object]) -> float:
    models = document["models"]
    assert isinstance(models, list)
    return float(models[0]["attainment"])


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--where", nargs="*", choices=list(PLACES), default=list(PLACES))
    asked.add_argument("--hosts", nargs="*", type=int, default=[2, 4])
    asked.add_argument("--loads", nargs="*", type=float, default=[0.3, 0.6])
    asked.add_argument("--seconds", type=float, default=60.0)
    asked.add_argument("--stage-ms", type=int, default=500)
    asked.add_argument("--overhead-us", type=int, default=100_000)
    options = asked.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        model = folder / f"{MODEL}.onnx"
        penstock("zoo", MODEL, "--image-size", SIDE, "-o", model)
        how = ("--device-class", "cpu", "--max-batch", 1, "--seconds", 10)
        penstock("profile", model, *how, "-o", folder / "measured")
        plans = {hosts: planned(folder, model, hosts, options.stage_ms * 1_000) for hosts in options.hosts}
        allowance = ("--overhead-us", options.overhead_us)
        print(
            f"SLO {SLO_STAGES * options.stage_ms} ms\n"
            f"{'where':<11}{'hosts':>6}{'load':>6}{'req/s':>7}{'sent':>6}{'simulated':>11}{'served':>9}{'points':>8}"
            f"  load average"
        )
        for where in options.where:
            for hosts, plan in plans.items():
                (planned_model,) = load_plan(plan).plan.models
                name = planned_model.name
                with PLACES[where](hosts) as place:
                    command = [*place, "--executor", "padded", *map(str, allowance)]
                    with LocalServer(plan, command, ready_s=READY_S) as server:
                        differs = largest_difference(server.url, name, model)
                        print(f"{where}, {hosts} hosts: {ASKED} answers differ by {differs:.1e} at most")
                        broken += differs > 1e-4
                        for load in options.loads:
                            rate = planned_model.rate_rps * load
                            same = ("--seconds", options.seconds, "--json")
                            simulated = penstock(
                                "simulate", plan, "--rate", f"{name}={rate}", *allowance, *same
                            )
                            served = penstock("load", server.url, "--model", name, "--rate", rate, *same)
                            points = 100 * (attained(served) - attained(simulated))
                            statuses = dict(served["statuses"])  # type: ignore[call-overload]
                            sent = sum(statuses.values())
                            refused = {status: count for status, count in statuses.items() if status != "200"}
                            broken += abs(points) > POINTS
                            print(
                                f"{where:<11}{hosts:>6}{load:>6.2f}{rate:>7.2f}{sent:>6}{attained(simulated):>11.2%}"
                                f"{attained(served):>9.2%}{points:>8.2f}  {os.getloadavg()[0]:.1f}"
                                f"{f', statuses {refused}' if refused else ''}",
                                flush=True,
                            )
                            if refused:
                                print(*server.notes.splitlines()[-NOTES:], sep="\n", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
