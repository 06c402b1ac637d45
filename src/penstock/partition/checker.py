"""Does a partition follow the rules, and what is its bottleneck? In plain Python, from the definition.

It shares no code with the searches, nor with the cost functions that they use. So it can check their results.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import PenstockError
from penstock.partition.problem import PartitionProblem

TOLERANCE = 1e-6
"""Relative. The searches add thousands of doubles in another order."""


def check_partition(
    problem: PartitionProblem, block: Sequence[int], k: int, claimed_bottleneck: float | None = None
) -> float:
    """The bottleneck, computed again. ``block[i]`` is the block of operator i, in 0 .. k - 1.

    Raises :class:`PenstockError`, an internal fault, in these cases: an operator has no block, or its block does not
    exist; data flows backwards; ``claimed_bottleneck`` is not the cost of the worst block.
    """
    if len(block) != len(problem.operators):
        raise PenstockError(
            f"{problem.name}: {len(block)} blocks given for {len(problem.operators)} operators."
        )
    for operator, own in zip(problem.operators, block, strict=True):
        if not 0 <= own < k:
            raise PenstockError(
                f"{problem.name}: {operator!r} is in block {own}, but blocks are 0 to {k - 1}."
            )
    for tensor in range(len(problem.tensor_time)):
        maker = int(problem.tensor_maker[tensor])
        for user in _users(problem, tensor):
            if maker >= 0 and block[maker] > block[user]:
                raise PenstockError(
                    f"{problem.name}: {problem.operators[maker]!r} in block {block[maker]} feeds "
                    f"{problem.operators[user]!r} in block {block[user]}: data would flow backwards."
                )
    worst = max(_costs(problem, block, k))
    if claimed_bottleneck is not None and abs(worst - claimed_bottleneck) > TOLERANCE * max(worst, 1e-12):
        raise PenstockError(
            f"{problem.name}: the bottleneck is {worst}, but {claimed_bottleneck} was claimed. Report this."
        )
    return worst


def _costs(problem: PartitionProblem, block: Sequence[int], k: int) -> list[float]:
    """The definition: work, tensors in and tensors out, each once, and what exceeds the memory."""
    costs, parameters, activations = ([0.0] * k for _ in range(3))
    for operator, own in enumerate(block):
        costs[own] += float(problem.work[operator])
        parameters[own] += float(problem.parameter_time[operator])
        activations[own] = max(activations[own], float(problem.activation_time[operator]))
    for tensor, time in enumerate(problem.tensor_time.tolist()):
        maker = int(problem.tensor_maker[tensor])
        home = block[maker] if maker >= 0 else None
        receivers = {block[user] for user in _users(problem, tensor)} - {home}
        for receiver in receivers:
            assert receiver is not None, "the users of a tensor are operators, and those have blocks"
            costs[receiver] += time
        if home is not None and (receivers or problem.is_output[tensor]):
            costs[home] += time
    needs = [held + peak for held, peak in zip(parameters, activations, strict=True)]
    return [cost + max(0.0, need - problem.memory_time) for cost, need in zip(costs, needs, strict=True)]


def _users(problem: PartitionProblem, tensor: int) -> list[int]:
    return [int(user) for user in problem.uses[problem.use_first[tensor] : problem.use_first[tensor + 1]]]
