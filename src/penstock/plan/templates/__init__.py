"""Templates: every way to run one model as a chain of stages, listed or priced."""
