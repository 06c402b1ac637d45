"""The two models on the device: whole, cut, and on a high priority; each checked against plain execution."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from device_gpu_parts.models import inception_v3, resnet18
from device_gpu_parts.stand_in import ThreadStreams
from penstock.profile.cutting import Cut, choose_cut, wanted_segments
from penstock.serve.scheduled.graphed import GraphedModel
from penstock.serve.scheduled.streams import Segment, Streams

SLO_FACTOR = 5
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
TOLERANCE = {"fp32": 2e-3, "fp16": 2e-2}
"""Largest difference over the largest value: another algorithm of a convolution adds up in another order."""


@dataclass(frozen=True)
class Scale:
    """How large the models are, and how many copies of each are made (short, long)."""

    width: float
    pixels: tuple[int, int]
    copies: tuple[int, int]

    @classmethod
    def of(cls, device: Streams) -> Scale:
        """The real size on a GPU; tiny for the stand-in."""
        return cls(1.0, (224, 299), (48, 16)) if is_gpu(device) else cls(0.125, (64, 80), (6, 3))


def is_gpu(device: Streams) -> bool:
    """Whether it is not the stand-in."""
    return not isinstance(device, ThreadStreams)


def now_us() -> float:
    return time.perf_counter_ns() / 1e3


class Source:
    """The modules of one model, and what is needed to run spans of them."""

    def __init__(self, device: Streams, name: str, parts: list[nn.Module], pixels: int, dtype: str) -> None:
        self.name, self.pixels, self.dtype, self._device = name, pixels, dtype, device
        self._is_gpu = is_gpu(device)
        self.parts = [self._placed(part).eval().requires_grad_(False) for part in parts]

    def _placed(self, value: Any) -> Any:
        value = value.to("cuda" if self._is_gpu else "cpu", DTYPES[self.dtype])
        # Half-precision convolutions on tensor cores want the channels last.
        last = self._is_gpu and self.dtype == "fp16"
        return value.to(memory_format=torch.channels_last) if last else value

    def new_input(self, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return self._placed(torch.randn(1, 3, self.pixels, self.pixels, generator=generator))

    def span(self, start: int, stop: int) -> Segment:
        parts = self.parts[start:stop]

        def run(tensor: Any) -> Any:
            for part in parts:
                tensor = part(tensor)
            return tensor

        return run

    def load(self, boundaries: tuple[int, ...], copies: int, priority: int = 0) -> GraphedModel:
        spans = [self.span(a, b) for a, b in pairwise(boundaries)]
        return GraphedModel(self._device, self.name, spans, self.new_input, copies, priority)

    @property
    def whole(self) -> tuple[int, int]:
        return 0, len(self.parts)


def make_source(device: Streams, which: int, dtype: str) -> Source:
    """Model 0 is ResNet-18, model 1 InceptionV3; weights from seed 0."""
    scale = Scale.of(device)
    torch.manual_seed(0)
    make = (resnet18, inception_v3)[which]
    return Source(device, make.__name__, make(scale.width), scale.pixels[which], dtype)


class Bench:
    """Launching a copy outside any dispatcher."""

    def __init__(self, device: Streams) -> None:
        self.device = device
        self.stream = device.streams(1)[0]

    def run_us(self, model: GraphedModel, hosted: bool = False) -> float:
        """One job on the first copy: segments back to back, or (``hosted``) each seen to end before the next."""
        copy = model.copies[0]
        start = now_us()
        for graph, done in zip(copy.graphs, copy.done, strict=True):
            self.device.launch(graph, self.stream)
            if hosted or done is copy.done[-1]:
                self.device.mark(done, self.stream)
            if hosted:
                while not done.query():
                    pass
        copy.done[-1].synchronize()
        return now_us() - start

    def median_us(self, model: GraphedModel, runs: int = 40, hosted: bool = False) -> float:
        return statistics.median(self.run_us(model, hosted) for _ in range(runs))

    def in_turn_us(self, first: GraphedModel, second: GraphedModel, rounds: int = 40) -> tuple[float, float]:
        """Medians of two models run in turn, so that the clock's changes fall on both."""
        pairs = [(self.run_us(first), self.run_us(second)) for _ in range(rounds)]
        return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


