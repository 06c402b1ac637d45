"""Parts of ``benchmarks/device_live.py``."""
