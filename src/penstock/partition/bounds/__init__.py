"""Lower bounds: proofs that no partition can be faster than a value. Each method has its own file."""
