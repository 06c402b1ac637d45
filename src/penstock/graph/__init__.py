"""The graph of a model: its operators and tensors, and the points at which it can be cut."""
