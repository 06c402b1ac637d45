"""The graph of a model: its operators and tensors, and the places where it can be cut."""
