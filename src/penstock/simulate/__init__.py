"""The simulator: it drives a policy with simulated events, and makes the same record as a live run."""
