"""What every generator of streams can do, and how one is found by name.

A *method* is a module with two functions::

    def fit(streams: Streams, *, seed: int, options: FitOptions) -> Generator
    def load(folder: Path) -> Generator

A *bundle* is the folder that :meth:`Generator.save` writes: ``bundle.json`` (read by :func:`read_header`) and
arrays as safetensors, or as ``.npz`` that is read without pickle. The bundle of a learned generator or of SMM holds
no rows of the trace; only ``replay`` does, and its header says so (``"holds_trace": true``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.files import read_json
from penstock.traffic.machine import Machine
from penstock.traffic.streams import Streams
from penstock.traffic.suggest import suggest

T = TypeVar("T")

HEADER_FILE = "bundle.json"
VERSION = 1

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "gru": "penstock.traffic.generator.gru",
        "transformer": "penstock.traffic.generator.torch.transformer",
        "published": "penstock.traffic.published.published_method",
        "gan": "penstock.traffic.gan.gan_method",
        "smm": "penstock.traffic.smm.smm_method",
        "replay": "penstock.traffic.bootstrap.replay_method",
        "plain": "penstock.traffic.plain.plain_method",
    }
)
"""Methods by name, each with the module that has its ``fit`` and ``load``; imported on use."""

WITH_MACHINE = frozenset({"gru", "transformer", "smm"})
"""Methods that use a state machine, if it is known."""


@dataclass(frozen=True)
class FitOptions:
    """What a fit may use. A method ignores what it has no use for.

    ``cpu_seconds``: process CPU seconds to spend on training. ``machine``: the state machine, if it is known.
    ``start_from``: a generator of the same method to fine-tune. ``hour``: of the day, written into the bundle.
    ``progress(share done, text)`` is called now and then. ``with_scores``: measure fidelity on the streams that were
    held out, for the bundle. ``extra``: options of one method alone.
    """

    cpu_seconds: float | None = None
    machine: Machine | None = None
    start_from: Generator | None = None
    hour: int | None = None
    progress: Callable[[float, str], None] | None = None
    with_scores: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


class Generator(Protocol):
    """A fitted generator."""

    @property
    def method(self) -> str:
        """Its name in :data:`METHODS`."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of stream that it was fitted on."""
        ...

    @property
    def window_us(self) -> int:
        """The window that each stream fills."""
        ...

    @property
    def hours(self) -> tuple[int | None, ...]:
        """The hours of the day that it was fitted on; None if the hour was not said."""
        ...

    def sample(
        self, streams: int, seed: int, *, mix: Mapping[str, float] | None = None, hour: int | None = None
    ) -> Streams:
        """``streams`` streams, each with at least one event, times in [0, ``window_us``).

        ``mix``: weights of the classes; None takes those of the trace. ``hour``: one of ``hours``; None takes the
        last. Stream i depends on (seed, i) and its class alone: not on the number of streams, batches or threads.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the bundle into ``folder``, which exists and is empty (:func:`penstock.files.write_whole`)."""
        ...


def fit_generator(
    method: str, streams: Streams, *, seed: int, options: FitOptions | None = None
) -> Generator:
    """Fit ``method`` to ``streams``.

    Raises :class:`BadInputError` for an unknown method, a trace of one stream, or one that the method cannot learn.
    """
    module = _module(method)
    if len(streams) < 2:
        raise BadInputError(
            "the trace has one stream, but a generator learns from several. Give at least two streams."
        )
    found: Generator = module.fit(streams, seed=seed, options=options or FitOptions())
    return found


def load_generator(folder: Path) -> Generator:
    """The generator of any method in the bundle ``folder``. Raises :class:`BadInputError` for a damaged bundle."""
    found: Generator = _module(read_header(folder)["method"]).load(folder)
    return found


def read_header(folder: Path) -> dict[str, Any]:
    """``bundle.json`` with its version and method checked."""
    path = folder / HEADER_FILE
    if folder.exists() and not folder.is_dir():
        raise BadInputError(
            f"{folder}: is a file, and a bundle is a folder with {HEADER_FILE}. Name what penstock traffic fit wrote."
        )
    header = read_json(path)
    if not isinstance(header, dict) or header.get("version") != VERSION:
        found = header.get("version") if isinstance(header, dict) else header
        raise BadInputError(
            f"{path}: version (={found!r:.40}) must be {VERSION}: use the release that wrote it."
        )
    if header.get("method") not in METHODS:
        raise BadInputError(
            f"{path}: method (={header.get('method')!r:.40}) is unknown. Known: {', '.join(METHODS)}."
        )
    return header


def of_hour(parts: Mapping[int | None, T], hour: int | None) -> T:
    """The part of ``hour``, or the last for None. Raises :class:`BadInputError` for an hour that is not there."""
    wanted = list(parts)[-1] if hour is None else hour
    if wanted not in parts:
        known = ", ".join("unnamed" if one is None else str(one) for one in parts)
        raise BadInputError(
            f"hour (={wanted}) is not in this bundle, which has: {known}. Take one of these, or fit it."
        )
    return parts[wanted]


def draw_classes(
    own: Mapping[str, float], mix: Mapping[str, float] | None, streams: int, seed: int
) -> NDArray[np.int16]:
    """The class (int16, an index into ``own``) of each of ``streams`` streams, drawn by weight.

    ``own`` has the classes of a generator in order, with their shares of the trace; ``mix`` overrides the shares,
    and a class that it leaves out gets none. Class i depends on (seed, i) alone. Raises :class:`BadInputError` for
    an unknown class, a weight that is no number >= 0, or weights that are all 0.
    """
    if streams < 1:
        raise BadInputError(f"streams (={streams}) must be at least 1.")
    names = list(own)
    for name, weight in (mix or {}).items():
        if name not in own:
            raise BadInputError(f"mix: class {name!r} is unknown to this generator. {suggest(name, names)}")
        if not (np.isfinite(weight) and weight >= 0):
            raise BadInputError(f"mix: weight of {name} (={weight:g}) must be a number >= 0.")
    weights = np.array([(mix.get(name, 0.0) if mix is not None else own[name]) for name in names])
    if not weights.sum() > 0:
        raise BadInputError("mix: every weight is 0. Give at least one class a weight > 0.")
    ends = np.cumsum(weights / weights.sum())
    # One draw a stream, in order: a longer sample begins like a shorter one.
    draws = np.random.default_rng([seed, 0xC1A55]).random(streams)
    return np.minimum(np.searchsorted(ends, draws, side="right"), len(names) - 1).astype(np.int16)


def _module(method: str) -> ModuleType:
    if method not in METHODS:
        raise BadInputError(f"method {method!r} is unknown. {suggest(method, METHODS)}")
    return importlib.import_module(METHODS[method])
