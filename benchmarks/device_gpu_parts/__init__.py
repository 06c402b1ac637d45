"""The parts of ``benchmarks/device_gpu.py``: models, a stand-in for a GPU, runs, child processes, the table."""
