"""Lower bounds: proofs that no partition can be faster than this, each method in its own file."""
