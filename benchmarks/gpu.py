"""One GPU: the executor against a bare loop, profiles, a served plan, two models at once, hops between workers.

    python benchmarks/gpu.py --budget 200 --out gpu-out        # on a machine with a GPU, torch and onnxruntime
    python benchmarks/gpu.py --device cpu --budget 30          # the logic alone: every section, on small models

Each section runs on its own: one that fails is recorded with its error, and the others run. The last line printed
is one JSON document; ``--out`` gets it as gpu.json, the tables as gpu.md, and the profiles. No setting of the GPU
is changed. Nothing is fetched: the models are made here, and torchvision, if it is there, makes the bare loop's.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]

from gpu_parts.common import (  # noqa: E402 - the path is set above
    Json,
    Run,
    child,
    environment,
    penstock,
    table,
    torch_settings,
    use_source,
)
from penstock.device.facts import DeviceFacts  # noqa: E402 - the path is set above

SECTIONS = ("executor", "profiles", "overhead", "two_stages", "hops", "modes", "sharing", "turns")
USES_PROFILES = {"overhead", "two_stages"}
USES_KERNELS = USES_PROFILES | {"turns"}


def machine(run: Run) -> Json:
    found: Json = {"python": platform.python_version(), "cores": __import__("os").cpu_count()}
    for name in ("torch", "onnxruntime", "numpy", "numba", "onnx"):
        try:
            found[name] = __import__("importlib.metadata").metadata.version(name)
        except Exception as error:
            found[name] = f"{type(error).__name__}"
    found["doctor"] = penstock(["doctor"])
    if not run.tiny:
        found["device"] = vars(gpu_of(run))
        found["mps_control"] = shutil.which("nvidia-cuda-mps-control")
    return found


def gpu_of(run: Run) -> DeviceFacts:
    """The GPU that is measured, by its driver: of those that CUDA_VISIBLE_DEVICES leaves."""
    from penstock.device.discover import describe_device

    return describe_device(torch_settings(run.device, "fp32").driver_name)


def start_warm_up(run: Run) -> subprocess.Popen[bytes]:
    """Compile the kernels of policy and simulator (28 s of CPU) while the first section runs."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, 'benchmarks')\n"
        "from gpu_parts.warm_up import warm_up\n"
        f"warm_up(Path({str(run.work)!r}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def device_class(run: Run) -> str:
    if run.tiny:
        return "CPU"
    try:
        return gpu_of(run).device_class
    except Exception:
        return "GPU"


def executor(run: Run) -> Json:
    models = ",".join(
        f"{run.model_file(name, size)}:{size}"
        for name, size in (run.measured_models if run.tiny else run.models)
    )
    seconds = "0.05" if run.tiny else "0.15"
    arguments = ["--models", models, "--device", run.device, "--precisions", ",".join(run.precisions)]
    return child("executor", [*arguments, "--seconds", seconds], timeout_s=run.limit_s(30.0, run.left_s()))


COMPILE_S = 60.0
"""What ``torch.compile`` may take, and what must be left for it to be tried."""


def modes(run: Run) -> Json:
    name, size = run.models[0]
    arguments = [
        "--model",
        str(run.model_file(name, size)),
        "--device",
        run.device,
        "--image-size",
        str(size),
    ]
    arguments += ["--precision", "fp32" if run.tiny else "tf32", "--seconds", "0.3"]
    found = child(
        "modes",
        [*arguments, "--modes", "eager" if run.tiny else "eager,graph"],
        timeout_s=run.limit_s(15.0, 60.0),
    )
    if run.quick or run.tiny or run.left_s() < COMPILE_S / 2:
        return found
    try:
        # A process of its own: if it is not done in time, the other modes are still known.
        slow = child("modes", [*arguments, "--modes", "compiled"], timeout_s=min(COMPILE_S, run.left_s()))
        found["rows"] += slow["rows"]
    except Exception as error:
        found["rows"].append({"mode": "compiled", "failed": f"{type(error).__name__}: {error}"[-300:]})
    return found


def profiles(run: Run) -> Json:
    from gpu_parts.profiles import run_profiles

    return run_profiles(run, device_class(run))


def overhead(run: Run) -> Json:
    from gpu_parts.serving import run_overhead

    found = run_overhead(run, device_class(run))
    rows = run.found.get("executor", {}).get("rows", [])
    for row in rows:
        if row["model"] == run.models[0][0] and row["precision"] == "fp32" and row["batch"] == 1:
            for which in ("bare", "ours"):
                if which in row:
                    found[f"{which}_p50_us"] = row[which]["host"]["p50_us"]
                    found[f"over_{which}_us"] = round(
                        found["served_p50_us"] - row[which]["host"]["p50_us"], 1
                    )
            if "spaced" in row.get("bare", {}):
                found["bare_spaced_p50_us"] = row["bare"]["spaced"]["p50_us"]
    return found


