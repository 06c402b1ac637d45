"""All sections by name, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traffic_parts.cost_sections import fine_tuning, reach, speed, speed_on_gpu
from traffic_parts.fidelity_sections import chance, default, other, smm, truth
from traffic_parts.traffic_bench import Bench

SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "truth": truth,
    "chance": chance,
    "a tenth": default(0.1),
    "two fifths": default(0.4),
    "default": default(1.0),
    "published": other("published"),
    "gan": other("gan"),
    "smm": smm(1),
    "clustered smm": smm(100),
    "speed": speed,
    "fine-tuning": fine_tuning,
    "reach": reach,
    "transformer": other("transformer"),
    "speed on a GPU": speed_on_gpu,
}
CURVE = ("a tenth", "two fifths", "default")
"""The default generator by its share of the budget: of 600 CPU seconds, 30 s, 2 and 5 minutes of two cores."""
USUAL = [name for name in SECTIONS if name not in ("transformer", "speed on a GPU")]
