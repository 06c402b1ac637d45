"""The SLO margin: the part of a model's SLO that its plan leaves free for queueing."""

from __future__ import annotations

from penstock.plan.documents.scenario import ServedModel

DEFAULT_MARGIN = 0.4
"""Share of the SLO if a scenario states no margin. It is the published value (Kong et al., "PPipe",
USENIX ATC 2025). For a fair comparison, each planner gets its own best margin instead."""


def margin_us(model: ServedModel, slo_us: int | None = None) -> int:
    """The model's margin in microseconds, or the margin that it would have at another SLO.

    A margin given as a share, or not given, grows with the SLO. A margin given in time does not.
    """
    if model.slo_margin_us is not None:
        return model.slo_margin_us
    share = DEFAULT_MARGIN if model.slo_margin is None else model.slo_margin
    return round(share * (model.latency_slo_us if slo_us is None else slo_us))
