"""The decorators of kernels: compiled once, cached (:mod:`penstock.kernels`), and unable to allocate.

``kernel`` is for those that Python calls, ``inner`` for those that only kernels call. The code that takes dozens of
arrays out of nested tuples is a third of the time to compile, so inner ones do without; Python that calls one
all the same runs it uncompiled.

``_nrt=False`` takes numba's reference counting away. State here is dozens of arrays in nested tuples, and
counting every one of them at every call made the simulator four times slower. It also turns the rule
that kernels allocate nothing into a compile error.

``forceinline`` puts a callee into its caller. Passing the state is passing hundreds of words, eight for each array, and
LLVM inlined too little by itself: a batch took four times as long.

What most runs never call is a function of its own (:data:`RARE_OPTIONS`), so that its code is not in the loop of its
callers. Lending between pools, put into its caller, made the simulator's loop up to a fifth slower for plans that lend
nothing.

Elements of arrays have no type that mypy knows, so modules of kernels switch ``no-any-return`` off.
"""

from typing import cast

import numpy as np
from numba.extending import register_jitable

from penstock.kernels import compiled

_OPTIONS = {"_nrt": False, "forceinline": True, "no_cfunc_wrapper": True}
INNER_OPTIONS = {**_OPTIONS, "no_cpython_wrapper": True}
"""Of :data:`inner`, for those who make others of the kind (:mod:`penstock.schedule.state.split_choice`)."""

kernel = compiled(**_OPTIONS)
# Not cached: the code is in that of every kernel that calls it.
inner = register_jitable(**INNER_OPTIONS)
RARE_OPTIONS = INNER_OPTIONS | {"forceinline": False}
"""Of what is not put into its callers."""

# Arguments for kernels: numba compiles a callee anew for every plain literal that it is called with.
NONE, ZERO, ONE = cast("int", np.int64(-1)), cast("int", np.int64(0)), cast("int", np.int64(1))
YES = cast("bool", np.bool_(True))
