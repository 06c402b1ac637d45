"""An ONNX file, loaded and checked. The result is valid ONNX with known operators, including its weights.

Rules of this module: for any bytes, the result is a model or a :class:`BadInputError` that says
what is wrong with them. Model-local functions are inlined, so every operator is a standard one or one of onnxruntime's.
Operators that no output needs are dropped, and the others are sorted.
"""

from __future__ import annotations

import hashlib
from itertools import chain
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, defs, inliner, numpy_helper

from penstock.errors import BadInputError
from penstock.graph.reading.element_types import is_sized, weight_bytes
from penstock.graph.reading.external_data import all_tensors, load_external_data
from penstock.graph.reading.needed_nodes import keep_needed_in_order

OLDEST_OPSET = 7
"""The oldest opset that onnxruntime guarantees to run. Earlier ones also have other rules for broadcasting."""

_DEFAULT_DOMAIN = ("", "ai.onnx")

_RUNTIME_DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Those of onnxruntime itself: its optimiser and its quantiser write such operators into a file."""


def load_onnx(path: Path) -> tuple[onnx.ModelProto, str]:
    """The model in ``path`` and its SHA-256, which also covers external data files, in order of name.

    Raises :class:`BadInputError` if a file is missing, not ONNX or cut short, if it lacks external
    data, or if it uses an operator or an opset that the installed onnx does not know.
    """
    content = _read(path)
    digest = hashlib.sha256(content)
    proto = _parse(content, path)
    _check_names(proto, path)
    _check_versions(proto, path)
    for location in load_external_data(proto, path):
        with (path.parent / location).open("rb") as file:
            for piece in iter(lambda: file.read(2**20), b""):
                digest.update(piece)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    # Converters to float16 add casts at the end of the list.
    keep_needed_in_order(proto.graph)
    _check_operators(proto, path)
    _check_structure(proto, path)
    for tensor in all_tensors(proto):
        _check_weight(tensor, path)
    return proto, digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file. Check the path, or write one: penstock zoo.") from None
    except IsADirectoryError:
        raise BadInputError(
            f"{path}: is a folder, but an ONNX file is needed. Name the file in it."
        ) from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}).") from None


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    if not content:
        raise BadInputError(f"{path}: is empty. Export or copy the model again.")
    try:
        proto = onnx.load_model_from_string(content)
    except DecodeError:
        raise BadInputError(
            f"{path}: is not ONNX, or is cut short ({len(content)} bytes that do not parse as an ONNX model). "
            f"Name an .onnx file, or copy it again."
        ) from None
    # Protocol buffers read many byte strings as a message without any fields.
    if not proto.HasField("graph") or not proto.graph.node:
        raise BadInputError(
            f"{path}: holds no operators: it is not an ONNX model, or an empty one. Name another file."
        )
    return proto


def _check_names(proto: onnx.ModelProto, path: Path) -> None:
    """Protocol buffers return text that is not UTF-8 as bytes. No later code expects that."""
    graph = proto.graph
    named = chain(graph.node, graph.input, graph.output, graph.initializer, proto.functions, [graph])
    names = chain(
        (each.name for each in named),
        (opset.domain for opset in proto.opset_import),
        *((node.op_type, node.domain, *node.input, *node.output) for node in graph.node),
    )
    for name in names:
        if not isinstance(name, str):
            raise BadInputError(
                f"{path}: the name {name!r} is not UTF-8 text: the file is damaged. Copy it again."
            )


def _check_versions(proto: onnx.ModelProto, path: Path) -> None:
    if proto.ir_version > onnx.IR_VERSION:
        raise BadInputError(
            f"{path}: has IR version {proto.ir_version}, but onnx {onnx.__version__} knows up to "
            f"{onnx.IR_VERSION}. Upgrade onnx, or export for an older version."
        )
    newest = defs.onnx_opset_version()
    for domain, opset in _opsets(proto).items():
        if domain and 1 <= opset < 2**31:
            continue  # its operators are checked one by one
        if OLDEST_OPSET <= opset <= newest:
            continue
        raise BadInputError(
            f"{path}: has opset {opset}, but opsets {OLDEST_OPSET} to {newest} are supported "
            f"(onnx {onnx.__version__}). Convert it with onnx.version_converter, or export with another opset."
        )


def _opsets(proto: onnx.ModelProto) -> dict[str, int]:
    """The version of each operator domain. The default domain has its empty name."""
    return {"" if one.domain in _DEFAULT_DOMAIN else one.domain: one.version for one in proto.opset_import}


def _check_weight(weight: onnx.TensorProto, path: Path) -> None:
    """A weight must hold as much data as its shape requires."""
    if not is_sized(weight.data_type):
        raise BadInputError(
            f"{path}: weight {weight.name!r} has elements of unknown size. Export the model again."
        )
    try:
        is_whole = (
            len(weight.raw_data) == weight_bytes(weight)
            if weight.HasField("raw_data")
            else numpy_helper.to_array(weight).shape == tuple(weight.dims)
        )
    except ValueError:
        is_whole = False
    if not is_whole:
        raise BadInputError(
            f"{path}: weight {weight.name!r} has shape {list(weight.dims)}, but not as much data. The file is "
            f"damaged: copy it again."
        )


def _check_operators(proto: onnx.ModelProto, path: Path) -> None:
    opsets = _opsets(proto)
    for node in proto.graph.node:
        domain = "" if node.domain in _DEFAULT_DOMAIN else node.domain
        shown = domain or "ai.onnx"
        if domain not in opsets:
            raise BadInputError(
                f"{path}: operator {node.op_type!r} ({node.name!r}) is of domain {shown!r}, of which the file "
                f"imports no opset. Export the model again."
            )
        if domain in _RUNTIME_DOMAINS:
            continue  # onnx has no schemas for them; what onnxruntime cannot run is found when shapes are inferred
        try:
            defs.get_schema(node.op_type, opsets[domain], domain)
        except defs.SchemaError:
            raise BadInputError(
                f"{path}: operator {node.op_type!r} ({node.name!r}) of domain {shown!r}, opset "
                f"{opsets[domain]}, is unknown to onnx {onnx.__version__}. Export the model with standard "
                f"operators only."
            ) from None


def _check_structure(proto: onnx.ModelProto, path: Path) -> None:
    """The format's own rules, on the model without its weights, because these may exceed the checker's 2 GiB."""
    if proto.graph.sparse_initializer:
        raise BadInputError(f"{path}: has sparse weights, which are not supported. Export dense ones.")
    skeleton = onnx.ModelProto(
        ir_version=proto.ir_version, opset_import=proto.opset_import, metadata_props=proto.metadata_props
    )
    graph = skeleton.graph
    graph.name = proto.graph.name or "graph"
    declared = {each.name for each in proto.graph.input}
    weights = [each for each in proto.graph.initializer if each.name not in declared]
    graph.input.extend(proto.graph.input)
    graph.input.extend(
        onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in weights
    )
    graph.node.extend(proto.graph.node)
    graph.output.extend(proto.graph.output)
    try:
        checker.check_model(skeleton)
    except (checker.ValidationError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path}: breaks a rule of ONNX: {_one_line(error)}. Export the model again."
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
