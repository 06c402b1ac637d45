"""An ONNX model as a torch program: lowered operator by operator, once for each set of input shapes.

What depends on shapes and weights alone is computed while the program is built, on the host; what remains is a
straight list of torch calls on the device that never asks the device for a value. So the same list runs
eagerly, under ``torch.compile``, on the meta device, and inside the capture of a CUDA graph.

Invariant: building never runs a device operator on anything but the shapes' example inputs, and running a built
program makes no host value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from penstock.graph.reading.needed_nodes import keep_needed_in_order
from penstock.runtime.batch_norm_folding import fold_batch_normalization
from penstock.runtime.lowering.node import Function, HostValue, Node, UnsupportedOperatorError, Value
from penstock.runtime.lowering.registry import lower, lowerings

_HOST = torch.device("cpu")
_HOST_RESULT = frozenset({"Shape", "Size"})
_NO_VALUE = -1


@dataclass(frozen=True)
class _Call:
    """One torch call: ``arguments`` are slots, tensors known beforehand, or None. ``frees`` die after it."""

    function: Function
    arguments: tuple[int | Tensor | None, ...]
    results: tuple[int, ...]
    frees: tuple[int, ...]


@final
class BuiltProgram:
    """The calls for one set of input shapes; tensors in and out are on the program's device, in its order."""

    def __init__(
        self,
        calls: Sequence[_Call],
        outputs: Sequence[int | Tensor],
        slots: int,
        slot_bytes: Mapping[int, int],
    ) -> None:
        self.activation_bytes = _most_live_bytes(calls, slot_bytes)
        self._calls = tuple(calls)
        self._outputs = tuple(outputs)
        self._slots = slots

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The model's outputs."""
        values: list[Any] = [*inputs, *[None] * (self._slots - len(inputs))]
        for call in self._calls:
            made = call.function(*[values[a] if isinstance(a, int) else a for a in call.arguments])
            if len(call.results) == 1 and not isinstance(made, tuple):
                values[call.results[0]] = made
            else:
                for slot, one in zip(call.results, made, strict=False):
                    if slot != _NO_VALUE:
                        values[slot] = one
            for slot in call.frees:
                values[slot] = None
        return tuple(values[o] if isinstance(o, int) else o for o in self._outputs)

    def __len__(self) -> int:
        return len(self._calls)


