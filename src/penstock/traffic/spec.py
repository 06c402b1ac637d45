"""Arrival processes by name, as the command line gives them: ``poisson``, ``gamma:cv=4``, ``trace:FILE``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.arrivals import ArrivalProcess, ArrivalSource
from penstock.traffic.known import KNOWN
from penstock.traffic.load import FORMATS, load_shape, load_trace
from penstock.traffic.options import Options, split_spec
from penstock.traffic.processes.diurnal import check_diurnal, diurnal
from penstock.traffic.processes.modulated import SteppedShape
from penstock.traffic.processes.onoff import check_onoff, onoff
from penstock.traffic.processes.renewal import check_cv, cv_of_sigma, gamma, lognormal, poisson
from penstock.traffic.processes.replay import Route, Scale, TraceReplay
from penstock.traffic.source.cameras import parse_cameras
from penstock.traffic.source.empirical_gaps import EmpiricalGaps
from penstock.traffic.source.source_spec import parse_generator, parse_streams
from penstock.traffic.suggest import suggest

DAY_S = 86_400.0
LARGEST_SIGMA = 3.0
"""A coefficient of variation of 90, a little below the largest that renewal processes accept."""


def parse_arrivals(spec: str, base: Path | None = None) -> ArrivalProcess | ArrivalSource:
    """The process, or the source of several models' arrivals, that ``spec`` names; ``docs/traffic.md`` lists them all.

    A file is read here, once, however often the process is drawn afterwards; a relative path starts from ``base``
    (default: the working folder). Raises :class:`BadInputError` for an unknown name, key or value, with the known
    ones, and for a bad file.
    """
    name, options = split_spec(spec, takes_file=("counts", "trace", "gaps", "streams", "generator"))
    make = _MAKERS.get(name)
    if make is None:
        examples = " | ".join(KNOWN.values())
        near = suggest(name, KNOWN)
        hint = f"{near} " if near.startswith("Did") else ""
        raise BadInputError(f"arrivals {spec!r}: unknown process {name!r}. {hint}Examples: {examples}.")
    return make(options, base or Path())


def _poisson(options: Options, _: Path) -> ArrivalProcess:
    options.finish()
    return poisson


def _gamma(options: Options, _: Path) -> ArrivalProcess:
    cv = options.number("cv")
    options.finish()
    if cv is None:
        raise options.error(f"cv is missing. Write for instance {KNOWN['gamma']}.")
    options.checked(check_cv, cv)
    return partial(gamma, cv=cv)


def _lognormal(options: Options, _: Path) -> ArrivalProcess:
    cv, sigma = options.number("cv"), options.number("sigma")
    options.finish()
    if (cv is None) == (sigma is None):
        raise options.error(f"give one of cv and sigma, for instance {KNOWN['lognormal']}.")
    if sigma is not None:
        if not 0 < sigma <= LARGEST_SIGMA:
            raise options.error(f"sigma (={sigma:g}) must be a number > 0 and at most {LARGEST_SIGMA:g}.")
        cv = cv_of_sigma(sigma)
    assert cv is not None
    options.checked(check_cv, cv)
    return partial(lognormal, cv=cv)


def _onoff(options: Options, _: Path) -> ArrivalProcess:
    on_s, off_s, ratio = (options.number(key) for key in ("on", "off", "ratio"))
    options.finish()
    if on_s is None or off_s is None or ratio is None:
        raise options.error(f"give on, off (mean seconds) and ratio, for instance {KNOWN['onoff']}.")
    options.checked(check_onoff, on_s, off_s, ratio)
    return partial(onoff, on_s=on_s, off_s=off_s, ratio=ratio)


def _diurnal(options: Options, _: Path) -> ArrivalProcess:
    amplitude, shape = options.number("amplitude"), options.numbers("shape")
    period_s = options.number("period")
    start_s = options.start_s()
    options.finish()
    period_s = DAY_S if period_s is None else period_s
    if (amplitude is None) == (shape is None):
        raise options.error(f"give one of amplitude and shape, for instance {KNOWN['diurnal']}.")
    options.checked(check_diurnal, amplitude or 0.0, period_s)
    if amplitude is not None:
        return partial(diurnal, amplitude=amplitude, period_s=period_s, start_s=start_s)
    weights = np.array(shape)
    if not (np.all(weights >= 0) and np.any(weights > 0) and np.all(np.isfinite(weights))):
        raise options.error(
            "shape must be numbers >= 0, one of them > 0, with a slash between, such as 1/4/2."
        )
    return SteppedShape(weights, period_s / len(weights), start_s)


def _counts(options: Options, base: Path) -> ArrivalProcess:
    path, format_name = _file(options, base)
    start_s = options.start_s()
    interval_s = _interval_s(options)
    options.finish()
    return load_shape(path, format_name=format_name, start_s=start_s, interval_s=interval_s)


def _trace(options: Options, base: Path) -> ArrivalProcess:
    path, format_name = _file(options, base)
    scale = options.choice("scale", ("superpose", "fold", "none"))
    models = options.choice("models", ("column", "all"))
    start_s = options.start_s()
    interval_s = _interval_s(options)
    options.finish()
    trace = load_trace(path, format_name=format_name, interval_s=interval_s)
    kind: Scale = "superpose" if scale is None else cast("Scale", scale)
    route: Route | None = None if models is None else cast("Route", models)
    return TraceReplay(trace, kind, start_s, route, str(path))


def _interval_s(options: Options) -> int | None:
    interval_s = options.number("interval")
    if interval_s is None:
        return None
    if not (interval_s >= 1 and interval_s == math.floor(interval_s) and interval_s < math.inf):
        raise options.error(f"interval (={interval_s:g}) must be a whole number of seconds, such as 60.")
    return int(interval_s)


def _gaps(options: Options, base: Path) -> ArrivalProcess:
    path, format_name = _file(options, base)
    options.finish()
    trace = load_trace(path, format_name=format_name)
    try:
        return EmpiricalGaps.of(trace.time_us)
    except BadInputError as error:
        raise options.error(str(error)) from None


def _file(options: Options, base: Path) -> tuple[Path, str | None]:
    assert options.file is not None
    return base / options.file, options.choice("format", tuple(FORMATS))


_MAKERS: dict[str, Callable[[Options, Path], ArrivalProcess | ArrivalSource]] = {
    "poisson": _poisson,
    "gamma": _gamma,
    "lognormal": _lognormal,
    "onoff": _onoff,
    "diurnal": _diurnal,
    "counts": _counts,
    "trace": _trace,
    "gaps": _gaps,
    "cameras": parse_cameras,
    "streams": parse_streams,
    "generator": parse_generator,
}
