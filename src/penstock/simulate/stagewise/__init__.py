"""The simulator of policies in which each pool gathers its own batches."""