@final
class TorchProgram:
    """``model`` on ``device``; float32 becomes ``dtype`` inside, and inputs and outputs keep their own types.

    Raises :class:`UnsupportedOperatorError` on construction if the model has an operator without a rule.
    """

    def __init__(
        self,
        model: onnx.ModelProto | Path,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        proto = model if isinstance(model, onnx.ModelProto) else onnx.load(str(model))
        self.device, self.dtype = torch.device(device), dtype
        self._channels_last = channels_last
        self._opsets = {one.domain or "": one.version for one in proto.opset_import}
        keep_needed_in_order(proto.graph)
        _refuse_unknown(proto.graph, self._opsets)
        fold_batch_normalization(proto.graph)
        self._known: dict[str, HostValue] = {
            one.name: HostValue(torch.from_numpy(numpy_helper.to_array(one).copy()), one.name)
            for one in proto.graph.initializer
        }
        self.inputs = tuple(one.name for one in proto.graph.input if one.name not in self._known)
        self.outputs = tuple(one.name for one in proto.graph.output)
        self._output_types = tuple(_element_type(one) for one in proto.graph.output)
        self._on_device: dict[str, Tensor] = {}
        self._nodes = [self._prepared(node) for node in proto.graph.node]
        self._fold()

    @property
    def weight_bytes(self) -> int:
        """The bytes of what has been placed on the device so far."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._on_device.values())

    @torch.no_grad()
    def build(self, *inputs: Tensor) -> BuiltProgram:
        """The program for the shapes and types of ``inputs``, which are run through it once."""
        state = _Building(dict(self._known))
        for name, tensor in zip(self.inputs, inputs, strict=True):
            state.slots[name] = state.new_slot()
            state.names[name] = tensor
        for name in self.inputs:
            self._enter(name, state)
        for proto, attributes in self._nodes:
            self._lower(proto, attributes, state)
        pairs = zip(self.outputs, self._output_types, strict=True)
        outputs = [self._leave(name, element_type, state) for name, element_type in pairs]
        return BuiltProgram(_with_frees(state.calls, outputs), outputs, state.n_slots, state.slot_bytes)

    # ---- building -------------------------------------------------------------------------------------------

    def _prepared(self, proto: onnx.NodeProto) -> tuple[onnx.NodeProto, dict[str, Any]]:
        return proto, {one.name: _attribute(one) for one in proto.attribute}

    def _fold(self) -> None:
        """Compute once what depends on constants alone: the same tensor then serves every batch size."""
        rest = []
        for proto, attributes in self._nodes:
            if all(not name or name in self._known for name in proto.input):
                inputs = [self._known.get(name) for name in proto.input]
                self._known.update(self._on_host(proto, attributes, inputs))
            else:
                rest.append((proto, attributes))
        self._nodes = rest

    def _node(
        self, proto: onnx.NodeProto, attributes: Mapping[str, Any], inputs: Sequence[Value | None]
    ) -> Node:
        return Node(
            kind=proto.op_type,
            name=proto.name,
            opset=self._opsets.get("" if proto.domain == "ai.onnx" else proto.domain, 1),
            attributes=attributes,
            inputs=inputs,
            n_outputs=max((i + 1 for i, name in enumerate(proto.output) if name), default=0),
            device=self.device,
            compute_dtype=self.dtype,
        )

    def _on_host(
        self, proto: onnx.NodeProto, attributes: Mapping[str, Any], inputs: Sequence[Value | None]
    ) -> dict[str, HostValue]:
        node = replace(self._node(proto, attributes, inputs), device=_HOST, compute_dtype=torch.float32)
        function = lower(node, proto.domain)
        made = _first_run(
            node, function, [one.tensor if isinstance(one, HostValue) else one for one in inputs]
        )
        results = made if isinstance(made, tuple | list) else (made,)
        return {
            name: HostValue(tensor, name) for name, tensor in zip(proto.output, results, strict=False) if name
        }

    def _lower(self, proto: onnx.NodeProto, attributes: Mapping[str, Any], state: _Building) -> None:
        inputs = [state.names[name] if name else None for name in proto.input]
        known = all(one is None or isinstance(one, HostValue) for one in inputs)
        if known or proto.op_type in _HOST_RESULT:
            state.names.update(self._on_host(proto, attributes, inputs))
            return
        node = self._node(proto, attributes, inputs)
        function = lower(node, proto.domain)
        arguments: list[int | Tensor | None] = []
        tensors: list[Tensor | None] = []
        for index, (name, one) in enumerate(zip(proto.input, inputs, strict=True)):
            if isinstance(one, HostValue):
                placed = self._placed(one, is_kernel=proto.op_type == "Conv" and index == 1)
                arguments.append(placed)
                tensors.append(placed)
            else:
                arguments.append(None if one is None else state.slots[name])
                tensors.append(one)
        made = _first_run(node, function, tensors)
        results = list(made) if isinstance(made, tuple | list) else [made]
        placed_at = []
        for name, tensor in zip(proto.output, results, strict=False):
            if name:
                state.slots[name] = state.new_slot()
                state.names[name] = tensor
                # A view of an input takes no memory of its own.
                is_view = any(_share_memory(tensor, one) for one in tensors)
                state.slot_bytes[state.slots[name]] = 0 if is_view else int(tensor.nbytes)
            placed_at.append(state.slots[name] if name else _NO_VALUE)
        state.calls.append(_Call(function, tuple(arguments), tuple(placed_at), ()))

    def _placed(self, value: HostValue, *, is_kernel: bool) -> Tensor:
        """The device's copy of a known value; one of each name, however many programs use it."""
        shared = self._known.get(value.name) is value
        if shared and value.name in self._on_device:
            return self._on_device[value.name]
        dtype = self.dtype if value.tensor.dtype == torch.float32 else value.tensor.dtype
        tensor = value.tensor.to(self.device, dtype)
        if is_kernel and self._channels_last and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        if shared:
            self._on_device[value.name] = tensor
        return tensor

    def _enter(self, name: str, state: _Building) -> None:
        """Convert an input to the program's type and layout, if it has another."""
        tensor = state.names[name]
        assert isinstance(tensor, torch.Tensor)
        dtype = self.dtype if tensor.dtype == torch.float32 else tensor.dtype
        is_image = self._channels_last and tensor.dim() == 4
        if dtype == tensor.dtype and not is_image:
            return
        layout = torch.channels_last if is_image else torch.preserve_format
        state.convert(name, lambda x: x.to(dtype=dtype, memory_format=layout))

    def _leave(self, name: str, element_type: int, state: _Building) -> int | Tensor:
        """The slot of an output, in the model's own type and row-major; or its value, if that is known."""
        value = state.names[name]
        if isinstance(value, HostValue):
            return value.tensor.to(self.device)
        is_narrowed = element_type == onnx.TensorProto.FLOAT and value.dtype != torch.float32
        if is_narrowed or not value.is_contiguous():
            dtype = torch.float32 if is_narrowed else value.dtype
            state.convert(name, lambda x: x.to(dtype=dtype).contiguous())
        return state.slots[name]


class _Building:
    """A program that is being built: values and slots by tensor name, and the calls so far."""

    def __init__(self, names: dict[str, Value]) -> None:
        self.names = names
        self.slots: dict[str, int] = {}
        self.calls: list[_Call] = []
        self.n_slots = 0
        self.slot_bytes: dict[int, int] = {}

    def new_slot(self) -> int:
        """A slot that nothing uses yet."""
        self.n_slots += 1
        return self.n_slots - 1

    def convert(self, name: str, function: Function) -> None:
        """Replace the value of ``name`` by what ``function`` makes of it."""
        before, after = self.slots[name], self.new_slot()
        self.names[name] = function(self.names[name])
        self.calls.append(_Call(function, (before,), (after,), ()))
        self.slots[name] = after
        self.slot_bytes[after] = int(self.names[name].nbytes)  # type: ignore[union-attr]


def _first_run(node: Node, function: Function, arguments: Sequence[Tensor | None]) -> Any:
    """What ``function`` makes; torch has some operators for some types only, which shows here first."""
    try:
        return function(*arguments)
    except NotImplementedError as error:
        raise node.refusal(f"torch has not implemented it for these types ({error})") from error


def _share_memory(one: Tensor, other: Tensor | None) -> bool:
    """Whether two tensors are views of the same memory."""
    if other is None or other.device.type == "meta":
        return False
    return bool(one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr())


def _most_live_bytes(calls: Sequence[_Call], slot_bytes: Mapping[int, int]) -> int:
    """The most bytes of results that live at once."""
    live = most = 0
    for call in calls:
        live += sum(slot_bytes.get(slot, 0) for slot in call.results)
        most = max(most, live)
        live -= sum(slot_bytes.get(slot, 0) for slot in call.frees)
    return most


def _with_frees(calls: Sequence[_Call], outputs: Sequence[int | Tensor]) -> list[_Call]:
    """The calls, each with the slots that nothing after it reads."""
    seen = {slot for slot in outputs if isinstance(slot, int)}
    freed = []
    for call in reversed(calls):
        used = {slot for slot in (*call.arguments, *call.results) if isinstance(slot, int)}
        freed.append(replace(call, frees=tuple(sorted(used - seen - {_NO_VALUE}))))
        seen |= used
    return freed[::-1]


def _refuse_unknown(graph: onnx.GraphProto, opsets: Mapping[str, int]) -> None:
    known = lowerings()
    missing = sorted(
        {
            f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
            for node in graph.node
            if ("" if node.domain == "ai.onnx" else node.domain, node.op_type) not in known
        }
    )
    if missing:
        raise UnsupportedOperatorError(
            f"the torch executor has no rule for {', '.join(missing)} (opset {opsets.get('', '?')}). "
            f"Use --executor onnxruntime for this device class, or cut the model so that another class runs it."
        )


def _element_type(value: onnx.ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [one.decode() for one in value]
    return value
