"""Latency tables of other makers' tools: a whole model at some batches, as a profile of one block."""
