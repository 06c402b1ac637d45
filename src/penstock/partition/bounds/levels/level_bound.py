"""The bound by levels of work: paths of boundaries, of which only the work before each is known.

Number the boundaries of a partition by the work that comes before them, or by any other sum over operators, the
*measure*. Cut the range of that number into intervals, the *levels*. Let c(a, b) be a lower bound on the cost of every
block whose first boundary is in level a and whose second is in level b.

Theorem. A partition into at most k blocks is a path of at most k steps from the level "nothing" to the level
"everything", and each of its blocks costs at least the c of its step. (A block whose boundaries are in one level is
left out.) So the least, over all such paths, of the largest c on the path is a lower bound. If stages have device
classes, a step also says which class it uses, and the path uses each class at most as often as there are stages of it.

c comes from small programs (:mod:`.pair_program`). An operator is open only if some boundary of the level has it
before, and another has it after. The narrower the levels, the fewer are open and the better c is. One weakness remains:
two blocks that meet may take different boundaries of the same level. So a level is split where they differ: by the
work before them, or by an operator that only one of them has before it.

Work is done for one path below a target at a time, the one with the least left to do: first the linear relaxation of
its pairs, then whole operators, then its levels are split where two blocks disagree. While levels are wide, only
relaxations are solved. A pair of parts inherits the c of the whole pair. If no path is left, the target is proven, and
the next one is higher. If the blocks of a path fit together, they are a partition below the target. This bound is ours.
The windows on work that tighten the programs of Archer et al. (ICML 2024, section 5) are its simplest case.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from penstock.arrays import F64, I64
from penstock.partition.bounds.levels.ancestry import ancestry
from penstock.partition.bounds.levels.level import Level, LevelMaker
from penstock.partition.bounds.levels.pair_arrays import OPEN
from penstock.partition.bounds.levels.pair_program import PairPrograms
from penstock.partition.bounds.levels.paths import Step, least_bottleneck, lightest_path
from penstock.partition.bounds.levels.table import NEW, RELAXED, SETTLED, LevelTable
from penstock.partition.budget import Deadline
from penstock.partition.problem import PartitionProblem

_PER_BLOCK = 4.0
"""Levels at the start for each block of the scale's cost."""

_FEWEST, _MOST = 8, 900
"""Levels at the start, and the number beyond which none are split. The tables grow with its square."""

_WHOLE_S = 0.5
"""Time of one integer program. Most end earlier, because they only decide."""

_RISE, _LAST = 0.35, 2e-3
"""Each target is this part of the way from the bound to the goal. The last step may be as long as the second."""

_MOST_PRIORITIES = 8
"""Orders that are remembered."""

_COARSE = 1 / 20
"""For windows wider than this part of the cutoff, only the relaxations are solved."""

_FINE = 1 / 64
"""Windows wider than this part of the cutoff are halved, whatever the blocks on their two sides take."""

_APART = 0.25
"""Two boundaries are separated by their work if they differ by this part of the window, otherwise by an operator."""


@dataclass(frozen=True)
class Stages:
    """``works`` (classes, n): the time of operators by class. ``states``: see :func:`.paths.least_bottleneck`."""

    works: F64
    states: I64

    @classmethod
    def alike(cls, problem: PartitionProblem, k: int) -> Stages:
        """``k`` stages on devices that are alike."""
        return cls(problem.work[None, :], np.arange(-1, k, dtype=np.int64)[:, None])


@dataclass(frozen=True)
class LevelProof:
    """``bound``: no partition is under it. ``priorities``: each (n,), orders of the operators along paths that could
    not be excluded. Cuts of such orders are often good partitions."""

    bound: float
    priorities: tuple[F64, ...] = ()


def level_bound(
    problem: PartitionProblem,
    stages: Stages,
    *,
    cutoff: float,
    goal: float,
    deadline: Deadline,
    known: float = 0.0,
) -> LevelProof:
    """A lower bound on the bottleneck of every partition of ``problem`` over ``stages``. ``cutoff`` > 0 is its scale.

    It ends when the bound reaches ``goal`` <= cutoff, at the deadline, or if smaller levels find nothing more.
    ``known`` is a bound that is proven already. Memory is ignored, which only lowers costs.
    """
    run = _Levels(problem, stages, cutoff)
    if run.total <= 0:
        return LevelProof(known)
    proven, aim = max(known, 0.0) / cutoff, goal / cutoff
    while proven < aim:
        target = aim if aim - proven < _LAST else proven + _RISE * (aim - proven)
        if not run.reach(target, deadline):
            break
        proven = run.bound
    return LevelProof(max(known, run.bound * cutoff), tuple(run.priorities))


