"""The work of ``penstock profile``: measure or predict, block by block."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from penstock.api.efficiencies import efficiency_table, tell_guesses
from penstock.api.measuring import Task, run_task
from penstock.api.results.profile_result import ProfileResult
from penstock.errors import BadInputError, InfeasibleError
from penstock.files import refuse_overwrite
from penstock.graph.cuts import boundary_bytes
from penstock.graph.model_graph import ModelGraph
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.graph.reading.options import AS_IT_IS, ReadOptions
from penstock.partition.prepartition import prepartition
from penstock.profile import DEFAULT_BLOCKS
from penstock.profile.build import boundaries_of, build_profile, merge_classes
from penstock.profile.cutting import Cut
from penstock.profile.measuring.class_check import check_known_class
from penstock.profile.measuring.independence import check_independence
from penstock.profile.measuring.inputs import Arrays, read_samples
from penstock.profile.measuring.measure import Measurement
from penstock.profile.prediction.device_catalogue import CPU_CORE, DeviceSpec, device_spec
from penstock.profile.prediction.predict import predict as predict_tables
from penstock.profile.prediction.predict import predict_operators
from penstock.profile.segments.measure_cut import CutMeter, cut_beside, cut_note
from penstock.profile.steadiness import remarks
from penstock.profile.store import PROFILE_FILES, load_profile, save_profile
from penstock.profile.table import Profile
from penstock.progress import CancelToken, Watcher, collected, tell, watched
from penstock.runtime.settings import MEASURED_BATCHES, RuntimeSettings

DEFAULT_MAX_BATCH = 4

CPU_SETTINGS = RuntimeSettings()


def profile_model(
    model: str | Path,
    output: str | Path,
    *,
    device_class: str | None = None,
    predict: Sequence[str] = (),
    calibrate_from: Sequence[Path] = (),
    beside: Sequence[Path] = (),
    blocks: int | None = None,
    boundaries: Sequence[int] | None = None,
    max_batch: int | None = None,
    shares: Sequence[int] = (1,),
    threads: int = 1,
    seconds: float = 60.0,
    budget_minutes: float | None = None,
    seed: int = 0,
    settings: RuntimeSettings | None = None,
    mps: bool = False,
    reading: ReadOptions = AS_IT_IS,
    sample: Path | None = None,
    as_emulated: bool = False,
    merge: bool = False,
    force: bool = False,
    progress: Watcher | None = None,
    cancel: CancelToken | None = None,
) -> ProfileResult:
    """Measure the ONNX file ``model`` block by block, or predict it, and write the profile folder ``output``.

    ``device_class`` names this machine and measures on it for about ``seconds``; each class in ``predict`` is estimated
    by a roofline. ``blocks``: how many (by default up to ten), or ``boundaries`` in operators, from 0 to their number.
    ``max_batch``: batches 1 to this (default: 4; on a GPU 64, as far as larger ones help). ``shares``: n copies at
    once. ``settings``: the runtime and the device (default: onnxruntime on the CPU). ``reading``: lengths of free axes
    and values of inputs that the file leaves open.
    ``sample``: a file of real inputs (.npz) to measure with. ``calibrate_from``: measured profiles that the roofline is
    fitted to. ``beside``: profiles of models that will share the device, for which this one is also cut. ``mps``: run
    shares under NVIDIA's multi-process service. ``budget_minutes``: for all of it, in place of ``seconds``.
    ``merge`` keeps the blocks and the other classes of the profile in ``output``; ``force`` replaces it.

    Raises :class:`penstock.errors.BadInputError` for a value out of range and a file that cannot be read. If the work
    is stopped, what was measured is kept beside ``output``, and the same call continues it.
    """
    path, folder, asked = Path(model), Path(output), settings or CPU_SETTINGS
    _check_classes(device_class, predict, as_emulated, asked)
    if merge and (blocks is not None or boundaries is not None):
        raise BadInputError(
            "--merge keeps the blocks of the profile: leave out --blocks and --boundaries, or leave out --merge."
        )
    if blocks is not None and boundaries is not None:
        raise BadInputError("--boundaries gives the blocks already: leave out --blocks.")
    shortest_us = _shortest_us(beside, device_class, shares)
    if device_class is None and (mps or budget_minutes is not None or settings is not None):
        raise BadInputError(
            "nothing is to be measured: leave out the options of the runtime, or add --device-class NAME."
        )
    if shortest_us is not None and asked != RuntimeSettings() and asked.kind != "torch":
        raise BadInputError(
            "--beside measures cuts with what runs models by turns: onnxruntime on the CPU, or --executor torch. "
            "Choose one of these, or leave out --beside."
        )
    with watched(progress, cancel), collected() as texts:
        kept = load_profile(folder) if merge else None
        specs = [device_spec(name) for name in dict.fromkeys(predict)]
        efficiencies = efficiency_table(tuple(calibrate_from))
        wanted = max_batch or default_max_batch(device_class is not None, asked)
        onnx_model, samples, most = _open_model(path, _reading_of(reading, kept), sample, seed, wanted)
        chosen = _boundaries(onnx_model.graph, boundaries, kept, specs, device_class is not None, blocks)
        task = None
        if device_class is not None:
            task = Task(
                onnx_model, chosen, device_class, asked, most, shares, threads, seed, mps, folder, samples
            )
        # A profile that an incomplete run left belongs to this command.
        goes_on = task is not None and task.is_begun()
        if not (merge or goes_on):
            refuse_overwrite(folder, force, PROFILE_FILES)
        measured: dict[str, Measurement] = {}
        cuts: dict[str, Cut] = {}
        if task is not None:
            limit_s = seconds if budget_minutes is None else budget_minutes * 60
            measured[task.device_class] = run_task(task, limit_s, force=force)
            if shortest_us is not None:
                with _cut_meter(onnx_model, chosen, asked, seconds / 4, threads, seed) as meter:
                    kept_cut, tried = cut_beside(measured[task.device_class], shortest_us, meter)
                tell(cut_note(kept_cut, tried))
                cuts = {} if kept_cut is None else {task.device_class: kept_cut}
        tables = predict_tables(onnx_model.graph, chosen, specs, most, tuple(shares), efficiencies)
        tell_guesses(onnx_model, specs, efficiencies)
        profile = build_profile(
            onnx_model,
            chosen,
            measured=measured,
            predicted=tables,
            efficiencies=efficiencies.source,
            cuts=cuts,
        )
        if kept is not None:
            profile = merge_classes(kept, profile)
        save_profile(profile, folder, force=force or merge or goes_on)
    return ProfileResult(profile, folder, (*texts, *remarks(profile, measured)))


def _cut_meter(
    model: OnnxModel,
    boundaries: tuple[int, ...],
    settings: RuntimeSettings,
    seconds: float,
    threads: int,
    seed: int,
) -> CutMeter:
    """By what serves: CPU time on a CPU; on a GPU the time from the host's memory to the host's memory."""
    if settings.kind != "torch":
        return CutMeter(model, boundaries, seconds=seconds, threads=threads, seed=seed)
    from penstock.serve.scheduled.on_torch.load import split_on_torch

    chosen = replace(settings, threads=threads)
    return CutMeter(
        model,
        boundaries,
        seconds=seconds,
        seed=seed,
        split=lambda model, at, folder: split_on_torch(model, at, folder, chosen),
        clock_ns=time.process_time_ns if settings.device == "cpu" else time.perf_counter_ns,
    )


def default_max_batch(is_measured: bool, settings: RuntimeSettings) -> int:
    """64 if a GPU is measured, since the visit of its batches ends by itself; else 4."""
    return MEASURED_BATCHES[-1] if is_measured and settings.device != "cpu" else DEFAULT_MAX_BATCH


def _reading_of(asked: ReadOptions, kept: Profile | None) -> ReadOptions:
    """What is asked for; nothing asked with --merge is what the profile says."""
    return kept.reading if kept is not None and asked == AS_IT_IS else asked


def _open_model(
    path: Path, reading: ReadOptions, sample: Path | None, seed: int, max_batch: int
) -> tuple[OnnxModel, Arrays, int]:
    """The model, its given inputs, and the largest batch that it can run. A note says what is not as usual."""
    model = read_onnx(path, reading)
    if max_batch > 1 and not model.graph.is_batched:
        tell("The batch of the model is fixed: one run at a time (--free-batch may make it free).")
        max_batch = 1
    samples = {} if sample is None else read_samples(sample)
    if find_spec("onnxruntime") is not None and (warning := check_independence(model, seed, samples)):
        tell(warning)
    return model, samples, max_batch


def _check_classes(
    device_class: str | None, predicted: Sequence[str], as_emulated: bool, settings: RuntimeSettings
) -> None:
    if device_class is None and not predicted:
        raise BadInputError(
            "nothing to do: give --device-class NAME to measure, or --predict CLASS to estimate."
        )
    if device_class is not None and not device_class.strip():
        raise BadInputError("--device-class is empty: give the class a name, such as cpu or L4.")
    if device_class in predicted:
        raise BadInputError(
            f"device class {device_class!r} is both measured and predicted. Give the measured one another name, "
            f"or leave out --predict {device_class}."
        )
    if device_class is not None and not as_emulated:
        check_known_class(device_class, settings)


def _shortest_us(beside: Sequence[Path], device_class: str | None, shares: Sequence[int]) -> int | None:
    """The time of the shortest of the profiles ``beside`` on ``device_class``. None if there are none."""
    if not beside:
        return None
    if device_class is None or 1 not in shares:
        raise BadInputError(
            "--beside measures cuts on a whole device: give --device-class NAME, and 1 among --shares."
        )
    times_us = []
    for folder in beside:
        whole_us = load_profile(folder).whole_us
        if device_class not in whole_us:
            known = ", ".join(sorted(whole_us)) or "none"
            raise BadInputError(
                f"--beside {folder}: was not measured whole on {device_class!r} (it was on {known}). "
                f"Profile it with --device-class {device_class}."
            )
        times_us.append(whole_us[device_class])
    return min(times_us)


def _check_boundaries(boundaries: Sequence[int], n_operators: int) -> None:
    ascends = all(start < stop for start, stop in pairwise(boundaries))
    if len(boundaries) < 2 or boundaries[0] != 0 or boundaries[-1] != n_operators or not ascends:
        raise BadInputError(
            f"boundaries (={list(boundaries)}) must ascend from 0 to {n_operators}, the number of operators. "
            f"Correct --boundaries."
        )


def _boundaries(
    graph: ModelGraph,
    asked: Sequence[int] | None,
    kept: Profile | None,
    specs: list[DeviceSpec],
    on_this_machine: bool,
    blocks: int | None,
) -> tuple[int, ...]:
    """Boundaries of the blocks: those asked for, those of the profile that is kept, or chosen ones."""
    if asked is not None:
        _check_boundaries(asked, len(graph.operators))
        return tuple(asked)
    if kept is not None:
        return boundaries_of(kept, len(graph.operators))
    return _choose_boundaries(graph, specs, on_this_machine, blocks)


def _choose_boundaries(
    graph: ModelGraph, specs: list[DeviceSpec], on_this_machine: bool, blocks: int | None
) -> tuple[int, ...]:
    """Boundaries of ``blocks`` blocks, balanced on all classes. By default as many as possible, up to ten."""
    if blocks is not None and blocks > len(graph.operators):
        raise BadInputError(
            f"--blocks {blocks} is more than the model's {len(graph.operators)} operators, and a block has at least "
            f"one. Give a smaller number."
        )
    balanced_on = [*specs, CPU_CORE] if on_this_machine else specs
    latency_us = {spec.name: predict_operators(graph, spec) for spec in balanced_on}
    reason: InfeasibleError | None = None
    for count in [blocks] if blocks is not None else range(DEFAULT_BLOCKS, 1, -1):
        try:
            found = prepartition(latency_us, boundary_bytes(graph), count).solution
        except InfeasibleError as error:
            if blocks is not None:
                raise
            reason = error
        else:
            if blocks is None and count < DEFAULT_BLOCKS:
                tell(f"{count} blocks, not {DEFAULT_BLOCKS}: {reason}")
            return found
    tell(f"one block: {reason}")
    return (0, len(graph.operators))
