"""The model under load, as the server describes it, and requests for it, made in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from penstock.errors import BadInputError
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.infer import HEADER_LENGTH, InferRequest, Tensor, encode_request
from penstock.serve.protocol.raw import Array

DIFFERENT_BODIES = 8
"""Enough that no cache keyed by content makes the server look fast, few enough to hold in memory."""

_SOME_TIMEOUT = 2**53 - 3
"""A number that stands in the header of a request only in the place of its timeout."""


@dataclass(frozen=True)
class Body:
    """An encoded request with its headers. ``with_timeout`` makes the same with the parameter ``timeout``, in us."""

    data: bytes
    headers: Mapping[str, str]
    with_timeout: Callable[[int], Body] | None = field(default=None, compare=False)

    def due_in(self, timeout_us: int) -> Body:
        """The same request, whose answer is of use within ``timeout_us`` from now."""
        assert self.with_timeout is not None
        return self.with_timeout(timeout_us)


@dataclass(frozen=True)
class Input:
    """An input of one sample: its name, datatype and shape."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Subject:
    """A model to send to. ``slo_us`` is what its requests are measured against."""

    name: str
    slo_us: int
    bodies: tuple[Body, ...]


Encode = Callable[[str, tuple[Tensor, ...]], Body]
"""(model, inputs) -> a request in the form of a protocol."""
Samples = Callable[[str, Sequence[Input]], Iterable[Sequence[Array]]]
"""(model, inputs) -> arrays of its inputs, for each different request."""


def describe(
    metadata: Mapping[str, Any],
    config: Mapping[str, Any],
    slo_us: int | None,
    rng: np.random.Generator,
    *,
    encode: Encode | None = None,
    samples: Samples | None = None,
) -> Subject:
    """The subject that a server's metadata and configuration describe, one sample a request.

    ``samples`` gives what is sent, random numbers by default; ``encode`` its form, HTTP by default. If ``slo_us`` is
    None, the SLO of the server's configuration is used. Raises :class:`BadInputError` if there is none, or if the
    metadata does not follow the protocol.
    """
    try:
        name = str(metadata["name"])
        inputs = [Input(str(i["name"]), str(i["datatype"]), _shape(i["shape"])) for i in metadata["inputs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"the server's model metadata is not of the protocol ({error!r}).") from None
    form = http_body if encode is None else encode
    made = random_samples(rng)(name, inputs) if samples is None else samples(name, inputs)
    bodies = tuple(form(name, _tensors(inputs, arrays)) for arrays in made)
    return Subject(name, _stated_slo_us(name, config) if slo_us is None else slo_us, bodies)


def http_body(model: str, tensors: tuple[Tensor, ...]) -> Body:
    """A binary request over HTTP; the model is in the path."""
    request = InferRequest(tensors, binary_default=True)
    message = encode_request(request)
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(message.header_length)}
    with_timeout = bytes(encode_request(replace(request, timeout_us=_SOME_TIMEOUT)).parts[0])
    before, _, after = with_timeout.partition(str(_SOME_TIMEOUT).encode())
    raw = b"".join(message.parts[1:])

    def timed(timeout_us: int) -> Body:
        header = b"%b%d%b" % (before, timeout_us, after)
        return Body(header + raw, {**headers, HEADER_LENGTH: str(len(header))})

    return Body(message.body(), headers, timed)


def random_samples(rng: np.random.Generator) -> Samples:
    """:data:`DIFFERENT_BODIES` samples of random numbers."""

    def samples(model: str, inputs: Sequence[Input]) -> Iterable[Sequence[Array]]:
        return [[_random(one, rng) for one in inputs] for _ in range(DIFFERENT_BODIES)]

    return samples


def _tensors(inputs: Sequence[Input], arrays: Sequence[Array]) -> tuple[Tensor, ...]:
    return tuple(Tensor(one.name, one.datatype, array) for one, array in zip(inputs, arrays, strict=True))


def _stated_slo_us(name: str, config: Mapping[str, Any]) -> int:
    stated = config.get("parameters", {}).get("slo_us", {}).get("string_value", "")
    if not str(stated).isdigit() or int(stated) == 0:
        raise BadInputError(f"model {name!r}: the server states no SLO. Give one with --slo-ms.")
    return int(stated)


def _shape(lengths: Sequence[int]) -> tuple[int, ...]:
    """One sample; lengths that the server leaves open are 1."""
    return tuple(1 if int(length) < 0 else int(length) for length in lengths)


def _random(one: Input, rng: np.random.Generator) -> Array:
    """Normal floats, and integers of 0 and 1: integers are often indices, and these are always in range."""
    if one.datatype == BYTES:
        return np.full(one.shape, b"load", dtype=object)
    dtype = numpy_dtype(one.datatype)
    if dtype.kind == "f":
        return rng.standard_normal(one.shape).astype(dtype)
    return rng.integers(0, 2, one.shape).astype(dtype)