class _Levels:
    """The state of one call. Costs are parts of the cutoff."""

    def __init__(self, problem: PartitionProblem, stages: Stages, cutoff: float) -> None:
        self.states = stages.states
        # The mean over the classes, so that no class has all its work in one level.
        measure = np.ascontiguousarray(stages.works.mean(axis=0) / cutoff)
        tree = ancestry(problem, measure)
        self.maker = LevelMaker(tree, measure)
        self.total = self.maker.total
        self.pairs = PairPrograms(problem, stages.works, measure, tree, cutoff)
        self.bound = 0.0
        self.priorities: list[F64] = []
        count = int(min(max(self.total * _PER_BLOCK, _FEWEST), _MOST // 4))
        windows = pairwise(np.linspace(0.0, self.total, count + 1).tolist())
        inner = [self.maker.level(*window) for window in windows]
        levels = [self.maker.nothing(), *(each for each in inner if each), self.maker.everything()]
        self.table = LevelTable(self.maker, levels, stages.works / cutoff)

    def reach(self, target: float, deadline: Deadline) -> bool:
        """Whether the bound reached ``target``. If not, time is over or smaller levels find nothing more."""
        while not deadline.is_over():
            load = self._load()
            steps = lightest_path(self.table.cost, load, target, self.states)
            if not steps:
                break
            todo = [step for step in steps if load[step] > 0]
            if todo:
                self._work_on(todo, target, deadline)
            elif not self._split(steps):
                break
        self.bound = max(self.bound, least_bottleneck(self.table.cost, self.states))
        return self.bound >= target

    def _load(self) -> I64:
        """What is left to do for each pair. Between wide levels the relaxation is all."""
        wide = np.array([level.width > _COARSE for level in self.table.levels])
        relaxed = (self.table.state == RELAXED) & ~(wide[:, None] | wide[None, :])
        return np.where(self.table.state == NEW, 2, relaxed.astype(np.int64))

    def _work_on(self, todo: list[Step], target: float, deadline: Deadline) -> None:
        table = self.table
        for step in todo:
            if deadline.is_over():
                return
            device, one, two = step
            levels = table.levels[one], table.levels[two]
            if table.state[step] == NEW:
                table.prove(step, self.pairs.relaxed(*levels, device))
                table.state[step] = RELAXED
                continue
            found = self.pairs.whole(*levels, device, target, min(_WHOLE_S, deadline.left_s()))
            table.prove(step, found.bound)
            if found.bound < target:
                table.state[step] = SETTLED
            if found.before is not None:
                table.blocks[step] = found.before

    def _split(self, steps: list[Step]) -> bool:
        """Split levels of a path on which nothing is left to do. False if its blocks fit, or there are too many."""
        inner = {later[1]: (earlier, later) for earlier, later in zip(steps[1:], steps[:-1], strict=True)}
        parts = {index: self._halves(index) for index in inner if self.table.levels[index].width > _COARSE}
        if not parts:
            self._remember(steps)
            found = {index: self._parts(index, *around) for index, around in inner.items()}
            parts = {index: part for index, part in found.items() if part is not None}
        if not parts or len(self.table.levels) + len(parts) > _MOST:
            return False
        self.table.replace(parts)
        return True

    def _remember(self, steps: list[Step]) -> None:
        """The order along a path: its operators by how many of the boundaries found come before them."""
        blocks = [self.table.blocks.get(step) for step in steps]
        if all(block is not None for block in blocks):
            after = [~before for block in blocks if block is not None for before in block]
            self.priorities.append(np.sum(after, axis=0, dtype=np.float64))
            # The latest paths are the nearest to a partition.
            del self.priorities[:-_MOST_PRIORITIES]

    def _halves(self, index: int) -> list[Level]:
        level = self.table.levels[index]
        return self.maker.halves(level, (level.window[0] + level.window[1]) / 2)

    def _parts(self, index: int, earlier: Step, later: Step) -> list[Level] | None:
        """Parts of a level that separate the boundaries of the blocks on its two sides. None if these agree."""
        level, maker = self.table.levels[index], self.maker
        ending, starting = self.table.blocks.get(earlier), self.table.blocks.get(later)
        can_halve = level.width > 8 * maker.margin
        if ending is None or starting is None:
            return self._halves(index) if can_halve else None
        mine, other = ending[1], starting[0]
        differ = np.flatnonzero(mine != other)
        if not len(differ):
            return None
        if can_halve and level.width > _FINE:
            return self._halves(index)
        works = float(maker.measure @ mine), float(maker.measure @ other)
        if can_halve and abs(works[0] - works[1]) > _APART * level.width:
            # Near an end of the window only one part would remain.
            inner = level.window[0] + 0.1 * level.width, level.window[1] - 0.1 * level.width
            return maker.halves(level, float(np.clip((works[0] + works[1]) / 2, *inner)))
        differ = differ[level.sides[differ] == OPEN]
        return maker.sides_of(level, int(differ[len(differ) // 2])) if len(differ) else None