def two_stages(run: Run) -> Json:
    from gpu_parts.serving import run_two_stages

    return run_two_stages(run, device_class(run))


def turns(run: Run) -> Json:
    from gpu_parts.turns import run_turns

    return run_turns(run, device_class(run))


def sharing(run: Run) -> Json:
    models = ",".join(f"{run.model_file(name, size)}:{size}" for name, size in run.models)
    common = ["--models", models, "--device", run.device, "--precision", "fp32" if run.tiny else "tf32"]
    found: Json = {}
    for how in ("streams", "processes") if run.tiny else ("streams", "processes", "mps"):
        try:
            arguments = [
                "--how",
                how,
                *common,
                "--seconds",
                "0.3" if run.tiny else "0.5" if run.quick else "1.5",
            ]
            found[how] = child("sharing", arguments, timeout_s=run.limit_s(10.0, 60.0))
        except Exception as error:
            found[how] = {"failed": f"{type(error).__name__}: {error}"[-1500:]}
    return found


def hops(run: Run) -> Json:
    sizes = "4096,1048576" if run.tiny else "4096,262144,1048576,8388608,33554432"
    return child("hops", ["--device", run.device, "--sizes", sizes], timeout_s=run.limit_s(15.0, 90.0))


def run_section(run: Run, name: str, function: Callable[[Run], Json]) -> None:
    start = time.perf_counter()
    if run.left_s() < 5 and not run.tiny:
        run.found[name] = {"skipped": f"{run.left_s():.0f} s left"}
        return
    try:
        run.found[name] = function(run)
    except Exception as error:
        run.found[name] = {
            "failed": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc()[-4000:],
        }
    run.found[name]["section_s"] = round(time.perf_counter() - start, 1)
    short = run.found[name].get("failed") or run.found[name].get("skipped") or "done"
    print(f"{name}: {short[-600:]} ({run.found[name]['section_s']} s)", file=sys.stderr, flush=True)
    (run.out / "gpu.json").write_text(json.dumps(run.found, default=str))


def executor_table(found: Json) -> str:
    rows = []
    for row in found["rows"]:
        ours, bare = row["ours"], row.get("bare")
        rows.append(
            [
                row["model"],
                row["precision"],
                row["batch"],
                ours["device"]["batch_us"],
                bare and bare["device"]["batch_us"],
                bare and round(bare["device"]["batch_us"] / ours["device"]["batch_us"], 3),
                ours["host"]["p50_us"],
                bare and bare["host"]["p50_us"],
                row.get("distance_to_onnxruntime"),
                row["ready_s"],
            ]
        )
    heads = ["model", "precision", "batch", "device: ours, us", "bare, us", "ours / bare in throughput"]
    heads += ["host to host: ours, us", "bare, us", "distance to onnxruntime", "ready after, s"]
    made = [table("Executor against a bare CUDA graph", heads, rows)]
    failures = {row["bare_failed"] for row in found["rows"] if "bare_failed" in row}
    made += [f"No bare loop to compare with: {why}\n" for why in sorted(failures)]
    split = [
        [r["model"], r["precision"], r["batch"], *r["ours"]["parts"].values()]
        for r in found["rows"]
        if "parts" in r["ours"]
    ]
    if split:
        names = list(next(r for r in found["rows"] if "parts" in r["ours"])["ours"]["parts"])
        made.append(
            table("Parts of a run from host to host, us", ["model", "precision", "batch", *names], split)
        )
    ways = found["facts"].get("ways_in")
    if ways:
        made.append(table("Ways to the device, us", list(ways[0]), [list(one.values()) for one in ways]))
    return "\n".join(made)


