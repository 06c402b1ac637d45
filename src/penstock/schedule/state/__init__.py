"""The state of a routed policy as arrays, and their addresses for kernels."""
