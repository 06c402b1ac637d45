"""The types of arrays of numbers: every module that annotates one takes them from here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
"""An array of 64-bit integers: times in microseconds, counts, indices."""

F64 = NDArray[np.float64]
"""An array of 64-bit floats: rates, shares, costs."""
