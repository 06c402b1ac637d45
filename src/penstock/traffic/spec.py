"""Arrival processes by name, as the command line gives them: ``poisson``, ``gamma:cv=4``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from penstock.errors import BadInputError
from penstock.traffic.arrivals import ArrivalProcess
from penstock.traffic.renewal import gamma, poisson

KNOWN = {"poisson": "poisson", "gamma": "gamma:cv=4"}
"""Process names, each with an example."""


def parse_arrivals(spec: str) -> ArrivalProcess:
    """The process that ``spec`` names: ``NAME`` or ``NAME:key=value,key=value``.

    Raises :class:`BadInputError` for an unknown name, key or value, with the known ones.
    """
    name, _, rest = spec.strip().partition(":")
    options = _options(spec, rest)
    make = _MAKERS.get(name)
    if make is None:
        raise BadInputError(
            f"arrivals {spec!r}: unknown process {name!r}. Use one of: {', '.join(KNOWN.values())}."
        )
    return make(spec, options)


def _options(spec: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key.strip() in options:
            raise BadInputError(f"arrivals {spec!r}: {part!r} must be key=value, each key once.")
        options[key.strip()] = value.strip()
    return options


def _poisson(spec: str, options: dict[str, str]) -> ArrivalProcess:
    _refuse_others(spec, options, ())
    return poisson


def _gamma(spec: str, options: dict[str, str]) -> ArrivalProcess:
    _refuse_others(spec, options, ("cv",))
    try:
        cv = float(options["cv"])
    except KeyError:
        raise BadInputError(
            f"arrivals {spec!r}: cv is missing. Write for instance {KNOWN['gamma']}."
        ) from None
    except ValueError:
        raise BadInputError(f"arrivals {spec!r}: cv (={options['cv']!r}) must be a number > 0.") from None
    if not 0 < cv < float("inf"):
        raise BadInputError(f"arrivals {spec!r}: cv (={cv:g}) must be a number > 0.")
    return partial(gamma, cv=cv)


def _refuse_others(spec: str, options: dict[str, str], known: tuple[str, ...]) -> None:
    for key in options:
        if key not in known:
            takes = ", ".join(known) or "no options"
            raise BadInputError(f"arrivals {spec!r}: unknown option {key!r}; this process takes {takes}.")


_MAKERS: dict[str, Callable[[str, dict[str, str]], ArrivalProcess]] = {"poisson": _poisson, "gamma": _gamma}
