"""The options that ``penstock device simulate`` and ``sweep`` share, and what they mean."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.common.numbers import FiniteRange
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from penstock.simulate.device.interference import Interference
    from penstock.simulate.device.mixes import SharedModel
    from penstock.simulate.device.setups import Setup

MIX_NAMES = ("eight", "extremes", "equal-work")
DEFAULT_SETUPS = ("moore-hodgson", "srpt-deficit", "srpt", "edf-demote", "job-by-job", "direct-ms")

F = TypeVar("F", bound=Callable[..., Any])


def shared_device_options(function: F) -> F:
    """Add the options that describe the models, the device and the policies."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_SETUPS_HELP = f"Repeat for several [default: {', '.join(DEFAULT_SETUPS)}]."
_OPTIONS = (
    click.option(
        "--mix",
        type=click.Choice(MIX_NAMES),
        default="eight",
        show_default=True,
        help="Models, times and shares: the public eight, its two extremes, or these with equal work.",
    ),
    click.option(
        "--models",
        "models_path",
        type=click.Path(path_type=Path),
        help='Your own mix instead: JSON, a list of {"name", "segment_ms": [...], "share", "slo_ms"}.',
    ),
    click.option(
        "--slo",
        type=FiniteRange(min=1),
        default=5.0,
        show_default=True,
        help="SLO as a multiple of a model's own time, for models that state none.",
    ),
    click.option("--setup", "names", multiple=True, help=_SETUPS_HELP),
    click.option(
        "--interference",
        "a",
        type=FiniteRange(min=0, max=1),
        default=1.0,
        show_default=True,
        help="n jobs at once each run at 1/(1 + a(n - 1)): 1 for an L4 or T4, 0.26 for a GV100.",
    ),
    click.option("--lanes", type=click.IntRange(min=1), help="For a processor: cores that each run one job."),
    click.option(
        "--window",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Segments in flight at once.",
    ),
    click.option(
        "--theta",
        type=FiniteRange(min=0, min_open=True),
        default=50.0,
        show_default=True,
        help="For srpt-deficit: how many releases a type may fall behind.",
    ),
    click.option(
        "--jobs", type=click.IntRange(min=2), default=3000, show_default=True, help="Jobs of each run."
    ),
    click.option(
        "--sigma",
        type=FiniteRange(min=0, min_open=True, max=3),
        help="Lognormal gaps with that deviation instead of Poisson: 1.5 is bursty, 2 very bursty.",
    ),
)


@dataclass(frozen=True)
class SharedDevice:
    """The values of the options."""

    models: list[SharedModel]
    device: Interference
    setups: dict[str, Setup]


def shared_device(
    mix: str,
    models_path: Path | None,
    slo: float,
    names: tuple[str, ...],
    a: float,
    lanes: int | None,
    window: int,
    theta: float,
) -> SharedDevice:
    """The models with their SLOs, cut by the rule or as the file says, the device, and set-ups with this window."""
    from penstock.simulate.device.interference import Interference
    from penstock.simulate.device.mixes import MIXES, cut_by_rule, with_slo
    from penstock.simulate.device.setups import UNBOUNDED, setup_by_name

    models = cut_by_rule(MIXES[mix]()) if models_path is None else read_models(models_path)
    models = [one if one.slo_us else with_slo([one], slo)[0] for one in models]
    setups = {}
    for name in names or DEFAULT_SETUPS:
        setup = setup_by_name(name)
        setups[name] = replace(setup, window=window if setup.window < UNBOUNDED else UNBOUNDED, theta=theta)
    return SharedDevice(models, Interference(a, lanes), setups)


def read_models(path: Path) -> list[SharedModel]:
    """The models of a JSON file. Raises :class:`BadInputError` that names the entry, the field and the rule."""
    from penstock.simulate.device.mixes import SharedModel

    if not path.is_file():
        raise BadInputError(f"{path} is not there: give a JSON file with a list of models.")
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise BadInputError(f"{path} is not JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise BadInputError(f"{path} must hold a list of models that is not empty.")
    return [_model(f"{path}: entry {index}", entry, SharedModel) for index, entry in enumerate(entries)]


def _model(where: str, entry: Any, make: type[SharedModel]) -> SharedModel:
    known = {"name", "segment_ms", "share", "slo_ms", "priority"}
    if not isinstance(entry, dict) or not {"name", "segment_ms"} <= set(entry) <= known:
        raise BadInputError(
            f"{where} must have name and segment_ms, and may have share, slo_ms and priority."
        )
    segment_ms, share, slo_ms = entry["segment_ms"], entry.get("share", 1.0), entry.get("slo_ms")
    if not isinstance(segment_ms, list):
        raise BadInputError(
            f"{where}: segment_ms (={segment_ms!r}) must be a list of times, one per segment."
        )
    for value in [*segment_ms, share, *([] if slo_ms is None else [slo_ms])]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise BadInputError(f"{where}: {value!r} must be a finite number > 0.")
    priority = entry.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise BadInputError(f"{where}: priority (={priority!r}) must be a whole number.")
    slo_us = None if slo_ms is None else round(1e3 * slo_ms)
    return make(str(entry["name"]), tuple(1e3 * ms for ms in segment_ms), float(share), slo_us, priority)
