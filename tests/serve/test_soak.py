"""A server under load for a while: no process of it grows, in memory or in descriptors.

Forty seconds, or as many as the environment variable says: ``PENSTOCK_SOAK_SECONDS=1800 pytest -m soak``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from faults_parts.soak import Growth, soak

SECONDS = float(os.environ.get("PENSTOCK_SOAK_SECONDS", "40"))


@pytest.mark.slow
@pytest.mark.soak
def test_nothing_grows():
    """The load is light, because the machine may be busy. Answers may be late then, but are right."""
    one = soak(SECONDS, 0.3)
    assert one.broken == []
    assert len(one.growths) == 12
    assert sum(answer.status == 200 for answer in one.answers) > len(one.answers) // 2


def test_growth_is_told_from_scatter():
    leak = Growth("leak", list(range(40)), [10**8 + 10**6 * step for step in range(40)], [9] * 40)
    assert "leak grows by 3600.0" in leak.broken[0]
    scatter = [10**8 + 10**5 * (step % 2) for step in range(40)]
    assert Growth("steady", list(range(40)), scatter, [9, 12] * 20).broken == []
    more = Growth("more", list(range(40)), [10**8] * 40, list(range(40)))
    assert more.broken == ["more has more and more descriptors"]
