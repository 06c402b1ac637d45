"""The figures of a comparison, from the output of ``compare --json``. Papers of this kind have the same figures.

Load factors are relative to the published plan's rate of the model. They have no upper limit: a system that serves
more gets credit for it. (Kong et al., "PPipe", USENIX ATC 2025, evaluation, stop at 1.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.report.figures import finish, new_figure
from penstock.report.palette import colours_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Document = Mapping[str, Any]


def draw_contest(document: Document) -> dict[str, Figure]:
    """The figures by caption: load factors, attainment over load, utilisation by class, the ablation."""
    scenarios = document["scenarios"]
    names = list(dict.fromkeys(system["name"] for one in scenarios for system in one["systems"]))
    colours = colours_of(names)
    target = f"{document['attainment']:.0%}"
    drawn = {
        f"Load factor at {target} by scenario": _bars(
            scenarios, colours, _least_load, f"largest load factor at {target}, least over models"
        ),
        f"Goodput at {target} relative to the published system": _bars(
            scenarios, colours, lambda system: float(system["ratio"]), "goodput, published system = 1"
        ),
    }
    classes = dict.fromkeys(name for one in scenarios for name in one["device_classes"])
    for device_class in classes:
        having = [one for one in scenarios if device_class in one["device_classes"]]
        drawn[f"Utilisation of {device_class}"] = _bars(
            having,
            colours,
            lambda system, name=device_class: 100 * float(system["utilisation"].get(name, 0.0)),
            f"busy share of {device_class} at the goodput held (%)",
        )
    for one in scenarios:
        drawn[f"Attainment over load {_label(one)}"] = _curves(one, colours, document["attainment"])
    return drawn


def _bars(scenarios: Sequence[Document], colours: Mapping[str, str], value: Any, axis: str) -> Figure:
    """A group of bars per scenario, one bar per system. The bar is 0 if the system has no plan."""
    figure = new_figure(8.6, 0.8 + 0.2 * len(scenarios) * (len(colours) + 1))
    axes = figure.add_subplot()
    height = 0.8 / max(len(colours), 1)
    for rank, (name, colour) in enumerate(colours.items()):
        held = [next((value(s) for s in one["systems"] if s["name"] == name), 0.0) for one in scenarios]
        axes.barh([k + rank * height for k in range(len(scenarios))], held, height, color=colour, label=name)
    axes.set_yticks([k + 0.4 - height / 2 for k in range(len(scenarios))], [_label(one) for one in scenarios])
    axes.invert_yaxis()
    axes.set(xlabel=axis)
    finish(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _curves(one: Document, colours: Mapping[str, str], target: float) -> Figure:
    """Attainment of every model over its load: one panel per model, one line per system."""
    systems = one["systems"]
    models = [model["name"] for model in systems[0]["models"]]
    figure = new_figure(3.2 * len(models), 3.2)
    for column, model in enumerate(models):
        axes = figure.add_subplot(1, len(models), column + 1)
        for system in systems:
            curve = system["models"][column]["curve"]
            loads, shares = [load for load, _ in curve], [100 * share for _, share in curve]
            label = system["name"] if column == 0 else None
            axes.plot(loads, shares, marker=".", color=colours[system["name"]], label=label, linewidth=1.2)
        axes.axhline(100 * target, color="#888888", linestyle="--", linewidth=1)
        axes.set(xlabel="load, published plan = 1", ylim=(90, 100.5))
        axes.set_title(model[:28], fontsize=8)
        finish(axes)
    figure.axes[0].set_ylabel("requests met (%)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _least_load(system: Document) -> float:
    return min(float(model["published_load_factor"]) for model in system["models"])


def _label(one: Document) -> str:
    """The scenario's file without folders and extension, short enough for an axis."""
    stem = str(one["scenario"]).rsplit("/", 1)[-1].removesuffix(".yaml")
    return stem if len(stem) <= 40 else f"{stem[:24]}...{'+'.join(one['device_classes'])}"
