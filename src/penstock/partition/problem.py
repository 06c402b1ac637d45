"""Max-throughput partitioning: split a graph of operators into blocks so that the slowest block is as fast as
possible.

A partition gives each operator a block 0 <= b < k with ``block[u] <= block[v]`` on every edge. So data only moves
forward. The cost of a block S is the sum of: the work of its operators; one transfer of each tensor that is made
outside S and used in S; one transfer of each tensor that is made in S and used outside. The slowest block, the
*bottleneck*, determines the throughput. Source: A. Archer, M. Fahrbach, K. Liu, P. Prabhu, "Practical Performance
Guarantees for Pipelined DNN Inference", ICML 2024, section 2.

Ends of the model: a tensor with maker -1 is a model input. It is made outside every block, so each block that uses it
pays for receiving it. A tensor with ``is_output`` is used outside every block, so its maker's block pays for sending
it. If a source does not charge for these (the public placement graphs), its reader leaves model inputs out and sets
no ``is_output``. A tensor that stays in its block costs nothing.

Memory is optional. If a block needs more than the device's memory, the rest is streamed at the same bandwidth and
adds to its cost (section 2 of the paper). All values are in units of time: bytes divided by bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.partition.topology import topological_order


class TensorUse(NamedTuple):
    """A tensor for :func:`make_problem`: its maker (-1: a model input), its users, and the time of a transfer."""

    maker: int
    users: tuple[int, ...]
    time: float
    is_output: bool = False


@dataclass(frozen=True)
class PartitionProblem:
    """Operators in topological order, tensors and times. Any unit of time is possible, but all times must share it.

    ``work`` (n,) >= 0: time of each operator. ``tensor_time`` (m,) >= 0: time to move tensor t once, in either
    direction. ``tensor_maker`` (m,): operator that makes it, -1 for a model input. The users of tensor t are
    ``uses[use_first[t]:use_first[t + 1]]``: operators, ascending, each once, all after the maker.
    ``is_output`` (m,): whether it leaves the model.

    For a block, the ``parameter_time`` (n,) of its operators is added up, and of ``activation_time`` (n,) the largest
    counts. If their sum exceeds ``memory_time``, the excess adds to the block's cost. By default nothing does.
    """

    name: str
    operators: tuple[str, ...]
    work: F64
    tensor_time: F64
    tensor_maker: I64
    use_first: I64
    uses: I64
    is_output: NDArray[np.bool_]
    parameter_time: F64 = field(default_factory=lambda: np.zeros(0))
    activation_time: F64 = field(default_factory=lambda: np.zeros(0))
    memory_time: float = inf

    def __post_init__(self) -> None:
        n = len(self.operators)
        if n == 0:
            raise BadInputError(f"{self.name}: has no operators, so there is nothing to split.")
        for name in ("parameter_time", "activation_time"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(n))
        self._check_times()
        makers = np.repeat(self.tensor_maker, np.diff(self.use_first))
        if len(wrong := np.flatnonzero(makers >= self.uses)):
            maker, user = (self.operators[int(i[wrong[0]])] for i in (makers, self.uses))
            raise BadInputError(
                f"{self.name}: {user!r} comes at or before {maker!r}, whose tensor it uses. "
                f"List the operators in topological order, or use make_problem, which sorts them."
            )

    def _check_times(self) -> None:
        n = len(self.operators)
        for name in ("work", "parameter_time", "activation_time", "tensor_time"):
            values = getattr(self, name)
            wanted = len(self.tensor_maker) if name == "tensor_time" else n
            if values.shape != (wanted,):
                raise BadInputError(f"{self.name}: {name} has shape {values.shape}, but must be ({wanted},).")
            if len(bad := np.flatnonzero(~(np.isfinite(values) & (values >= 0)))):
                at = int(bad[0])
                who = self.operators[self._owner(at) if name == "tensor_time" else at]
                raise BadInputError(
                    f"{self.name}: {name} of {who!r} is {values[at]}, but must be finite and >= 0. Correct it."
                )

    def _owner(self, tensor: int) -> int:
        """The operator that a message about ``tensor`` names."""
        maker = int(self.tensor_maker[tensor])
        return maker if maker >= 0 else int(self.uses[self.use_first[tensor]])

    @property
    def n_operators(self) -> int:
        """The number of operators."""
        return len(self.operators)

    @property
    def n_tensors(self) -> int:
        """The number of tensors."""
        return len(self.tensor_maker)

    @property
    def has_memory(self) -> bool:
        """Whether some block could need more memory than the device has."""
        need = self.parameter_time.sum() + self.activation_time.max()
        return bool(need > self.memory_time)

    def users(self, tensor: int) -> I64:
        """The operators that use ``tensor``, ascending."""
        return self.uses[self.use_first[tensor] : self.use_first[tensor + 1]]

    def edges(self) -> I64:
        """Pairs (maker, user), one for each use of a tensor made by an operator: int64, shape (edges, 2)."""
        makers = np.repeat(self.tensor_maker, np.diff(self.use_first))
        return np.stack([makers, self.uses], axis=1)[makers >= 0]


@dataclass(frozen=True)
class BlockCosts:
    """The cost of each block, by cause: float64, each of shape (k,). ``streamed`` is due to too little memory."""

    work: F64
    in_: F64
    out: F64
    streamed: F64

    @property
    def total(self) -> F64:
        """The cost of each block, shape (k,)."""
        return self.work + self.in_ + self.out + self.streamed


def make_problem(
    name: str,
    operators: Sequence[str],
    work: Sequence[float] | F64,
    tensors: Iterable[TensorUse],
    **memory: F64 | float,
) -> PartitionProblem:
    """A problem from operators in any order. They are sorted topologically and keep the given order if possible.

    Tensors without users that are not outputs are dropped, because they never move. ``memory`` takes
    ``parameter_time`` and ``activation_time`` in the given order of operators, and ``memory_time``.

    Raises :class:`BadInputError` for a cycle, which it names, and for everything that :class:`PartitionProblem`
    refuses.
    """
    kept = [tensor for tensor in tensors if tensor.users or tensor.is_output]
    order = topological_order(name, operators, [(t.maker, u) for t in kept if t.maker >= 0 for u in t.users])
    rank = np.empty(len(operators), np.int64)
    rank[order] = np.arange(len(order))
    users = [sorted({int(rank[user]) for user in tensor.users}) for tensor in kept]
    sorted_memory = {key: np.asarray(v)[order] if np.ndim(v) else v for key, v in memory.items()}
    return PartitionProblem(
        name=name,
        operators=tuple(operators[i] for i in order),
        work=np.asarray(work, np.float64)[order],
        tensor_time=np.array([tensor.time for tensor in kept], np.float64),
        tensor_maker=np.array([rank[t.maker] if t.maker >= 0 else -1 for t in kept], np.int64),
        use_first=np.concatenate([[0], np.cumsum([len(each) for each in users])]).astype(np.int64),
        uses=np.array([user for each in users for user in each], np.int64),
        is_output=np.array([tensor.is_output for tensor in kept], np.bool_),
        **sorted_memory,  # type: ignore[arg-type]
    )


def block_costs(problem: PartitionProblem, block: I64, k: int) -> BlockCosts:
    """The cost of each of ``k`` blocks if operator i is in ``block[i]``. It takes O(n + uses log uses)."""
    counts = np.diff(problem.use_first)
    pairs = np.unique(np.repeat(np.arange(problem.n_tensors), counts) * k + block[problem.uses])
    tensor, user_block = pairs // k, pairs % k
    made_in = np.where(problem.tensor_maker >= 0, block[problem.tensor_maker], -1)
    moves = made_in[tensor] != user_block
    in_ = _sums(user_block[moves], problem.tensor_time[tensor[moves]], k)
    leaves = problem.is_output.copy()
    leaves[tensor[moves]] = True
    leaves &= made_in >= 0
    out = _sums(made_in[leaves], problem.tensor_time[leaves], k)
    peak = np.zeros(k)
    np.maximum.at(peak, block, problem.activation_time)
    need = _sums(block, problem.parameter_time, k) + peak
    return BlockCosts(
        work=_sums(block, problem.work, k),
        in_=in_,
        out=out,
        streamed=np.maximum(need - problem.memory_time, 0.0),
    )


def _sums(block: I64, values: F64, k: int) -> F64:
    return np.bincount(block, values, k).astype(np.float64)


def bottleneck(problem: PartitionProblem, block: I64, k: int) -> float:
    """The cost of the slowest of ``k`` blocks."""
    return float(block_costs(problem, block, k).total.max())


def check_k(problem: PartitionProblem, k: int) -> None:
    """Raise :class:`BadInputError` unless 1 <= k <= operators."""
    if k < 1:
        raise BadInputError(f"k is {k}, but a partition has at least 1 block. Ask for 1 or more.")
    if k > problem.n_operators:
        raise BadInputError(
            f"k is {k}, but {problem.name} has {problem.n_operators} operators, and each block needs one. "
            f"Ask for at most {problem.n_operators}."
        )
