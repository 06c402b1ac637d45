"""Learned traffic against ground truth: fidelity, speed, fine-tuning, each beside its target.

    python benchmarks/traffic.py                          # 600 CPU seconds a generator; about an hour of one core
    python benchmarks/traffic.py --streams 2000 --budget 30 --small
    python benchmarks/traffic.py --device cuda --budget 60  # training and sampling on a GPU; wall seconds there
    python benchmarks/traffic.py --folder out --sections gan  # one section; the next call goes on from there

One class-hour (phone, 10 h, the LTE machine) of simulated devices, whose law is known. Every generator is fitted on the
same streams with the same budget and scored on other streams of the same law; the distance of two such samples stands
beside. Times are CPU seconds of the process, on a GPU wall seconds. A section that fails is reported and the others
go on. With ``--folder`` each section's result and its generator are written as it ends, and a section that lies there
is not run again, so a run that was cut off goes on, and sections may run in processes of their own. The last line is
one JSON document. Exit status 1 if a target of the full size is missed or a section failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from pathlib import Path

import torch

from traffic_parts.section_files import earlier_sections, keep_section
from traffic_parts.section_list import SECTIONS, USUAL
from traffic_parts.traffic_bench import Bench
from traffic_parts.traffic_targets import show


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=20_000)
    parser.add_argument(
        "--slow-streams", type=int, default=5000, help="drawn of networks that have no kernel"
    )
    parser.add_argument(
        "--budget", type=float, default=600.0, help="CPU seconds a generator; wall seconds on a GPU"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--small", action="store_true", help="64 units and 128 bins")
    parser.add_argument("--tokens", type=int, help="of a training step [default: 3,072; 12,288 on a GPU]")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU")
    parser.add_argument(
        "--folder", type=Path, help="of results and generators by section; kept from run to run"
    )
    parser.add_argument("--sections", default=",".join(USUAL), help="of: " + ", ".join(SECTIONS))
    return parser.parse_args()


def main() -> int:
    chosen = options()
    torch.set_num_threads(chosen.threads)
    bench = Bench(chosen)
    found = bench.found
    found.update(earlier_sections(chosen))
    for name in chosen.sections.split(","):
        if name in found:
            print(f"== {name}: as it lies in {chosen.folder}", flush=True)
            continue
        begin, cpu_begin = time.perf_counter(), time.process_time()
        print(f"== {name}", flush=True)
        try:
            found[name] = SECTIONS[name](bench)
        except Exception as error:  # the other sections still count
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        found[name]["wall_s"] = round(time.perf_counter() - begin, 1)
        found[name]["cpu_s"] = round(time.process_time() - cpu_begin, 1)
        print(json.dumps({name: found[name]}), flush=True)
        if "error" not in found[name]:
            keep_section(chosen, name, found[name])
    missed = show(found)
    device = (
        torch.cuda.get_device_name()
        if chosen.device == "cuda"
        else platform.processor() or platform.machine()
    )
    failed = [name for name, section in found.items() if "error" in section]
    print(
        json.dumps(
            {
                "benchmark": "traffic",
                "device": device,
                "torch": torch.__version__,
                "cores": os.cpu_count(),
                "options": {
                    name: str(value) if isinstance(value, Path) else value
                    for name, value in vars(chosen).items()
                },
                "missed": missed,
                "failed": failed,
                "sections": found,
            }
        )
    )
    return int(bool(missed or failed))


if __name__ == "__main__":
    sys.exit(main())
