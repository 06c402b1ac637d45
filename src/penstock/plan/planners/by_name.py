"""The planners by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.plan.interfaces import Planner, SearchLimits
from penstock.plan.planners.dart_r import PairPlanner
from penstock.plan.planners.even_stages import EvenPlanner
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.planners.whole_model import WholeModelPlanner

PLANNERS: Mapping[str, Callable[[SearchLimits], Planner]] = {
    "penstock": PoolPlanner,
    "np": WholeModelPlanner,
    "dart-r": PairPlanner,
    "even": EvenPlanner,
}
