"""Pictures that compare streams: how long states last, how many events a stream has, and which events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.report.figures import finish, new_figure
from penstock.report.palette import colours_of
from penstock.traffic.fidelity.distances import mix
from penstock.traffic.fidelity.sojourns import FEWEST, stays_by_state
from penstock.traffic.machine import Machine
from penstock.traffic.streams import Streams
from penstock.units import US_PER_S


def save_stream_figures(folder: Path, samples: Mapping[str, Streams], machine: Machine | None) -> None:
    """Write ``stays.svg``, ``sizes.svg`` and ``mix.svg`` into ``folder``, which is created. Needs the extra
    ``report``."""
    folder.mkdir()
    for name, figure in {
        "stays": stay_figure(samples, machine),
        "sizes": size_figure(samples),
        "mix": mix_figure(samples),
    }.items():
        figure.savefig(folder / f"{name}.svg", format="svg", metadata={"Date": None})


def stay_figure(samples: Mapping[str, Streams], machine: Machine | None) -> Any:
    """One panel per state: the distribution of how long it lasts, in seconds on a logarithmic axis."""
    stays = {name: stays_by_state(streams, machine) for name, streams in samples.items()}
    states = [
        state
        for state in next(iter(stays.values()))
        if all(len(one[state].length_us) >= FEWEST for one in stays.values())
    ]
    figure = new_figure(4.2 * max(len(states), 1), 3.8)
    colour = colours_of(samples)
    for number, state in enumerate(states):
        axes = figure.add_subplot(1, len(states), number + 1)
        for name, one in stays.items():
            _steps(axes, one[state].length_us / US_PER_S, name, colour[name])
        axes.set(xscale="log", xlabel="seconds", title=f"time in {state}" if machine else f"gap {state}")
        axes.set_ylabel("stays (%)" if number == 0 else "")
        finish(axes)
    _legend(figure)
    return figure


def size_figure(samples: Mapping[str, Streams]) -> Any:
    """The distribution of the number of events per stream."""
    figure = new_figure(5.4, 3.8)
    axes = figure.add_subplot()
    colour = colours_of(samples)
    for name, streams in samples.items():
        _steps(axes, streams.sizes, name, colour[name])
    axes.set(xscale="log", xlabel="events of a stream", ylabel="streams (%)")
    finish(axes)
    _legend(figure)
    return figure


def mix_figure(samples: Mapping[str, Streams]) -> Any:
    """The share of each event."""
    figure = new_figure(6.4, 3.8)
    axes = figure.add_subplot()
    colour = colours_of(samples)
    width = 0.8 / len(samples)
    for number, (name, streams) in enumerate(samples.items()):
        places = np.arange(len(streams.events)) + (number - (len(samples) - 1) / 2) * width
        axes.bar(places, 100 * mix(streams), width, color=colour[name], label=name)
    events = next(iter(samples.values())).events
    axes.set_xticks(np.arange(len(events)), events, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("events (%)")
    finish(axes)
    _legend(figure)
    return figure


def _steps(axes: Any, values: np.ndarray, name: str, colour: str) -> None:
    ordered = np.sort(np.maximum(values, 1e-6))
    # A curve with a million steps would be a large file. A thousand quantiles show the same.
    places = np.unique(np.linspace(0, len(ordered) - 1, 1000).astype(np.int64))
    axes.step(
        ordered[places],
        100 * (places + 1) / len(ordered),
        where="post",
        color=colour,
        label=name,
        linewidth=1.4,
    )


def _legend(figure: Any) -> None:
    if figure.axes:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
