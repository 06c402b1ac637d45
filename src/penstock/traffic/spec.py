"""Arrival processes by name, as the command line gives them: ``poisson``, ``gamma:cv=4``, ``trace:FILE``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.arrivals import ArrivalProcess
from penstock.traffic.diurnal import check_diurnal, diurnal
from penstock.traffic.known import KNOWN
from penstock.traffic.load import FORMATS, load_shape, load_trace
from penstock.traffic.modulated import SteppedShape
from penstock.traffic.onoff import check_onoff, onoff
from penstock.traffic.options import Options, split_spec
from penstock.traffic.renewal import check_cv, cv_of_sigma, gamma, lognormal, poisson
from penstock.traffic.replay import TraceReplay
from penstock.traffic.suggest import suggest

DAY_S = 86_400.0
LARGEST_SIGMA = 3.0
"""A coefficient of variation of 90, just within what renewal processes take."""


def parse_arrivals(spec: str, base: Path | None = None) -> ArrivalProcess:
    """The process that ``spec`` names; ``docs/traffic.md`` lists them all.

    A file is read here, once, however often the process is drawn afterwards; a relative path starts from ``base``
    (default: the working folder). Raises :class:`BadInputError` for an unknown name, key or value, with the known
    ones, and for a bad file.
    """
    name, options = split_spec(spec, takes_file=("counts", "trace"))
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
    options.finish()
    return load_shape(path, format_name=format_name, start_s=start_s)


def _trace(options: Options, base: Path) -> ArrivalProcess:
    path, format_name = _file(options, base)
    scale = options.choice("scale", ("superpose", "fold"))
    start_s = options.start_s()
    options.finish()
    trace = load_trace(path, format_name=format_name)
    return TraceReplay(trace, "fold" if scale == "fold" else "superpose", start_s)


def _file(options: Options, base: Path) -> tuple[Path, str | None]:
    assert options.file is not None
    return base / options.file, options.choice("format", tuple(FORMATS))


_MAKERS: dict[str, Callable[[Options, Path], ArrivalProcess]] = {
    "poisson": _poisson,
    "gamma": _gamma,
    "lognormal": _lognormal,
    "onoff": _onoff,
    "diurnal": _diurnal,
    "counts": _counts,
    "trace": _trace,
}
