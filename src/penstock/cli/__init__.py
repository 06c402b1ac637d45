"""The verbs of the pipe at a terminal: thin wiring, one module a verb."""
