"""SMM behind the protocol of generators: fit, sample, save, load.

Two-level semi-Markov after Meng et al., "Characterizing and Modeling Control-Plane Traffic for Mobile Core Network"
(IMC 2023). It needs the state machine, so no stream breaks it. Where we differ: delays that the window cuts short
count by the product-limit estimate, groups are cut at medians, and distributions are kept as at most 256 quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.generator.held_out import held_out_scores, hold_out
from penstock.traffic.generator.protocol import FitOptions, draw_classes, of_hour
from penstock.traffic.smm import bundle_files
from penstock.traffic.smm.model import SemiMarkov, fit_semi_markov
from penstock.traffic.smm.smm_kernel import Law, all_streams
from penstock.traffic.streams import Streams

GROUPS = 98
"""Groups a class, unless ``extra={"groups": ...}`` says otherwise: 1 is a single model, 998 is the largest
published."""


@dataclass(frozen=True)
class SmmGenerator:
    """A fitted model for each hour of the day; None is the hour of a trace that does not say.

    ``scores`` are those on held-out streams of the last fit, for the bundle.
    """

    models: Mapping[int | None, SemiMarkov]
    scores: Mapping[str, float] = field(default_factory=dict)
    method: str = "smm"

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of the trace's vocabulary."""
        return of_hour(self.models, None).classes

    @property
    def window_us(self) -> int:
        """The window of each stream."""
        return of_hour(self.models, None).window_us

    @property
    def hours(self) -> tuple[int | None, ...]:
        """Those of the models."""
        return tuple(self.models)

    def sample(
        self, streams: int, seed: int, *, mix: Mapping[str, float] | None = None, hour: int | None = None
    ) -> Streams:
        """As :meth:`penstock.traffic.generator.protocol.Generator.sample`. Raises for a class without data."""
        model = of_hour(self.models, hour)
        klass = draw_classes(dict(zip(model.classes, model.class_share, strict=True)), mix, streams, seed)
        for code in np.unique(klass).tolist():
            if code not in model.group_class:
                raise BadInputError(
                    f"mix: class {model.classes[code]!r} has no streams in the trace that this model was fitted to."
                )
        law = _law(model)
        key = int(np.random.default_rng([seed, 0x533]).integers(0, 2**62))
        sizes = np.zeros(streams, np.int64)
        all_streams(
            law, key, klass, np.zeros(1, np.int64), np.zeros(0, np.int16), np.zeros(0, np.int64), sizes
        )
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        event, time_us = np.empty(first[-1], np.int16), np.empty(first[-1], np.int64)
        all_streams(law, key, klass, first, event, time_us, sizes)
        return Streams(event, time_us, first, klass, model.events, model.classes, model.window_us)

    def save(self, folder: Path) -> None:
        """Write the bundle. It holds tables of quantiles, no rows of the trace."""
        bundle_files.save(self.models, self.scores, folder)


def fit(streams: Streams, *, seed: int, options: FitOptions) -> SmmGenerator:
    """Fit one hour; with ``start_from`` beside the hours that are there.

    Nothing is random but, ``with_scores``, which streams are held out.

    Raises :class:`BadInputError` without a machine, or if the hours differ in their names.
    """
    if options.machine is None:
        raise BadInputError(
            "smm needs the state machine of the events. Give --machine lte, 5g, ngap, serving or a FILE."
        )
    held_out, own = hold_out(streams, seed) if options.with_scores else (None, streams)
    model = fit_semi_markov(own, options.machine, int(options.extra.get("groups", GROUPS)))
    before = options.start_from.models if isinstance(options.start_from, SmmGenerator) else {}
    for other in before.values():
        if (other.events, other.classes, other.window_us) != (model.events, model.classes, model.window_us):
            raise BadInputError(
                "the hours of one bundle need the same events, classes and window. Fit this hour into a bundle of "
                "its own."
            )
    made = SmmGenerator(
        {**{hour: one for hour, one in before.items() if hour != options.hour}, options.hour: model}
    )
    if held_out is None:
        return made
    return replace(made, scores=held_out_scores(made, own, held_out, options, seed))


def load(folder: Path) -> SmmGenerator:
    """The models in ``folder``. Raises :class:`BadInputError` for a damaged bundle."""
    return SmmGenerator(*bundle_files.load(folder))


def _law(model: SemiMarkov) -> Law:
    return Law(
        model.group_class,
        model.group_weight,
        model.begin,
        model.begin_state,
        model.stays,
        model.inner,
        model.machine.table_for(model.events),
        model.machine.within,
        model.window_us,
        model.most_events,
    )
