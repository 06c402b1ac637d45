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
import types
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

HOUR, NEXT_HOUR = 10, 11
SPEED_STREAMS = 3500
CHANCE_SAMPLES = 20


def stand_in_for_pydantic() -> None:
    """Where pydantic is not installed (a borrowed GPU machine), let its models be plain: nothing here is validated."""
    try:
        import pydantic  # noqa: F401
    except ImportError:
        pass
    else:
        return

    class Plain(types.SimpleNamespace):
        def __getattr__(self, name: str) -> None:
            if name.startswith("__"):
                raise AttributeError(name)

        @classmethod
        def model_validate_json(cls, text: str, **_: Any) -> Any:
            return json.loads(text, object_hook=lambda fields: Plain(**fields))

        def model_copy(self, update: dict[str, Any]) -> Any:
            return type(self)(**{**vars(self), **update})

    module: Any = types.ModuleType("pydantic")
    module.BaseModel, module.ConfigDict, module.ValidationError = Plain, dict, ValueError
    for name in ("AfterValidator", "Field", "StringConstraints", "model_validator", "field_validator"):
        setattr(module, name, lambda *_, **__: None)
    sys.modules["pydantic"] = module


class Bench:
    """The streams, the options, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        from penstock.traffic.machine import known_machine
        from penstock.traffic.truth import simulate_truth

        self.options = options
        self.machine = known_machine("lte")
        self.training = simulate_truth("lte", options.streams, "phone", HOUR, seed=1)
        self.held_out = simulate_truth("lte", options.streams, "phone", HOUR, seed=2)
        self.small: dict[str, Any] = {"hidden": 64, "bins": 128} if options.small else {}
        self.found: dict[str, Any] = {}
        self.models: dict[str, Any] = {}

    def model(self, method: str) -> Any:
        """The generator of ``method`` that an earlier section made, here or into the folder."""
        if method not in self.models:
            bundle = self.options.folder / f"{method}.bundle" if self.options.folder else None
            if bundle is None or not bundle.exists():
                raise RuntimeError(f"needs the section that makes {method}, in this run or in --folder")
            from penstock.traffic.generator.protocol import load_generator

            self.models[method] = load_generator(bundle)
        return self.models[method]

    def keep(self, method: str, generator: Any) -> None:
        """Let later sections have ``generator``."""
        from penstock.files import write_whole

        self.models[method] = generator
        if self.options.folder:

            def write(folder: Path) -> None:
                folder.mkdir()
                generator.save(folder)

            bundle = self.options.folder / f"{method}.bundle"
            write_whole(bundle, write, force=True, folder_of=("bundle.json", "weights.safetensors"))

    @property
    def tokens(self) -> int:
        """Of a training step: on a GPU four times as many cost about as much."""
        return self.options.tokens or (12_288 if self.options.device == "cuda" else 3072)

    def fit(self, method: str, seconds: float, streams: Any = None, **more: Any) -> Any:
        """A generator of ``method`` after ``seconds``."""
        from penstock.traffic.generator.protocol import FitOptions, fit_generator

        start = more.pop("start_from", None)
        machine = more.pop("machine", None)
        hour = more.pop("hour", HOUR)
        device = self.options.device
        extra = {**(self.small if method == "gru" else {}), "device": device, "tokens": self.tokens, **more}
        options = FitOptions(
            cpu_seconds=seconds,
            machine=machine,
            start_from=start,
            hour=hour,
            extra=extra,
            progress=_progress(method),
        )
        return fit_generator(method, self.training if streams is None else streams, seed=0, options=options)

    def draw(self, generator: Any, streams: int | None = None, seed: int = 3) -> Any:
        """A sample as large as the held-out one; of networks without a kernel on the device of training."""
        return on_device(generator, self.options.device).sample(streams or self.options.streams, seed)

    def score(self, sample: Any) -> dict[str, float | None]:
        """All measures by name."""
        from penstock.traffic.fidelity import score_streams

        scores = score_streams(sample, self.held_out, training=self.training, machine=self.machine)
        return {name: scores[name].value for name in scores.names()}


def on_device(generator: Any, device: str) -> Any:
    """The default samples by its kernel on the CPU; others where they were trained."""
    if device == "cpu" or generator.method in ("gru", "smm", "replay"):
        return generator
    return replace(generator, device=device, batch=4096)


def _progress(name: str) -> Callable[[float, str], None]:
    def tell(done: float, text: str) -> None:
        print(f"  {name}: {done:5.1%} {text}", file=sys.stderr, flush=True)

    return tell


def truth(bench: Bench) -> dict[str, Any]:
    """What two real samples differ by."""
    from penstock.traffic.fidelity import score_streams

    scores = score_streams(bench.held_out, bench.held_out, training=bench.training, machine=bench.machine)
    measured = {name: scores[name].truth for name in scores.names()}
    print(f"{len(bench.training):,} streams, {bench.training.n_events / len(bench.training):.1f} events each")
    return {"measures": measured}


def chance(bench: Bench) -> dict[str, Any]:
    """How many streams of further real samples are a stream of the training sample: nobody copied them."""
    from penstock.traffic.fidelity.memorisation import TELLING, whole_copies
    from penstock.traffic.truth import simulate_truth

    counts = []
    for seed in range(100, 100 + CHANCE_SAMPLES):
        other = simulate_truth("lte", bench.options.streams, "phone", HOUR, seed=seed)
        counts.append([whole_copies(other, bench.training, fewest=fewest) for fewest in (2, TELLING)])
    all_lengths, telling = ([count[at] for count in counts] for at in (0, 1))
    print(f"real streams that are a training stream, in {CHANCE_SAMPLES} further real samples: {all_lengths}")
    print(f"  of {TELLING} events or more: {telling}")
    return {
        "copied": all_lengths,
        "copied_telling": telling,
        "most_share": max(all_lengths) / bench.options.streams,
        "most_telling_share": max(telling) / bench.options.streams,
    }


def default(share: float) -> Callable[[Bench], dict[str, Any]]:
    """The default generator with ``share`` of the budget; with all of it also freely and with the machine."""

    def run(bench: Bench) -> dict[str, Any]:
        generator = bench.fit("gru", bench.options.budget * share)
        training = generator.parts[0].facts.training
        found: dict[str, Any] = {
            "seconds": training.seconds,
            "steps": training.steps,
            "kept_steps": training.kept.steps,
            "nats": training.kept.nats,
            "held_out_curve": _points(generator),
            "measures": bench.score(bench.draw(generator)),
        }
        if share == 1.0:
            bench.keep("gru", generator)
            found["free"] = _violations(bench, _with_grammar(bench, generator, "free"))
            found["machine"] = _violations(bench, _with_grammar(bench, generator, "machine"))
        return found

    return run


def _with_grammar(bench: Bench, generator: Any, kind: str) -> Any:
    from penstock.traffic.generator.grammar import free_grammar, machine_grammar

    events = generator.events
    grammar = free_grammar(len(events)) if kind == "free" else machine_grammar(bench.machine, events)
    parts = tuple(replace(part, model=replace(part.model, grammar=grammar)) for part in generator.parts)
    return replace(generator, parts=parts)


def _violations(bench: Bench, generator: Any) -> dict[str, float]:
    from penstock.traffic.machine import find_violations

    found = find_violations(bench.draw(generator), bench.machine)
    return {"streams": found.stream_share, "events": found.event_share}


def _points(generator: Any) -> list[tuple[float, float]]:
    return [(point.seconds, point.nats) for point in generator.parts[0].facts.training.curve]


def other(method: str, **options: Any) -> Callable[[Bench], dict[str, Any]]:
    """Another learned generator with the same budget."""

    def run(bench: Bench) -> dict[str, Any]:
        generator = bench.fit(method, bench.options.budget, **options)
        bench.keep(method, generator)
        training = generator.parts[0].facts.training
        count = min(bench.options.streams, bench.options.slow_streams)
        sample = bench.draw(generator, count)
        return {
            "seconds": training.seconds,
            "steps": training.steps,
            "held_out_curve": _points(generator),
            "measures": bench.score(sample),
        }

    return run


def smm(groups: int) -> Callable[[Bench], dict[str, Any]]:
    """The semi-Markov model, which is told the machine."""

    def run(bench: Bench) -> dict[str, Any]:
        begin = time.process_time()
        generator = bench.fit("smm", bench.options.budget, machine=bench.machine, groups=groups)
        seconds = time.process_time() - begin
        return {"seconds": seconds, "groups": groups, "measures": bench.score(bench.draw(generator))}

    return run


def speed(bench: Bench) -> dict[str, Any]:
    """Events a second: the kernel on one and all cores, the published network in the same run."""
    gru, published = bench.model("gru"), bench.model("published")
    cores = os.cpu_count() or 1
    replace(gru, threads=1).sample(64, 1)  # compiles
    found: dict[str, Any] = {"cores": cores, "streams": SPEED_STREAMS}
    for name, generator, count in (
        ("kernel, one core", replace(gru, threads=1), SPEED_STREAMS),
        ("kernel, two cores", replace(gru, threads=2), SPEED_STREAMS),
        ("kernel, all cores", replace(gru, threads=cores), SPEED_STREAMS * max(1, cores // 2)),
        ("published", on_device(published, "cpu"), 512),
    ):
        found[name] = _rate(generator, count, repeats=3 if generator is not published else 1)
    if bench.options.device == "cuda":
        found["gru, GPU"] = _rate(replace(gru, device="cuda", batch=16_384), 32_768)
        found["published, GPU"] = _rate(replace(published, device="cuda", batch=4096), 4096)
    found["times published, a CPU second"] = (
        found["kernel, one core"]["events_per_cpu_s"] / found["published"]["events_per_cpu_s"]
    )
    return found


def _rate(generator: Any, streams: int, repeats: int = 2) -> dict[str, float]:
    """The best of a few runs: other work on the machine only slows."""
    wall, cpu, events = float("inf"), float("inf"), 0
    for _ in range(repeats):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        events = generator.sample(streams, 5).n_events
        wall, cpu = min(wall, time.perf_counter() - begin), min(cpu, time.process_time() - cpu_begin)
    return {"events": events, "events_per_s": events / wall, "events_per_cpu_s": events / cpu}


def fine_tuning(bench: Bench) -> dict[str, Any]:
    """The next hour: how much less training from the model of this hour reaches what training anew reaches."""
    from penstock.traffic.truth import simulate_truth

    start = bench.model("gru")
    streams = simulate_truth("lte", bench.options.streams, "phone", NEXT_HOUR, seed=1)
    budget = bench.options.budget / 4
    anew = bench.fit("gru", budget, streams, hour=NEXT_HOUR).parts[0].facts.training
    found: dict[str, Any] = {"anew": {"seconds": anew.kept.seconds, "nats": anew.kept.nats}, "tuned": []}
    for times in (20.0, 10.0, 7.5, 5.0, 3.0):
        tuned = bench.fit("gru", budget / times, streams, hour=NEXT_HOUR, start_from=start)
        training = tuned.parts[-1].facts.training
        row = {"seconds": training.seconds, "nats": training.kept.nats}
        found["tuned"].append(row)
        if row["nats"] <= found["anew"]["nats"]:
            found["times_less"] = anew.kept.seconds / training.seconds
            break
    return found


def reach(bench: Bench) -> dict[str, Any]:
    """On a GPU: the seconds to the held-out likelihood that one CPU core reaches in the same budget."""
    if bench.options.device != "cuda":
        return {"void": "needs --device cuda"}
    import torch

    torch.set_num_threads(1)
    gpu = _points(bench.model("gru"))
    cpu_bench = replace_device(bench, "cpu")
    cpu = cpu_bench.fit("gru", bench.options.budget).parts[0].facts.training
    wanted = cpu.kept.nats
    seconds = next((at for at, nats in gpu if nats <= wanted), None)
    return {
        "cpu": {"seconds": cpu.seconds, "steps": cpu.steps, "nats": wanted},
        "gpu_seconds": seconds,
        "gpu_curve": gpu,
    }


def replace_device(bench: Bench, device: str) -> Bench:
    """The same streams, another device."""
    made = Bench.__new__(Bench)
    made.__dict__.update(bench.__dict__)
    made.options = argparse.Namespace(**{**vars(bench.options), "device": device})
    return made


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "truth": truth,
    "chance": chance,
    "a tenth": default(0.1),
    "two fifths": default(0.4),
    "default": default(1.0),
    "published": other("published"),
    "gan": other("gan"),
    "smm": smm(1),
    "clustered smm": smm(100),
    "speed": speed,
    "fine-tuning": fine_tuning,
    "reach": reach,
    "transformer": other("transformer"),
}
CURVE = ("a tenth", "two fifths", "default")
"""The default generator by its share of the budget: of 600 CPU seconds, 30 s, 2 and 5 minutes of two cores."""
USUAL = [name for name in SECTIONS if name != "transformer"]


def targets(found: dict[str, Any]) -> list[tuple[str, float | None, str, float | None]]:
    """(what, measured, relation, wanted); None if it was not measured."""

    def of(section: str, *path: str) -> float | None:
        value: Any = found.get(section, {})
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def measure(section: str, name: str) -> float | None:
        return of(section, "measures", name)

    def times(value: float | None, factor: float) -> float | None:
        return None if value is None else value * factor

    def apart(name: str) -> float | None:
        own, real = measure("default", name), measure("truth", name)
        return None if own is None or real is None else abs(own - real)

    own, gan = partial(measure, "default"), partial(measure, "gan")
    breaking, copied, auc = "streams breaking the machine", "whole streams copied", "classifier AUC"
    telling = "copied, 3 events or more"
    shares = (own("memorised 16-grams"), measure("truth", "memorised 16-grams"))
    more = shares[0] / shares[1] if shares[0] is not None and shares[1] else None
    return [
        ("streams breaking the machine, automaton", own(breaking), "<=", 0.0005),
        ("the same, --machine", of("default", "machine", "streams"), "<=", 0.0),
        ("the same, free", of("default", "free", "streams"), "<=", 0.01),
        ("the same, automaton, against the GAN / 500", own(breaking), "<=", times(gan(breaking), 1 / 500)),
        ("time in CONNECTED", own("time in CONNECTED"), "<=", 0.010),
        ("time in IDLE", own("time in IDLE"), "<=", 0.015),
        (
            "CONNECTED against the GAN / 10",
            own("time in CONNECTED"),
            "<=",
            times(gan("time in CONNECTED"), 0.1),
        ),
        ("IDLE against the GAN / 10", own("time in IDLE"), "<=", times(gan("time in IDLE"), 0.1)),
        ("event mix", own("event mix"), "<=", 0.003),
        ("lag-1 of IDLE, from truth", apart("lag-1 of IDLE"), "<=", 0.02),
        (auc, own(auc), "<=", 0.56),
        ("classifier AUC against clustered SMM", own(auc), "<=", measure("clustered smm", auc)),
        ("memorised n-grams, share of truth's", more, "<=", 1.1),
        (f"{copied}, at most as many as of real ones", own(copied), "<=", of("chance", "most_share")),
        (telling, own(telling), "<=", 0.0),
        ("events/s, two cores", of("speed", "kernel, two cores", "events_per_s"), ">=", 250_000),
        ("events a CPU second, times published", of("speed", "times published, a CPU second"), ">=", 10),
        ("fine-tuning, times less", of("fine-tuning", "times_less"), ">=", 5),
    ]


def show(found: dict[str, Any]) -> list[str]:
    """Print measures side by side and the targets; the names of those that are missed."""
    columns = [name for name in SECTIONS if name not in CURVE[:2] and "measures" in found.get(name, {})]
    names = list(found[columns[0]]["measures"]) if columns else []
    print(f"\n{'measure':32}" + "".join(f"{name:>15}" for name in columns))
    for name in names:
        cells = [found[column]["measures"].get(name) for column in columns]
        print(f"{name:32}" + "".join(f"{'-' if cell is None else format(cell, '.4f'):>15}" for cell in cells))
    for row in [found[name] for name in CURVE if "measures" in found.get(name, {})]:
        steps = f"step {row['kept_steps']:6d} of {row['steps']:6d}"
        begin = f"default after {row['seconds']:6.0f} s, {steps}: {row['nats']:.4f} nats"
        shown = {name: row["measures"].get(name) for name in SHOWN}
        print(begin + "".join(f", {name} {value:.4f}" for name, value in shown.items() if value is not None))
    missed = []
    print(f"\n{'target':46}{'measured':>12}{'':>4}{'wanted':>12}")
    for what, measured, relation, wanted in targets(found):
        known = measured is not None and wanted is not None
        met = known and (measured <= wanted if relation == "<=" else measured >= wanted)  # type: ignore[operator]
        verdict = "not measured" if not known else "" if met else "MISSED"
        if known and not met:
            missed.append(what)
        print(f"{what:46}{_number(measured):>12}{relation:>4}{_number(wanted):>12}  {verdict}")
    return missed


SHOWN = (
    "streams breaking the machine",
    "time in CONNECTED",
    "time in IDLE",
    "events a stream",
    "event mix",
    "lag-1 of IDLE",
    "classifier AUC",
    "whole streams copied",
)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.4f}"


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


def setting(chosen: argparse.Namespace) -> dict[str, Any]:
    """What results of one folder have in common."""
    return {name: getattr(chosen, name) for name in ("streams", "budget", "device", "small", "threads")}


def earlier_sections(chosen: argparse.Namespace) -> dict[str, Any]:
    """The sections whose results lie in the folder. Ends the program if they were found in another setting."""
    found = {}
    for name in SECTIONS:
        path = chosen.folder / f"{name}.json" if chosen.folder else None
        if path and path.exists():
            document = json.loads(path.read_text())
            if document["setting"] != setting(chosen):
                sys.exit(
                    f"{path}: was measured with {document['setting']}, not {setting(chosen)}: name another folder."
                )
            found[name] = document["found"]
    return found


def _write(path: Path, document: Any) -> None:
    from penstock.files import write_whole

    write_whole(path, lambda made: made.write_text(json.dumps(document)), force=True)


def main() -> int:
    chosen = options()
    stand_in_for_pydantic()
    import torch

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
        if chosen.folder and "error" not in found[name]:
            _write(chosen.folder / f"{name}.json", {"setting": setting(chosen), "found": found[name]})
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
