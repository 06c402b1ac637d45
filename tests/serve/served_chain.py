"""A model cut and served without processes: the real messages, executors and ledger, one after the other.

What is left out is sockets, and the policy that forms batches: the test says which units make up a batch, and into how
many pieces each stage splits it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime

from penstock.graph.cuts import boundary_bytes
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.serve.boundaries import DATATYPES, OnnxBoundaries
from penstock.serve.executor.make import make_executor
from penstock.serve.gateway.admission import checked_samples, shared_value
from penstock.serve.gateway.first_stage import first_messages
from penstock.serve.gateway.ledger import Ledger, Outputs, Waiting
from penstock.serve.hops.gather import Gather
from penstock.serve.hops.onward import next_message, parts_of_piece, shares_of
from penstock.serve.hops.pieces import lot_pieces
from penstock.serve.messages import Assign, RouteStep, Share, owner_of
from penstock.serve.prepare import StageWriter
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import InferRequest, Tensor
from penstock.serve.spec import ModelSpec, ServerSpec, StageSpec
from penstock.serve.transport import Parts, read_groups, tensor_frames
from penstock.serve.worker import run_groups

MOST = 4
NEVER = 10**12


def profile_of(model: OnnxModel, boundaries: Sequence[int]) -> Profile:
    """A profile of ``model`` cut there, with made-up times."""
    names = [operator.name for operator in model.graph.operators]
    sizes = boundary_bytes(model.graph)
    return Profile(
        model=model.path.stem,
        blocks=tuple(
            Block(f"b{i}", tuple(names[a:b]), 0, 0) for i, (a, b) in enumerate(pairwise(boundaries))
        ),
        boundary_bytes=tuple(int(sizes[at]) for at in boundaries),
        tables={("cpu", 1): LatencyTable(np.ones((len(boundaries) - 1, MOST), np.int64))},
        provenance=Provenance("imported", "none", "none", "2025-01-01"),
        model_file=str(model.path),
        model_sha256=model.sha256,
        reading=model.options,
    )


class ServedChain:
    """``model`` in stages between ``boundaries``."""

    def __init__(
        self, model: OnnxModel, boundaries: Sequence[int], folder: Path, executor: str = "onnxruntime"
    ) -> None:
        cuts = OnnxBoundaries(profile_of(model, boundaries))
        folder.mkdir(exist_ok=True)
        writer = StageWriter(cuts, folder, 0)
        most = MOST if model.graph.is_batched else 1
        self.stages = tuple(_stage(cuts, writer, k, executor, most) for k in range(len(boundaries) - 1))
        spec = ModelSpec("m", NEVER, 1.0, most, cuts.inputs, cuts.outputs, (executor,))
        table = {"stage_offsets": [0, len(self.stages)], "pipeline_offsets": [0, 1]}
        self.spec = ServerSpec((spec,), self.stages, ((0,),), table)
        self.executors = [make_executor(stage) for stage in self.stages]
        self.batches = 0
        self.order = random.Random(0)
        self.sizes: list[tuple[int, int]] = []

    def infer(
        self,
        requests: Sequence[Mapping[str, np.ndarray]],
        batches: Sequence[Sequence[int]] | None = None,
        gateways: int = 1,
        pieces: Sequence[int] = (),
    ) -> list[Outputs | ProtocolError]:
        """The answers to ``requests``, in the order of the gateways that they come to in turn.

        ``batches`` are lists of units, by default all units in one. ``pieces``: into how many each stage splits a
        batch, if it has so many units. Then results come in any order, and the answers are in that of the requests.
        """
        model = self.spec.models[0]
        ledgers = [Ledger(lambda request, now_us: None, number) for number in range(gateways)]
        answers: list[list[Outputs | ProtocolError]] = [[] for _ in (requests if pieces else ledgers)]
        places = []
        for ledger in ledgers:
            ledger.dispatcher_up(0, 0)
        for turn, arrays in enumerate(requests):
            number = turn % gateways
            asked = InferRequest(tuple(Tensor(n, DATATYPES[_name(a)], a) for n, a in arrays.items()))
            samples = checked_samples(model, asked)
            waiting = Waiting(
                model=0,
                inputs={tensor.name: tensor for tensor in asked.inputs},
                first=ledgers[number].admit(samples),
                samples=samples,
                arrival_us=0,
                deadline_us=NEVER,
                settle=answers[turn if pieces else number].append,
                shared=shared_value(model, asked),
            )
            places.append(range(waiting.first, waiting.first + samples))
            ledgers[number].add(waiting)
        units = [unit for place in places for unit in place]
        for batch in batches or ([units] if model.max_batch > 1 else [[unit] for unit in units]):
            self._serve(ledgers, tuple(batch), [min(count, len(batch)) for count in pieces])
        assert not any(ledger.in_flight for ledger in ledgers)
        return [answer for own in answers for answer in own]

    def _serve(self, ledgers: Sequence[Ledger], units: tuple[int, ...], counts: Sequence[int]) -> None:
        steps = sum(counts) if counts else len(self.stages)
        route = tuple(RouteStep(k, f"worker-{k}") for k in range(steps))
        by_gateway: dict[int, list[int]] = {}
        for unit in units:
            by_gateway.setdefault(owner_of(unit), []).append(unit)
        shares = tuple(Share(gateway, len(own), f"gateway-{gateway}") for gateway, own in by_gateway.items())
        pieces = lot_pieces(counts, len(units), 0, len(units))
        first = []
        for gateway, own in by_gateway.items():
            message = Assign(0, self.batches, 0, tuple(own), route, shares, NEVER, pieces)
            runs = ledgers[gateway].assign(message, 0)
            first += first_messages(self.spec, gateway, message, runs, 0, False)
        self.batches += 1
        if pieces:
            self._serve_pieces(ledgers, first)
            return
        gather: Gather[memoryview] = Gather()
        for _, header, tensors in first:
            whole = gather.add(0, header, _sent(tensors))
        assert whole is not None, "the last share makes the batch whole"
        header, sent = whole.header, whole.frames
        outputs = self.spec.models[0].outputs
        for number, (stage, executor) in enumerate(zip(self.stages, self.executors, strict=True)):
            groups = run_groups(stage, executor, header, sent)
            if number + 1 < len(self.stages):
                header, tensors = next_message(header, groups, 0, 0)
                sent = _sent(tensors)
        for share, own_groups in zip(shares, shares_of(groups, shares, outputs), strict=True):
            part, tensors = next_message(header, own_groups, 0, 0, share)
            ledgers[share.gateway].result(part, read_groups(part, _sent(tensors)), 0, outputs)

    def _serve_pieces(self, ledgers: Sequence[Ledger], sent: list[tuple]) -> None:
        """Messages come in any order; each worker gathers for itself."""
        outputs = self.spec.models[0].outputs
        gathers: dict[int, Gather[memoryview]] = {}
        while sent:
            to, header, tensors = sent.pop(self.order.randrange(len(sent)))
            if isinstance(to, Share):
                ledgers[to.gateway].result(header, read_groups(header, _sent(tensors)), 0, outputs)
                continue
            whole = gathers.setdefault(to.worker, Gather()).add(0, header, _sent(tensors))
            if whole is not None:
                stage = self.stages[header.stage]
                self.sizes.append((header.stage, whole.header.size))
                groups = run_groups(stage, self.executors[header.stage], whole.header, whole.frames)
                sent += parts_of_piece(whole.header, whole.header.split, groups, stage, outputs, 0, 0)
        assert not any(len(gather) for gather in gathers.values())


def _stage(cuts: OnnxBoundaries, writer: StageWriter, k: int, executor: str, most: int) -> StageSpec:
    passing = cuts.forwarded(k, k + 1)
    return StageSpec(
        model=0,
        pipeline=0,
        blocks=(k, k + 1),
        executor=executor,
        inputs=cuts.crossing(k),
        computed=tuple(one for one in cuts.crossing(k + 1) if one.name not in passing),
        forwarded=tuple(one for one in cuts.crossing(k) if one.name in passing),
        latency_us=(0,) + (1,) * most,
        model_file=None if executor == "emulated" else writer.file_of(k, k + 1),
    )


def _name(array: np.ndarray) -> str:
    return "object" if array.dtype.kind in "OSU" else array.dtype.name


def _sent(groups: Sequence[Parts]) -> list[memoryview]:
    return [memoryview(bytes(frame)) for parts in groups for frame in tensor_frames(parts)]


def reference(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What onnxruntime makes of the file as it is."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def assert_close(answer: Outputs | ProtocolError, wanted: Mapping[str, np.ndarray]) -> None:
    """Equal up to rounding: a runtime fuses operators, but not over a cut."""
    assert not isinstance(answer, ProtocolError), answer
    assert {tensor.name for tensor in answer} == set(wanted)
    for tensor in answer:
        array = wanted[tensor.name]
        if array.dtype.kind != "f":
            np.testing.assert_array_equal(tensor.array, array)
            continue
        scale = float(np.max(np.abs(array), initial=1e-6))
        np.testing.assert_allclose(tensor.array, array, rtol=1e-4, atol=1e-5 * scale, err_msg=tensor.name)
        assert tensor.array.shape == array.shape
