"""Two ways to scale a recorded trace: folding and superposition."""
