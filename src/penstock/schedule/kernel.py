"""The decorators of kernels: compiled once, cached, and unable to allocate.

``kernel`` is for those that Python calls, ``inner`` for those that only kernels call. The code that takes dozens of
arrays out of nested tuples is a third of the time to compile, so inner ones do without; Python that calls one
all the same runs it uncompiled.

``_nrt=False`` takes numba's reference counting away. State here is dozens of arrays in nested tuples, and
counting every one of them at every call made the simulator four times slower. It also turns the rule
that kernels allocate nothing into a compile error.

``forceinline`` puts a callee into its caller. Passing the state is passing hundreds of words, eight for each array, and
LLVM inlined too little by itself: a batch took four times as long.

Numba's cache watches the file of a kernel, not those of the kernels it calls: after a change here, remove the
cached code (``find src -name '*.nb[ci]' -delete``), or callers run the old one.

Elements of arrays have no type that mypy knows, so modules of kernels switch ``no-any-return`` off.
"""

from typing import cast

import numpy as np
from numba import njit
from numba.extending import register_jitable

_OPTIONS = {"cache": True, "_nrt": False, "forceinline": True, "no_cfunc_wrapper": True}

kernel = njit(**_OPTIONS)
inner = register_jitable(**_OPTIONS, no_cpython_wrapper=True)

# Arguments for kernels: numba compiles a callee anew for every plain literal that it is called with.
NONE, ZERO, ONE = cast("int", np.int64(-1)), cast("int", np.int64(0)), cast("int", np.int64(1))
YES = cast("bool", np.bool_(True))
