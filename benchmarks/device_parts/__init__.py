"""The parts of ``benchmarks/device.py``, one question a file."""
