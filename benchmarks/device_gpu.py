"""Two models on one GPU, under this project's device policy and under what people do without it.

ResNet-18 and InceptionV3 (random weights, batch 1), a chain of CUDA graphs each; every way serves the same traces::

    python benchmarks/device_gpu.py --out device_gpu.md          # on a GPU; at most --budget seconds (340)
    python benchmarks/device_gpu.py --cpu --budget 60            # the logic, with threads in place of a GPU

Prints one JSON document as its last line, and writes it beside the page that ``--out`` names, after every section. It
needs torch and numpy, and of penstock only what those need too (``PYTHONPATH=src``). A section that fails is named
and the others run. Device settings are never changed. Without a GPU it says so and ends with status 0.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Read when CUDA starts, so before torch: the default of 8 would let streams share hardware queues.
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import torch

from device_gpu_parts import sections
from device_gpu_parts.child_work import CHILDREN
from device_gpu_parts.children import Child
from device_gpu_parts.devices import open_device
from device_gpu_parts.loaded import Loaded, load
from device_gpu_parts.runs import Mode, Order
from device_gpu_parts.sections import Bounds, Mix, Mps
from device_gpu_parts.table import page

QUEUES = (1, 2, 4, 8, 16, 32)
LOADS = "0.8,0.95,0.5"
PREPARED_S = 45.0
"""By then all children must have loaded what they run."""


@dataclass
class Precision:
    """The models in one precision, and the mixes of them."""

    loaded: Loaded
    mixes: list[Mix]

    @property
    def usable(self) -> list[Mix]:
        """The mixes whose saturation is known, so that a load means something."""
        return [mix for mix in self.mixes if mix.capacity_rps > 0]


class Benchmark:
    """The sections in the order of their worth, the report, and where it goes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.cpu: bool = options.cpu
        self.loads = [float(load) for load in options.loads.split(",")]
        self.out: Path | None = options.out
        # So that the first rows of both precisions fit the shortest useful budget, and nearly all rows the longest.
        row_s = options.seconds or min(1.6, max(0.5, options.budget / 220))
        self.bounds = Bounds(options.budget, row_s, options.sigma)
        self.report: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "backend": "threads in place of a GPU: times say nothing" if self.cpu else "cuda",
            "torch": torch.__version__,
            "sigma": options.sigma,
            "budget_s": options.budget,
            "row_s": round(row_s, 3),
            "rows": [],
            "skipped": [],
            "failed": [],
            "children": {},
            "sections_s": {},
        }
        self.mps = Mps()
        self.children: dict[str, list[Child]] = {}

    def section(self, name: str, needs_s: float, work: Callable[[], None]) -> None:
        """Run one section if time allows. Whatever it raises is recorded: the others still run."""
        if self.bounds.left_s() < needs_s:
            self.report["skipped"].append({"section": name, "needs_s": needs_s})
            return
        start = time.perf_counter()
        try:
            work()
        except Exception as error:
            where = traceback.format_exc().strip().splitlines()[-3:-1]
            told = {"section": name, "error": f"{type(error).__name__}: {error}"[:400], "where": where}
            self.report["failed"].append(told)
            print(f"{name}: {told['error']}", file=sys.stderr, flush=True)
        self.report["sections_s"][name] = round(time.perf_counter() - start, 2)
        self.save()

    def save(self) -> None:
        self.report["seconds"] = round(time.perf_counter() - self.bounds.began, 1)
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text(page(self.report))
            self.out.with_suffix(".json").write_text(json.dumps(self.report, indent=1) + "\n")

    def start_children(self) -> None:
        """All at once, so that their imports and loading, which take most of their time, go side by side."""
        starts: dict[str, list[dict[str, str]]] = {"processes": [{}, {}]}
        if not self.cpu:
            starts |= {f"drain {queues}": [{"CUDA_DEVICE_MAX_CONNECTIONS": str(queues)}] for queues in QUEUES}
            starts["green"] = [{}]
            if self.mps.control is not None:
                self.section("mps start", 0, self.mps.start)
                starts["mps"] = [self.mps.environment] * 2 if self.mps.is_up else []
        kinds = {"processes": "one-model", "mps": "one-model", "green": "green"}
        for name, environments in starts.items():
            self.children[name] = [Child(kinds.get(name, "drain"), each) for each in environments]
        for name in [*self.children]:
            for which, child in enumerate(self.children[name]):
                child.tell({"which": which, "cpu": self.cpu, "dtype": "fp32"})
        until = time.perf_counter() + min(PREPARED_S, self.bounds.budget_s / 2)
        for name in [*self.children]:
            self.section(f"prepare {name}", 0, lambda name=name: self.hear_ready(name, until))

    def hear_ready(self, name: str, until: float) -> None:
        """A child that fails to load is ended with its like, and its section left out."""
        children = self.children.pop(name)
        try:
            ready = [child.hear(until - time.perf_counter()) for child in children]
        except Exception:
            for child in children:
                child.end()
            raise
        self.report["children"][name] = ready
        self.children[name] = children

    def run(self) -> None:
        try:
            self.section("setting", 0, self.setting)
            self.section("children", 0, self.start_children)
            self.section("policies", 0, sections.warm_up_policies)
            held: list[Precision] = []
            for dtype in ("fp32",) if self.cpu else ("fp32", "fp16"):
                self.section(f"load {dtype}", 10, lambda dtype=dtype: held.append(self.opened(dtype)))
                if held and held[-1].loaded.dtype == dtype:
                    self.first(held[-1])
            # By load and not by precision: if time is short, the same rows are there for both.
            for at, load_ in enumerate(self.loads):
                for one in held:
                    if at > 0:
                        self.rows(one, load_, first=True)
                    self.rows(one, load_, first=False)
                if at == 0 and held:
                    self.sweeps(held[0])
        finally:
            for children in self.children.values():
                for child in children:
                    child.end()
            self.section("mps stop", -60, self.mps.stop)

    def setting(self) -> None:
        self.device = open_device(self.cpu)
        self.report["hardware_queues"] = os.environ["CUDA_DEVICE_MAX_CONNECTIONS"]
        self.report["mps_control"] = self.mps.control
        if not self.cpu:
            device = torch.cuda.get_device_properties(0)
            self.report |= {"device": device.name, "sms": device.multi_processor_count}
            self.report |= {
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
                "tf32": False,
            }

    def opened(self, dtype: str) -> Precision:
        loaded = load(self.device, dtype)
        mixes = [Mix("paper", sections.PAPER_SHARE), Mix("equal work", loaded.equal_work_share())]
        return Precision(loaded, mixes)

    def first(self, one: Precision) -> None:
        """What tells most of a precision: costs, saturation, the first rows at 80%, and what needs processes."""
        loaded, report = one.loaded, self.report
        saturate_s = min(0.2, self.bounds.row_s / 2)
        self.section(f"overheads {loaded.dtype}", 3, lambda: sections.overheads(report, loaded))
        for mix in one.mixes:
            name = f"saturation {loaded.dtype} {mix.name}"
            self.section(name, 8, lambda mix=mix: sections.window_sweep(report, loaded, mix, saturate_s))
        self.rows(one, self.loads[0], first=True)
        if loaded.dtype == "fp32":
            self.alone(one)
        name = f"side by side {loaded.dtype}"
        self.section(name, 6, lambda: sections.side_by_side(report, loaded, saturate_s))

    def rows(self, one: Precision, load_: float, *, first: bool) -> None:
        for mix in one.usable:
            modes = sections.modes_of(load_, mix.window)[0 if first else 1]
            name = f"rows {one.loaded.dtype} {mix.name} {load_} {'first' if first else 'others'}"
            stack = first and load_ == self.loads[0]

            def work(mix: Mix = mix, modes: list[Mode] = modes, stack: bool = stack) -> None:
                sections.orders(self.report, one.loaded, mix, load_, modes, self.bounds, stack=stack)

            self.section(name, self.bounds.row_s, work)

    def sweeps(self, one: Precision) -> None:
        """Theta where both models have equal work; the window where most jobs are short."""
        for mix in one.usable:
            if mix.name == "equal work":
                modes: list[Mode] = [
                    Order("srpt-deficit", mix.window, theta=theta) for theta in sections.THETAS
                ]
                modes.append(Order("srpt", mix.window))
                self.swept("theta_rows", one.loaded, mix, modes)
            else:
                widths = [window for window in sections.WINDOWS if window != 12]
                self.swept("window_rows", one.loaded, mix, [Order("srpt", window) for window in widths])

    def swept(self, key: str, loaded: Loaded, mix: Mix, modes: list[Mode]) -> None:
        apart: dict[str, Any] = {**self.report, "rows": []}

        def work() -> None:
            sections.orders(apart, loaded, mix, self.loads[0], modes, self.bounds)

        self.section(key, 2 * self.bounds.row_s, work)
        self.report[key] = apart["rows"]

    def alone(self, one: Precision) -> None:
        """What needs processes of its own, while this one keeps off the device."""
        report, bounds, children, mixes = self.report, self.bounds, self.children, one.usable
        drains = {
            queues: children[f"drain {queues}"][0] for queues in QUEUES if f"drain {queues}" in children
        }
        if drains:
            self.section("drain", 10, lambda: sections.drain_curve(report, drains))
        if "green" in children:
            green = children["green"][0]
            self.section(
                "green", 8, lambda: sections.green_contexts(report, one.loaded, mixes, bounds, green)
            )
        for name in ("processes", "mps"):
            if children.get(name):

                def work(name: str = name) -> None:
                    sections.processes(report, one.loaded, mixes, bounds, children[name], name)

                self.section(name, 8, work)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=float, default=340.0, help="seconds for all")
    parser.add_argument("--seconds", type=float, help="seconds of arrivals a row; by default from the budget")
    parser.add_argument("--sigma", type=float, default=2.0, help="of the lognormal gaps")
    parser.add_argument("--loads", default=LOADS, help="parts of saturation, in the order of their worth")
    parser.add_argument("--cpu", action="store_true", help="check the logic without a GPU")
    parser.add_argument("--out", type=Path, help="the page; the JSON goes beside it")
    parser.add_argument("--child", choices=sorted(CHILDREN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        CHILDREN[options.child]()
        return
    if not options.cpu and not torch.cuda.is_available():
        print(json.dumps({"skipped": "torch sees no GPU; --cpu checks the logic without one"}))
        return
    # A device that hangs must not hold the machine: what was measured is in the files by then.
    faulthandler.dump_traceback_later(options.budget + 30, exit=True)
    sys.setswitchinterval(1e-4)
    benchmark = Benchmark(options)
    with suppress(KeyboardInterrupt):
        benchmark.run()
    benchmark.save()
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(benchmark.report))


if __name__ == "__main__":
    main()
