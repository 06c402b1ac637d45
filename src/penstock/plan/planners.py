"""The planners by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.plan.dart_r import PairPlanner
from penstock.plan.even import EvenPlanner
from penstock.plan.planner import Planner, SearchLimits
from penstock.plan.pools import PoolPlanner
from penstock.plan.whole_model import WholeModelPlanner

PLANNERS: Mapping[str, Callable[[SearchLimits], Planner]] = {
    "penstock": PoolPlanner,
    "np": WholeModelPlanner,
    "dart-r": PairPlanner,
    "even": EvenPlanner,
}
