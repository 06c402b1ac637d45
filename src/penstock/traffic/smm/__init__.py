"""The semi-Markov model over a known state machine, with groups of alike streams: the baseline with domain
knowledge."""
