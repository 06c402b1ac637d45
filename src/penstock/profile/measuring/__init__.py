"""Latency measured: pieces of a model, timed at every batch, in as many processes as share the device."""
