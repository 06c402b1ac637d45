"""The decorator of every kernel: compiled once, cached, and unable to allocate.

``_nrt=False`` takes numba's reference counting away. State here is dozens of arrays in nested tuples, and
counting every one of them at every call made the simulator four times slower. It also turns the rule
that kernels allocate nothing into a compile error.

Numba's cache watches the file of a kernel, not those of the kernels it calls: after a change here, remove the
cached code (``find src -name '*.nb[ci]' -delete``), or callers run the old one.

Elements of arrays have no type that mypy knows, so modules of kernels switch ``no-any-return`` off.
"""

from typing import cast

import numpy as np
from numba import njit

kernel = njit(cache=True, _nrt=False)

# Arguments for kernels: numba compiles a callee anew for every plain literal that it is called with.
NONE, ZERO, ONE = cast("int", np.int64(-1)), cast("int", np.int64(0)), cast("int", np.int64(1))
YES = cast("bool", np.bool_(True))
