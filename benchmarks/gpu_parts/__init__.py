"""The sections of ``benchmarks/gpu.py``; each can fail without the others."""
