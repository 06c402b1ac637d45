"""One name for two kernels: the one for whole batches, and the one for fleets with split stages.

The type of the state says which (``Facts.split``), so the choice is made when a caller is compiled: a caller gets
machine code of its own for each kind of fleet. ``penstock warm-up`` compiles both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from numba import config, types
from numba.extending import overload

from penstock.schedule.kernel import INNER_OPTIONS, RARE_OPTIONS
from penstock.schedule.state.arrays import Facts, PolicyState, SplitStages

_FACTS, _SPLIT = PolicyState._fields.index("facts"), Facts._fields.index("split")


def by_stages(whole: Callable[..., Any], split: Callable[..., Any], *, whole_is_rare: bool = False) -> Any:
    """A function of kernels: ``split`` if its first argument, facts or a state, has split stages, else ``whole``.

    Both take the same arguments. ``whole`` is put into its callers. ``split`` is a function of its own: it is long, and
    would be compiled as often as it is called. If ``whole_is_rare``, it is the other way round. Of no type that mypy
    knows, as kernels.
    """

    def chosen(*arguments: Any) -> Any:
        facts = getattr(arguments[0], "facts", arguments[0])
        return (split if isinstance(facts.split, SplitStages) else whole)(*arguments)

    # Whoever names the choice depends on both modules (penstock.kernels.stamp): that of ``split`` imports the other.
    update_wrapper(chosen, split)
    if not config.DISABLE_JIT:

        def choose_whole(first: types.Type, *_: types.Type) -> Callable[..., Any] | None:
            return None if _has_split_stages(first) else whole

        def choose_split(first: types.Type, *_: types.Type) -> Callable[..., Any] | None:
            return split if _has_split_stages(first) else None

        options = (RARE_OPTIONS, INNER_OPTIONS) if whole_is_rare else (INNER_OPTIONS, RARE_OPTIONS)
        overload(chosen, jit_options=options[0], strict=False)(choose_whole)
        overload(chosen, jit_options=options[1], strict=False)(choose_split)
    return chosen


def _has_split_stages(kind: Any) -> bool:
    facts = kind.types[_FACTS] if kind.instance_class is PolicyState else kind
    return facts.types[_SPLIT].instance_class is SplitStages
