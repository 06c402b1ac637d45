"""Arrivals of the benchmark, and what a run says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORT, LONG = 0, 1


@dataclass(frozen=True)
class Trace:
    """When each job is due, microseconds from the start, and its type. Latency counts from ``due_us``."""

    due_us: NDArray[np.float64]
    types: NDArray[np.int64]

    @property
    def n(self) -> int:
        return len(self.due_us)

    def of(self, type_: int) -> Trace:
        """The jobs of one type, as type 0."""
        mine = self.types == type_
        return Trace(self.due_us[mine], np.zeros(int(mine.sum()), np.int64))


def lognormal_trace(rate_rps: float, sigma: float, n: int, long_share: float, seed: int) -> Trace:
    """An open loop with lognormal gaps, scaled so that the realised rate is exactly ``rate_rps``."""
    generator = np.random.default_rng(seed)
    at = np.cumsum(generator.lognormal(0.0, sigma, n))
    at = (at - at[0]) / (at[-1] - at[0]) * (n - 1) / rate_rps * 1e6
    return Trace(at, (generator.random(n) < long_share).astype(np.int64))


def backlog(n: int, long_share: float, seed: int = 5) -> Trace:
    """All jobs due at once: how long they take gives the saturation."""
    types = (np.random.default_rng(seed).random(n) < long_share).astype(np.int64)
    return Trace(np.zeros(n), types)


def summary(trace: Trace, latency_us: NDArray[np.float64], slo_us: tuple[float, ...]) -> dict[str, Any]:
    """Mean, median and 99th percentile in ms, and the share within the SLO, by type and over all.

    ``latency_us`` is NaN for a job without an answer, which counts as missed and is told as ``lost``.
    """
    met = np.zeros(trace.n, bool)
    for type_, limit_us in enumerate(slo_us):
        mine = trace.types == type_
        met[mine] = latency_us[mine] <= limit_us
    out: dict[str, Any] = {"jobs": trace.n, "lost": int(np.isnan(latency_us).sum())}
    groups = {"all": np.ones(trace.n, bool), "short": trace.types == SHORT, "long": trace.types == LONG}
    for name, members in groups.items():
        known = latency_us[members & ~np.isnan(latency_us)] / 1e3
        if known.size:
            out[name] = {
                "mean_ms": round(float(known.mean()), 3),
                "p50_ms": round(float(np.median(known)), 3),
                "p99_ms": round(float(np.quantile(known, 0.99)), 3),
                "within_slo": round(float(met[members].mean()), 4),
                "jobs": int(members.sum()),
            }
    return out
