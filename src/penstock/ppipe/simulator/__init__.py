"""The simplifications of the published simulator, for comparison: one model at a time, deterministic, no dispatch
cost.

They follow the simulator of "PPipe" (USENIX ATC 2025), as measured on its artifact: docs/decisions/0011.
"""
