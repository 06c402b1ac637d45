"""Autoscaling: what a fleet that follows the load costs, beside the cheapest static plan that holds as much.

    python benchmarks/autoscale.py [--traces FOLDER] [--rate 100] [--hours 24] [--node-seconds 180] [--rungs 12]

No public trace of requests to models lasts a day. So the days are: a synthetic one (a cosine), and the hours of the
Azure LLM traces (code and conversation, November 2023) stretched to a day, each six minutes of the recording's shape to
2.4 hours: counts of 15 s of the recording become 6 minutes of the day (--shape-seconds). Within these, arrivals are
Poisson.

Three forecasts are compared: the load of the last minutes (live); also the hours of the day before (yesterday); also
its minutes (known). The day before is the same day with other arrivals, so it has the chance of each count of the
recording too. With --halves each request of the recording belongs to the day or to the day before, by a coin: then they
share the hours only.

The fleet, prices and profiles are predictions (a roofline); only their proportions matter. Static plans are chosen
afterwards, by the same day, which favours them. Requests are simulated with the policy of the server, noise included;
devices come late, plans load, and old plans drain. The columns: what the fleet that follows costs, the cheapest static
plan that attains as much on the same day, what is saved, what both attain, and the cheapest static plan that attains
99%.

The comparison is valid only if the fleet can be as large as the day's peak needs: a static plan that misses the peak
would be too cheap, and so would the fleet that follows. So the fleet of each day has as many devices of each class as
``penstock capacity`` says that its peak with all margins needs. A day whose highest rung holds less ends with status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

import penstock
from penstock.api.scaling import ABOVE_PEAK
from penstock.plan.autoscale.scaler import ScalingRules
from penstock.traffic.load import load_trace

LEAST_DEVICES = 40
"""Of each class."""
PRICES = {"L4": 0.71, "T4": 0.35}
"""Prices an hour of single-GPU machines of these classes at large clouds, on demand, rounded; yours differ."""
TRACES = ("AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv")
SPREAD = 1.1
"""A window of Poisson arrivals may have so many times its mean."""
HEAVIER = 20


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--traces", type=Path, default=Path("../shared/data/traces/azure_llm_2023"))
    asked.add_argument("--rate", type=float, default=100.0, help="mean requests/s of the day")
    asked.add_argument("--hours", type=float, default=24.0, help="length that a day is pressed into")
    asked.add_argument("--node-seconds", type=float, default=180.0)
    asked.add_argument("--shape-seconds", type=float, default=15.0, help="of a recording that are one count")
    asked.add_argument("--safety", type=float, default=ScalingRules().safety)
    asked.add_argument("--rungs", type=int, default=12, help="plans of the ladder")
    asked.add_argument("--days", nargs="*", default=["cosine", *TRACES])
    asked.add_argument("--forecasts", nargs="*", default=["live", "yesterday", "known"])
    asked.add_argument(
        "--halves", action="store_true", help="a recording's requests are shared out to two days"
    )
    asked.add_argument(
        "--coarse",
        type=int,
        default=1,
        help="so many times fewer requests, heavier and slower: quicker to simulate",
    )
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = scenario(Path(folder), options.coarse)
        per_device = penstock.Study.read(path).capacity(points=1).most / LEAST_DEVICES
        seconds = options.hours * 3600
        rate = options.rate / options.coarse
        print(
            f"{rate:g} requests/s in the mean, {options.hours:g} h, "
            f"nodes come after {options.node_seconds:g} s, {options.safety:g} times the forecast is planned for"
        )
        print(f"one L4 and one T4 serve {per_device:.2f} requests/s")
        print(
            f"{'day':32} {'peak':>5} {'fleet':>9} {'forecast':>9} "
            f"{'cost':>8} {'static':>8} {'saved':>7} {'attained':>9} {'static':>9} {'99%':>8} switches"
        )
        invalid = 0
        for day in options.days:
            spec, peak = f"diurnal:amplitude=0.6,period={seconds:g},start=0", 1.6
            before = spec
            if day != "cosine":
                if not (options.traces / day).exists():
                    print(f"{day:32} skipped: not in {options.traces}")
                    continue
                (spec, peak), (before, _) = stretched(
                    options.traces / day, Path(folder), seconds, options.shape_seconds, halves=options.halves
                )
            needed_rps = rate * peak * SPREAD * options.safety * ABOVE_PEAK
            devices = max(LEAST_DEVICES, math.ceil(needed_rps / per_device))
            study = penstock.Study.read(scenario_of(Path(folder), devices, options.coarse))
            for forecast in options.forecasts:
                found = study.autoscale(
                    arrivals=spec,
                    before=before,
                    rates_rps={"resnet50": rate},
                    seconds=seconds,
                    forecast=forecast,
                    node_s=options.node_seconds,
                    rungs=options.rungs,
                    safety=options.safety,
                )
                followed, same = found.followed, found.same
                print(
                    f"{day:32} {peak:5.1f} {f'{devices}+{devices}':>9} {forecast:>9} "
                    f"{followed.cost:8.2f} {same.cost:8.2f} {found.saved:7.1%} "
                    f"{followed.attainment:9.3%} {same.attainment:9.3%} "
                    f"{found.held.cost:8.2f} {followed.switches:4}",
                    flush=True,
                )
                for warning in found.warnings:
                    print(f"  {warning}")
                invalid += bool(found.warnings)
    return 1 if invalid else 0


def scenario(folder: Path, coarse: int) -> Path:
    """A model like ResNet-50 at 448 pixels, :data:`HEAVIER` times as heavy: some ten devices at the peak of the day.

    ``coarse``: it is heavier by this too.
    """

    def penstock_verb(*words: str) -> None:
        with contextlib.chdir(folder):
            subprocess.run([sys.executable, "-m", "penstock", *words], check=True, capture_output=True)

    penstock_verb("zoo", "resnet50", "--image-size", "448", "-o", "resnet50.onnx")
    predict = [word for name in PRICES for word in ("--predict", name)]
    penstock_verb("profile", "resnet50.onnx", *predict, "-o", "profiles/resnet50")
    table = folder / "profiles" / "resnet50" / "latency.csv"
    head, *rows = table.read_text().splitlines()
    place = head.split(",").index("latency_us")
    cells = [row.split(",") for row in rows]
    for row in cells:
        row[place] = str(int(row[place]) * HEAVIER * coarse)
    table.write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")
    return scenario_of(folder, LEAST_DEVICES, coarse)


def scenario_of(folder: Path, devices: int, coarse: int) -> Path:
    """The same with so many ``devices`` of each class at most."""
    classes = {
        name: {"count": devices, "per_host": 1, "hourly_cost": price} for name, price in PRICES.items()
    }
    document = {
        "version": 1,
        "cluster": {"bandwidth_gbps": 25, "device_classes": classes},
        "models": [{"name": "resnet50", "profile": "profiles/resnet50", "slo_ms": 1200 * coarse}],
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def stretched(
    path: Path, folder: Path, seconds: float, shape_s: float, *, halves: bool
) -> list[tuple[str, float]]:
    """The recording's counts of each ``shape_s`` as a day of ``seconds``, with its highest count by its mean; and the
    day before. If not ``halves``, they are the same."""
    times_s = load_trace(path).time_us / 1e6
    edges = np.arange(0.0, times_s[-1] + shape_s, shape_s)
    is_first = np.random.default_rng(0).random(len(times_s)) < 0.5
    days = []
    both = {"day": times_s[is_first], "before": times_s[~is_first]}
    for name, own_s in both.items():
        counts = np.histogram(own_s if halves else times_s, edges)[0]
        step = max(1, round(seconds / len(counts)))
        out = folder / f"{path.stem}-{name}.csv"
        out.write_text("count\n" + "\n".join(map(str, counts.tolist())) + "\n")
        days.append((f"counts:{out},interval={step},start=0", float(counts.max() / counts.mean())))
    return days


if __name__ == "__main__":
    sys.exit(main())
