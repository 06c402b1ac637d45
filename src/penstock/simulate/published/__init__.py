"""The published simulator's simplifications, for comparison: one model at a time, deterministic, no dispatch cost.

After the simulator of "PPipe" (USENIX ATC 2025) as measured on its artifact; see docs/decisions/0011.
"""
