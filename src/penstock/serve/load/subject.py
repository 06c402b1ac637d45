"""The model under load, as the server describes it, and requests for it: random inputs, made beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.errors import BadInputError
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.infer import HEADER_LENGTH, InferRequest, Tensor, encode_request
from penstock.serve.protocol.raw import Array

DIFFERENT_BODIES = 8
"""Enough that no cache keyed by content makes the server look fast, few enough to hold in memory."""


@dataclass(frozen=True)
class Body:
    """An encoded request with its headers."""

    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Subject:
    """A model to send to. ``slo_us`` is what its requests are measured against."""

    name: str
    slo_us: int
    bodies: tuple[Body, ...]


def describe(
    metadata: Mapping[str, Any], config: Mapping[str, Any], slo_us: int | None, rng: np.random.Generator
) -> Subject:
    """The subject that a server's metadata and configuration describe, one sample a request.

    ``slo_us`` None takes the SLO that the configuration states. Raises :class:`BadInputError` where there is none,
    or where the metadata is not of the protocol.
    """
    try:
        name = str(metadata["name"])
        inputs = [(str(i["name"]), str(i["datatype"]), _shape(i["shape"])) for i in metadata["inputs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"the server's model metadata is not of the protocol ({error!r}).") from None
    bodies = tuple(_body(inputs, rng) for _ in range(DIFFERENT_BODIES))
    return Subject(name, _stated_slo_us(name, config) if slo_us is None else slo_us, bodies)


def _stated_slo_us(name: str, config: Mapping[str, Any]) -> int:
    stated = config.get("parameters", {}).get("slo_us", {}).get("string_value", "")
    if not str(stated).isdigit() or int(stated) == 0:
        raise BadInputError(f"model {name!r}: the server states no SLO. Give one with --slo-ms.")
    return int(stated)


def _shape(lengths: Sequence[int]) -> tuple[int, ...]:
    """One sample; lengths that the server leaves open are 1."""
    return tuple(1 if int(length) < 0 else int(length) for length in lengths)


def _body(inputs: Sequence[tuple[str, str, tuple[int, ...]]], rng: np.random.Generator) -> Body:
    tensors = tuple(Tensor(name, kind, _random(kind, shape, rng)) for name, kind, shape in inputs)
    message = encode_request(InferRequest(tensors, binary_default=True))
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(message.header_length)}
    return Body(message.body(), headers)


def _random(datatype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Normal numbers, or 0 and 1: whole numbers are often indices, and those are always in range."""
    if datatype == BYTES:
        return np.full(shape, b"load", dtype=object)
    dtype = numpy_dtype(datatype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
