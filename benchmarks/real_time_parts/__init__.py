"""Parts of ``benchmarks/real_time.py``."""