def tables(run: Run) -> str:
    parts = [f"Date {time.strftime('%Y-%m-%d')}, device {run.device}, class {device_class(run)}\n"]

    def add(name: str, make: Callable[[Json], str]) -> None:
        found = run.found.get(name, {})
        if "failed" in found or "skipped" in found or not found:
            parts.append(f"### {name}\n\n{found.get('failed') or found.get('skipped') or 'not run'}\n")
            return
        try:
            parts.append(make(found))
        except Exception as error:
            parts.append(f"### {name}\n\nno table: {type(error).__name__}: {error}\n")

    from gpu_parts.profiles import profile_tables
    from gpu_parts.serving import overhead_table, two_stage_table
    from gpu_parts.turns import turns_table

    add("executor", executor_table)
    add("profiles", profile_tables)
    add("overhead", overhead_table)
    add("two_stages", two_stage_table)
    add("sharing", sharing_table)
    add("hops", hops_table)
    add("turns", turns_table)
    add(
        "modes",
        lambda f: table(
            "Modes of torch, batch 8, host to host",
            ["mode", "p50, us", "ready after, s"],
            [[r["mode"], r.get("p50_us", r.get("failed")), r.get("ready_s")] for r in f["rows"]],
        ),
    )
    return "\n".join(parts)


def sharing_table(found: Json) -> str:
    rows: list[list[object]] = []
    for how, one in found.items():
        if how == "section_s":
            continue
        if not isinstance(one, dict) or "alone" not in one:
            rows.append([how, str(one)[:80]])
            continue
        for index in range(2):
            alone, both = one["alone"][index], one["both"][index]
            ratio = round(both["samples_per_s"] / alone["samples_per_s"], 3)
            rates = [alone["samples_per_s"], both["samples_per_s"], ratio]
            rows.append([how, index, *rates, alone["p99_us"], both["p99_us"]])
    heads = ["how", "model", "alone /s", "both /s", "ratio", "alone p99, us", "both p99, us"]
    return table("Two models on one device", heads, rows)


def hops_table(found: Json) -> str:
    rows = [
        [r["bytes"], r["signal"]["p50_us"], r["host"]["p50_us"], r["ipc"]["p50_us"]] for r in found["rows"]
    ]
    return table(
        "A hop between two workers of one device", ["bytes", "signal, us", "host, us", "CUDA IPC, us"], rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", help="cuda:N, or cpu to check the logic alone [default: cuda:0 if it is there]"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=200.0,
        help="seconds for all sections; on a CPU every section runs whatever it takes, below 60 with one model",
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-out"))
    parser.add_argument(
        "--quick", action="store_true", help="every section, short: does all of it work here?"
    )
    parser.add_argument(
        "--profile-seconds", type=float, help="after which no profile is begun [default: 0.3 of the budget]"
    )
    parser.add_argument("--precisions", help="fewer, with commas between [default: all that the device has]")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="names, with commas between, in order")
    a = parser.parse_args()
    asked = a.sections.split(",")
    if unknown := [name for name in asked if name not in SECTIONS]:
        parser.error(f"--sections: unknown {', '.join(unknown)}. Known are {', '.join(SECTIONS)}.")
    for name in USES_PROFILES.intersection(asked):
        if "profiles" not in asked[: asked.index(name)]:
            parser.error(f"--sections: {name} uses what profiles has measured. Put 'profiles' before it.")
    a.out.mkdir(parents=True, exist_ok=True)
    if a.device is None:
        import torch

        a.device = "cuda:0" if torch.cuda.is_available() else "cpu"
        why = "" if a.device != "cpu" else ": there is no GPU, so this checks the logic alone"
        print(f"on {a.device}{why}", file=sys.stderr)
    functions = {name: globals()[name] for name in SECTIONS}
    with tempfile.TemporaryDirectory(prefix="penstock-gpu-") as folder:
        use_source()
        run = Run(
            a.device,
            a.budget,
            a.out.absolute(),
            Path(folder),
            a.quick,
            a.profile_seconds or 0.3 * a.budget,
            tuple(a.precisions.split(",")) if a.precisions else (),
        )
        warm = start_warm_up(run) if USES_KERNELS.intersection(asked) else None
        run_section(run, "machine", machine)
        for name in asked:
            if name in USES_KERNELS and warm is not None and "warm_up" not in run.found:
                try:
                    warm.wait(run.limit_s(5.0, 60.0))
                    errors = b"" if warm.stderr is None else warm.stderr.read()[-1500:]
                    run.found["warm_up"] = {
                        "status": warm.returncode,
                        "error": errors.decode(errors="replace"),
                    }
                except subprocess.TimeoutExpired:
                    run.found["warm_up"] = {"status": "still compiling"}
            run_section(run, name, functions[name])
        if warm is not None and warm.poll() is None:
            warm.kill()
        run.found["seconds"] = round(time.perf_counter() - run.began, 1)
        text = tables(run)
        (run.out / "gpu.md").write_text(text)
        (run.out / "gpu.json").write_text(json.dumps(run.found, default=str))
        print(text)
        print(json.dumps(run.found, default=str))


if __name__ == "__main__":
    main()
