"""Weights in files beside the model. They are checked before they are read, so that errors name the file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import onnx
from onnx import checker, external_data_helper

from penstock.errors import BadInputError


def load_external_data(proto: onnx.ModelProto, path: Path) -> list[str]:
    """Read the weights of ``proto`` that are in separate files. Return those files' names, sorted.

    Raises :class:`BadInputError` for a file that is missing, cut short, or outside the model's folder.
    """
    external = [each for each in all_tensors(proto) if external_data_helper.uses_external_data(each)]
    described = [external_data_helper.ExternalDataInfo(each) for each in external]
    for tensor, info in zip(external, described, strict=True):
        _check_external_data(tensor.name, info, path)
    try:
        external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except (OSError, ValueError, checker.ValidationError) as error:
        raise BadInputError(
            f"{path}: its external data cannot be read: {str(error).rstrip('.')}. "
            f"Copy the data files beside the model again."
        ) from None
    return sorted({info.location for info in described})


def all_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Initializers and constants."""
    attributes = chain.from_iterable(node.attribute for node in proto.graph.node)
    values = (attribute.t for attribute in attributes if attribute.HasField("t"))
    return chain(proto.graph.initializer, values)


def _check_external_data(tensor: str, info: external_data_helper.ExternalDataInfo, path: Path) -> None:
    file = path.parent / info.location
    if not file.is_file():
        raise BadInputError(
            f"{path}: weight {tensor!r} is in the external file {info.location!r}, which is missing. "
            f"Put that file beside the model."
        )
    end = (info.offset or 0) + (info.length or 0)
    if file.stat().st_size < end:
        raise BadInputError(
            f"{path}: weight {tensor!r} ends at byte {end} of the external file {info.location!r}, which has "
            f"{file.stat().st_size}: it is cut short. Copy that file again."
        )
