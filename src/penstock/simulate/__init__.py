"""What would happen: a policy driven by simulated events, with the same record as a live run."""
