"""Executors run a batch in a worker: with a runtime, or by taking the time that a device would take."""
