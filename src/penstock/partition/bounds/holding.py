"""The holding bound: every operator is in some block, so the dearest of the cheapest blocks to hold one counts.

Theorem. Let h(v) be the least cost(M) over all L | M | R with L and L + M closed under predecessors and v in M. The
block of v in any partition costs at least h(v), so max h(v) is a lower bound, whatever k is. It is strong where large
tensors surround an operator, as in the first layers of vision models, and there beats all bounds that average over
blocks.
This bound is ours; :mod:`.near` computes a lower bound on h(v).
"""

from __future__ import annotations

import numpy as np

from penstock.partition.bounds.near import NearProbe, alone, neighbours_of
from penstock.partition.budget import Stop
from penstock.partition.problem import PartitionProblem


def holding_bound(problem: PartitionProblem, stop: Stop) -> float:
    """The bound, in the problem's unit. Operators that alone cost no more than the best so far cannot raise it."""
    neighbours, own = neighbours_of(problem), alone(problem)
    best = 0.0
    for operator in np.argsort(-own).tolist():
        if own[operator] <= best or stop():
            break
        scale = float(own[operator])
        best = max(best, NearProbe(problem, operator, neighbours, scale).held() * scale)
    return best