@dataclass
class Loaded:
    """Everything of one precision. ``whole_us`` and ``segment_us`` are (short, long), alone on the device."""

    dtype: str
    device: Streams
    short: GraphedModel
    long_whole: GraphedModel
    long_cut: GraphedModel
    short_high: GraphedModel
    whole_us: tuple[float, float]
    cut: Cut | None
    tried: tuple[Cut, ...]
    part_us: list[float]
    largest_difference: float
    own_streams: tuple[list[Any], list[Any]] | None = None  # of the green contexts

    @property
    def slo_us(self) -> tuple[float, float]:
        return SLO_FACTOR * self.whole_us[0], SLO_FACTOR * self.whole_us[1]

    def equal_work_share(self) -> float:
        """The share of long jobs at which both models need the same time."""
        short_us, long_us = self.whole_us
        return short_us / (short_us + long_us)

    def serial_rps(self, long_share: float) -> float:
        """The rate of one job after another, from the times alone."""
        return 1e6 / ((1 - long_share) * self.whole_us[0] + long_share * self.whole_us[1])


def load(device: Streams, dtype: str) -> Loaded:
    """Load both models, cut the long one by the rule, and check every copy against plain execution."""
    scale, bench = Scale.of(device), Bench(device)
    sources = [make_source(device, which, dtype) for which in (0, 1)]
    short = sources[0].load(sources[0].whole, scale.copies[0])
    long_whole = sources[1].load(sources[1].whole, scale.copies[1])
    part_us = _part_us(bench, sources[1])
    short_us, long_us = bench.in_turn_us(short, long_whole)
    wanted = wanted_segments(max(long_us, short_us), short_us)

    def measure(boundaries: tuple[int, ...]) -> tuple[float, float]:
        return bench.in_turn_us(long_whole, sources[1].load(boundaries, 1))

    cut, tried = choose_cut(part_us, wanted, measure)
    # Without a kept cut the finest tried still shows what a cut does; the table says what it cost.
    boundaries = cut.boundaries if cut else tried[0].boundaries if tried else sources[1].whole
    loaded = Loaded(
        dtype=dtype,
        device=device,
        short=short,
        long_whole=long_whole,
        long_cut=sources[1].load(boundaries, scale.copies[1]),
        short_high=sources[0].load(sources[0].whole, scale.copies[0], device.highest_priority),
        whole_us=(short_us, long_us),
        cut=cut,
        tried=tried,
        part_us=part_us,
        largest_difference=0.0,
    )
    checked = ((sources[0], short), (sources[0], loaded.short_high), (sources[1], long_whole))
    for source, model in (*checked, (sources[1], loaded.long_cut)):
        difference = _difference(bench, source, model)
        loaded.largest_difference = max(loaded.largest_difference, difference)
    assert loaded.largest_difference <= TOLERANCE[dtype], f"outputs differ: {loaded.largest_difference}"
    return loaded


def load_one(device: Streams, which: int, dtype: str) -> Loaded:
    """One model alone, as both types of a :class:`Loaded`."""
    source = make_source(device, which, dtype)
    model = source.load(source.whole, Scale.of(device).copies[which])
    difference = _difference(Bench(device), source, model)
    assert difference <= TOLERANCE[dtype], f"outputs differ: {difference}"
    whole_us = Bench(device).median_us(model)
    return Loaded(dtype, device, model, model, model, model, (whole_us, whole_us), None, (), [], difference)


def _part_us(bench: Bench, source: Source) -> list[float]:
    """The time of every part alone, as a graph: plain execution would time Python."""
    out, tensor = [], source.new_input(0)
    for at in range(len(source.parts)):
        span = source.span(at, at + 1)
        model = GraphedModel(bench.device, "part", [span], lambda _, given=tensor: given, 1)
        out.append(bench.median_us(model, 15))
        with torch.no_grad():
            tensor = span(tensor)
    return out


def _difference(bench: Bench, source: Source, model: GraphedModel) -> float:
    """The largest difference of any copy from plain execution, over the largest value.

    All copies run at once and several times: so buffers that two of them share would show.
    """
    streams = bench.device.streams(min(len(model.copies), 32))
    for _ in range(3):
        for at, copy in enumerate(model.copies):
            for graph in copy.graphs:
                bench.device.launch(graph, streams[at % len(streams)])
    bench.device.wait()
    worst = 0.0
    for copy in model.copies:
        with torch.no_grad():
            expected = source.span(*source.whole)(copy.input).float()
        apart = (copy.output.float() - expected).abs().max().item()
        worst = max(worst, apart / (expected.abs().max().item() + 1e-9))
    return worst
