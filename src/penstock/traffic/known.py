"""The arrival processes that ``--arrivals`` takes: names and examples alone, so that a help text needs no numpy."""

from __future__ import annotations

from types import MappingProxyType

KNOWN = MappingProxyType(
    {
        "poisson": "poisson",
        "gamma": "gamma:cv=4",
        "lognormal": "lognormal:sigma=1.5",
        "onoff": "onoff:on=1,off=4,ratio=10",
        "diurnal": "diurnal:amplitude=0.5,period=86400",
        "counts": "counts:FILE",
        "trace": "trace:FILE,scale=superpose",
        "gaps": "gaps:FILE",
        "cameras": "cameras:fps=30,jitter=0.002",
        "streams": "streams:FILE",
        "generator": "generator:BUNDLE,hour=10",
    }
)
"""Process names, each with an example."""

ARRIVALS_HELP = " | ".join(KNOWN.values())
"""For the help of an option that takes a process."""
